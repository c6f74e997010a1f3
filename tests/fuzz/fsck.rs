//! `mmptune` on mutated images: where e2fsck found nothing before, it finds nothing after a change
//! that was made, after one that was refused not a byte is another, and a superblock that e2fsck
//! does not go by is not changed, for its backups would be lost.

use crate::common::image::Image;
use crate::common::program::{Ended, assert_ended, run};
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
    suite.case("bounds of the superblock's fields are e2fsck's", bounds);
    suite.case("a group's metadata over one another, as e2fsck sees it", overlapping);
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

/// Whether e2fsck went by the primary superblock, which it may have called clean by a backup.
fn trusts(looked: &Ended) -> bool {
    let said = looked.said();
    let doubts = ["Superblock invalid", "Corruption found in superblock", "revision is apparently"];
    !doubts.iter().any(|doubt| said.contains(doubt))
}

/// The last value of each field that e2fsck goes by, and the next, which it does not: `mmptune`
/// changes the one and refuses the other, and names the field.
fn bounds() {
    let original = image("uninit_bg,^metadata_csum,^64bit,^resize_inode", "12M", false).content();
    let long =
        |at: usize| u32::from_le_bytes(original[1024 + at..][..4].try_into().expect("4 bytes"));
    let (inodes, blocks) = (long(0x00), long(0x04));
    let fields = [
        ("s_rev_level", 0x4C, 1, 2),
        ("s_r_blocks_count", 0x08, blocks / 2, blocks / 2 + 1),
        ("s_first_ino", 0x54, 11, 10),
        ("s_first_ino", 0x54, inodes, inodes + 1),
        ("s_reserved_gdt_blocks", 0xCC, 0, 257 << 16),
        ("s_log_groups_per_flex", 0x174, 31, 32),
        ("s_desc_size", 0xFC, 64 << 16, 63 << 16),
    ];
    for (field, at, last, beyond) in fields {
        for (value, goes) in [(last, true), (beyond, false)] {
            let image = Image::bytes(&original);
            image.change_superblock(|raw| raw[at..at + 4].copy_from_slice(&value.to_le_bytes()));
            let looked = run("e2fsck", &["-fn", image.name()]);
            let by_backup = looked.said().contains("trying backup blocks");
            assert_eq!(trusts(&looked) && !by_backup, goes, "{field} {value}: {}", looked.said());
            let ended = run("mmptune", &["-O", "mmp", image.name()]);
            assert_eq!(ended.code == 0, goes, "{field} {value}: {}", ended.said());
            assert_eq!(ended.said().contains(field), !goes, "{}", ended.said());
        }
    }
}

/// Blocks kept for descriptors that reach into the bitmaps: e2fsck takes the backups.
fn overlapping() {
    let image = image("uninit_bg,^metadata_csum,^64bit,^resize_inode", "12M", false);
    image.change_superblock(|raw| raw[0xCE] = 64);
    let before = image.content();
    let looked = run("e2fsck", &["-fn", image.name()]);
    assert!(looked.said().contains("Group descriptors look bad"), "{}", looked.said());
    let ended = run("mmptune", &["-O", "mmp", image.name()]);
    assert_ended(&ended, 1, &["group 0 lie over one another", "nothing changed"]);
    assert!(image.content() == before);
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
    let looked = run("e2fsck", &["-fn", image.name()]);
    let (clean, trusted) = (looked.code == 0, trusts(&looked));
    let before = image.content();
    let on = if mmp { "^mmp" } else { "mmp" };
    let ended = run("mmptune", &["-f", "--no-guard", "-O", on, image.name()]);
    assert!((0..=2).contains(&ended.code), "MMP_SEED={seed}: {}", ended.said());
    if ended.code != 0 {
        assert!(image.content() == before, "MMP_SEED={seed}: written, although {}", ended.said());
        return (clean, false);
    }
    let changed = image.content() != before;
    assert!(trusted || !changed, "MMP_SEED={seed}: changed, although {}", looked.said());
    if clean {
        let after = run("e2fsck", &["-fn", image.name()]);
        assert_eq!(after.code, 0, "MMP_SEED={seed}: e2fsck: {}", after.said());
    }
    (clean, clean && changed)
}
