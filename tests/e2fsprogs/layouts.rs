//! Every layout is read, held and released, and e2fsck finds nothing.

use std::time::Duration;

use mmp::layout::Sequence;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::common::image::Image;
use super::common::program::{Running, run};
use super::common::suite::Suite;

pub(super) fn cases(suite: &mut Suite) {
    for block_size in ["1024", "2048", "4096", "65536"] {
        for checksums in ["metadata_csum", "^metadata_csum,uninit_bg", "^metadata_csum,^uninit_bg"]
        {
            for bits in ["64bit", "^64bit"] {
                let features = format!("{checksums},{bits}");
                suite.case(format!("held/{block_size}/{features}"), move || {
                    let image = Image::with(&["-b", block_size, "-O", &features], "64M");
                    hold_and_release(&image);
                    image.assert_fsck_clean();
                });
            }
        }
    }
    suite.case("held/metadata_csum_seed_and_another_uuid", || {
        let image = Image::with(&["-O", "metadata_csum_seed"], "16M");
        image.change_superblock(|raw| raw[0x68..0x78].fill(0x77));
        hold_and_release(&image);
        image.assert_fsck_clean();
    });
    suite.case("held/dirdata_which_stock_tools_refuse", || {
        let image = Image::new();
        image.change_superblock(|raw| raw[0x61] |= 0x10);
        hold_and_release(&image);
        image.change_superblock(|raw| raw[0x61] &= !0x10);
        image.assert_fsck_clean();
    });
    suite.case("held/on_tmpfs", || {
        let folder = TempDir::new_in("/dev/shm").expect("folder");
        let image = Image::at(folder, "disk.img", &Image::new().content());
        hold_and_release(&image);
        image.assert_fsck_clean();
    });
}

fn hold_and_release(image: &Image) {
    let before = image.block();
    assert_eq!(run("mmpcheck", &[image.name()]).code, 0);
    let mut holder = Running::start("mmpd", &["hold", image.name()]);
    let took = holder.wait_for(": held\n", Duration::from_secs(14));
    assert!(took >= Duration::from_secs(11), "{took:?}");
    let told = run("mmpcheck", &[image.name()]);
    assert_eq!(told.code, 1, "{}", told.said());
    assert!(told.took < Duration::from_secs(2), "{:?}", told.took);
    assert!(told.out.contains("in use"), "{}", told.out);
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(Duration::from_secs(2));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let after = image.block();
    assert_eq!(after.verify(image.area().checksum), Ok(()));
    assert_eq!(after.sequence(), Sequence::Clean);
    assert_eq!(after.as_bytes()[0x72..0x3FC], before.as_bytes()[0x72..0x3FC]);
}
