//! Several devices in one process, devices by other names, and images where O_DIRECT cannot be.

use std::fs;
use std::path::Path;

use mmp::layout::Sequence;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{Running, run};
use super::common::suite::Suite;
use super::{GUARD, SLACK, Shared, held, vanish};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("all_devices_are_got_or_none", all_or_none);
    suite.case("one_lost_releases_the_others", one_lost);
    suite.case("one_lost_runs_the_command_and_others_are_held_on", on_loss);
    suite.case("labels_and_uuids_are_found_without_udev", by_name);
    suite.case("image_without_direct_io_is_held_with_a_warning", without_direct_io);
}

fn all_or_none() {
    let taken = Shared::new();
    let free = Image::new();
    let before = free.content();
    let _holder = held(taken.a.path());
    let refused = |name: &str, arguments: &[&str], code: i32| {
        let told = run(name, arguments);
        assert_eq!(told.code, code, "{}", told.said());
        assert!(told.took < GUARD, "{:?}", told.took);
        assert!(free.content() == before, "{name} has left its claim");
    };
    refused("mmpd", &["hold", free.name(), taken.b.name()], 1);
    refused("mmprun", &[free.name(), taken.b.name(), "--", "true"], 121);
    refused("mmpd", &["hold", free.name(), "/nonexistent"], 2);
}

/// `mmpd hold` on two devices, once it holds both.
fn holding(options: &[&str], devices: [&Loop; 2]) -> Running {
    let names = devices.map(Loop::name);
    let mut holder = Running::start("mmpd", &[&["hold"], options, &names].concat());
    for name in names {
        holder.wait_for(&format!("{name}: held\n"), GUARD + SLACK);
    }
    holder
}

fn one_lost() {
    let (image, kept) = (Image::new(), Image::new());
    let (a, b) = (Loop::new(image.path()), Loop::new(kept.path()));
    let holder = holding(&[], [&a, &b]);
    vanish(&image, &a);
    let ended = holder.end(GUARD + 2 * SLACK);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains(&format!("{}: lost: ", a.name())), "{}", ended.err);
    assert!(ended.err.contains(&format!("{}: released", b.name())), "{}", ended.err);
    assert_eq!(kept.block().sequence(), Sequence::Clean);
}

fn on_loss() {
    let (image, kept) = (Image::new(), Shared::new());
    let a = Loop::new(image.path());
    let told = image.dir().join("told");
    let command = format!("echo \"$MMP_DEVICE|$MMP_REASON\" >{}", told.display());
    let mut holder = holding(&["--on-loss", &command], [&a, &kept.a]);
    vanish(&image, &a);
    holder.wait_for(": lost: ", GUARD + SLACK);
    std::thread::sleep(SLACK);
    let text = fs::read_to_string(told).expect("the command ran");
    assert!(text.starts_with(&format!("{}|{}: lost: ", a.name(), a.name())), "{text}");
    assert_eq!(run("mmpcheck", &[kept.b.name()]).code, 1, "{}", holder.err());
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.end(SLACK).code, 1);
    assert_eq!(kept.image.block().sequence(), Sequence::Clean);
}

fn by_name() {
    let image = Image::new();
    let number = std::process::id();
    let label = format!("a b{number}");
    image.change_superblock(|raw| raw[0x78..0x78 + label.len()].copy_from_slice(label.as_bytes()));
    let device = Loop::new(image.path());
    let uuid = run("blkid", &["-s", "UUID", "-o", "value", "-p", device.name()]).out;
    let uuid = uuid.trim();
    let names = [
        format!("LABEL={label}"),
        format!("LABEL=\"{label}\""),
        format!("UUID={uuid}"),
        format!("UUID={}", uuid.to_uppercase()),
        format!("/dev/disk/by-uuid/{uuid}"),
        format!("/dev/disk/by-label/a\\x20b{number}"),
    ];
    let told = run("mmpcheck", &names);
    assert_eq!(told.code, 0, "{}", told.said());
    // udev has one link for a label; where there is none, which of two is meant is not guessed.
    if !Path::new(&names[4]).exists() {
        let _other = Loop::new(image.path());
        for name in &names {
            let told = run("mmpcheck", &[name]);
            assert_eq!(told.code, 2, "{}", told.said());
            assert!(told.err.contains("more than one device has this name"), "{}", told.err);
        }
    }
}

fn without_direct_io() {
    let mount = Mount::of("ramfs", Path::new("none")).expect("ramfs");
    let folder = TempDir::new_in(mount.dir()).expect("folder");
    let image = Image::at(folder, "disk.img", &Image::new().content());
    let holder = held(image.path());
    assert!(holder.err().contains("cannot do O_DIRECT"), "{}", holder.err());
    let told = run("mmpcheck", &[image.name()]);
    assert_eq!(told.code, 1, "{}", told.said());
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.end(SLACK).code, 0);
    assert_eq!(image.block().sequence(), Sequence::Clean);
    image.assert_fsck_clean();
}
