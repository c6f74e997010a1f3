//! `mmptune` on mutated images: where e2fsck found nothing before, it finds nothing after a change
//! that was made, and after one that was refused not a byte is another.

use crate::common::image::Image;
use crate::common::program::run;
use crate::common::suite::Suite;
use crate::seeds::image;

/// Mutations of each layout.
const MUTATIONS: u64 = 60;

const LAYOUTS: [(&str, &str, &str); 4] = [
    ("plain", "flex_bg,^metadata_csum,^uninit_bg", "2M"),
    ("checksums", "metadata_csum,64bit,^flex_bg", "12M"),
    ("crc16", "uninit_bg,^metadata_csum,^64bit", "12M"),
    ("bigalloc", "bigalloc,^resize_inode,metadata_csum", "4M"),
];

pub(crate) fn cases(suite: &mut Suite) {
    for (name, features, size) in LAYOUTS {
        suite.case(format!("e2fsck after mmptune on mutated images, {name}"), move || {
            let start = fastrand::u64(..1 << 40);
            let seed = std::env::var("MMP_SEED").ok().and_then(|seed| seed.parse().ok());
            let (mut clean, mut changed) = (0, 0);
            for mmp in [false, true] {
                let original = image(features, size, mmp).content();
                let count = if seed.is_some() { 1 } else { MUTATIONS };
                for seed in (0..count).map(|i| seed.unwrap_or(start + i)) {
                    let (was_clean, was_changed) = mutation(&original, mmp, seed);
                    clean += u32::from(was_clean);
                    changed += u32::from(was_changed);
                }
            }
            println!("{name}: seeds from {start}, {clean} clean before, {changed} of them changed");
            assert!(seed.is_some() || changed > 20, "hardly anything was changed");
        });
    }
}

/// Whether e2fsck found nothing before, and whether mmptune then changed it.
fn mutation(original: &[u8], mmp: bool, seed: u64) -> (bool, bool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let image = Image::bytes(original);
    for _ in 0..rng.usize(1..4) {
        // Where the numbers are, and anywhere.
        let end = if rng.bool() { 0x180 } else { 1020 };
        let (at, byte) = (rng.usize(..end), rng.u8(..) >> rng.u8(..8));
        image.change_superblock(|raw| raw[at] = byte);
    }
    if rng.bool() {
        let (at, byte) = (rng.usize(2048..original.len()), rng.u8(..));
        image.patch(at as u64, &[byte]);
    }
    let clean = run("e2fsck", &["-fn", image.name()]).code == 0;
    let before = image.content();
    let on = if mmp { "^mmp" } else { "mmp" };
    let ended = run("mmptune", &["-f", "--no-guard", "-O", on, image.name()]);
    assert!((0..=2).contains(&ended.code), "MMP_SEED={seed}: {}", ended.said());
    if ended.code != 0 {
        assert!(image.content() == before, "MMP_SEED={seed}: written, although {}", ended.said());
        return (clean, false);
    }
    if clean {
        let after = run("e2fsck", &["-fn", image.name()]);
        assert_eq!(after.code, 0, "MMP_SEED={seed}: e2fsck: {}", after.said());
    }
    (clean, clean)
}
