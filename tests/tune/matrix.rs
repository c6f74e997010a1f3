//! Byte for byte: what mmptune makes of an image is what `tune2fs -f` makes of its copy.

use std::path::Path;

use crate::common::program::Ended;
use crate::common::suite::Suite;
use crate::images::{
    assert_clean, assert_same, copy, folder, groups, header, mke2fs, mke2fs_filled, mmptune, run,
    tune2fs,
};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("matrix/blocks_of_1k", blocks_of_1k);
    suite.case("matrix/blocks_of_2k", blocks_of_2k);
    suite.case("matrix/blocks_of_4k", blocks_of_4k);
    suite.case("matrix/blocks_of_64k", blocks_of_64k);
    suite.case("matrix/first_groups_full", first_groups_full);
    suite.case("matrix/nearly_full", nearly_full);
    suite.case("matrix/old_layouts", old_layouts);
    suite.case(
        "matrix/an_interval_with_the_feature_reaches_both_places",
        an_interval_with_the_feature_reaches_both_places,
    );
}

/// Ways to checksum.
const CHECKSUMS: [&str; 4] = [
    "^metadata_csum,^uninit_bg",
    "^metadata_csum,uninit_bg",
    "metadata_csum",
    "metadata_csum,metadata_csum_seed",
];
/// Ways to lay out; the first word is the features, the rest are further options.
const LAYOUTS: [&str; 7] = [
    "flex_bg,resize_inode",
    "^flex_bg,resize_inode",
    "flex_bg,meta_bg,^resize_inode",
    "^flex_bg,meta_bg,^resize_inode,^sparse_super",
    "flex_bg,sparse_super2,^resize_inode",
    "^flex_bg,^sparse_super,^resize_inode",
    "flex_bg,bigalloc,^resize_inode -C 16384",
];

/// How full an image is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    /// Only the usual files.
    Some,
    /// The first groups are full.
    FirstGroups,
    /// Hardly a block is left.
    Nearly,
}

/// What a run over many images has met.
#[derive(Debug, Default)]
struct Met {
    images: usize,
    uninit: usize,
    far: usize,
}

/// Goes through on, interval, clear and off on one layout, beside tune2fs.
fn compare(folder: &Path, options: &str, size: &str, how: Fill, met: &mut Met) {
    let image = |name: &str| folder.join(name);
    let (base, theirs, ours) = (image("base"), image("theirs"), image("ours"));
    let context = format!("mke2fs {options} {size}, {how:?}");
    let made = match how {
        Fill::Some => mke2fs(&base, options, size),
        Fill::FirstGroups => fill_first_groups(&base, options, size),
        Fill::Nearly => mke2fs_filled(&base, options, size, |_| 40),
    };
    made.unwrap_or_else(|ended| panic!("{context}: {ended:?}"));
    copy(&base, &theirs);
    copy(&base, &ours);
    let mut mmp_block = 0;
    for (step, arguments) in [
        ("on", "-O mmp"),
        ("on again", "-O mmp"),
        ("interval", "-E mmp_update_interval=17"),
        ("clear", "-f -E clear_mmp"),
        ("off", "-O ^mmp"),
        ("off again", "-O ^mmp"),
        ("interval while off", "-E mmp_update_interval=0x11"),
        ("on with an interval kept", "-O mmp"),
    ] {
        let context = format!("{context}: {step}");
        let measure = tune2fs(&format!("-f {arguments}"), &theirs);
        let ended = mmptune(&format!("--no-guard {arguments}"), &ours);
        assert_eq!((measure.code, ended.code), (0, 0), "{context}: {measure:?} {ended:?}");
        if !step.contains("again") {
            // The first line is tune2fs's version.
            assert!(measure.out.lines().skip(1).eq(ended.out.lines()), "{context}: {measure:?}");
        }
        if mmp_block == 0 {
            mmp_block = header(&theirs, "MMP block number");
            let group = group_of(&base, mmp_block);
            met.far += usize::from(group > 0);
            met.uninit += usize::from(groups(&base)[usize::try_from(group).expect("few")].0);
        }
        assert_same(&theirs, &ours, mmp_block, &context);
        if ["on", "clear", "off"].contains(&step) {
            assert_clean(&ours, &context);
        }
    }
    met.images += 1;
}

/// Fills all groups before the first one whose bitmap is not initialised, where there is one. How
/// many index blocks the filling needs is found by trying.
pub(crate) fn fill_first_groups(image: &Path, options: &str, size: &str) -> Result<(), Ended> {
    mke2fs(image, options, size)?;
    let ratio = match header(image, "Cluster size") {
        0 => 1,
        cluster => cluster / header(image, "Block size"),
    };
    let before = groups(image);
    let Some(first) = before.iter().position(|(uninit, _)| *uninit) else {
        return mke2fs_filled(image, options, size, |free| free / 3);
    };
    let rest: u64 = before[first..].iter().map(|(_, free)| free).sum();
    for index_blocks in 0..40 {
        mke2fs_filled(image, options, size, |_| rest + index_blocks * ratio)?;
        let full = |(_, free): &(bool, u64)| *free == 0;
        if groups(image).iter().find(|group| !full(group)).is_some_and(|(uninit, _)| *uninit) {
            break;
        }
    }
    Ok(())
}

fn group_of(image: &Path, block: u64) -> u64 {
    (block - header(image, "First block")) / header(image, "Blocks per group")
}

/// Every kind of checksum, 64bit and layout at one block size.
fn all_layouts(block_size: u32, group: u32, size: &str, cluster: u32) -> Met {
    let folder = folder();
    let mut met = Met::default();
    for checksum in CHECKSUMS {
        for wide in ["64bit", "^64bit"] {
            for layout in LAYOUTS {
                let layout = layout.replace("16384", &cluster.to_string());
                let (features, more) = layout.split_once(' ').unwrap_or((&layout, ""));
                let options = format!(
                    "-t ext4 -b {block_size} -N 128 -O {checksum},{wide},{features} {more}"
                );
                let groups = if layout.contains("bigalloc") {
                    String::new()
                } else {
                    format!(" -g {group}")
                };
                let journal = match block_size {
                    65536 => " -O ^has_journal".to_owned(),
                    _ => format!(" -J size={}", block_size / 1024),
                };
                let options = format!("{}{groups}{journal}", options.trim_end());
                compare(folder.path(), &options, size, Fill::Some, &mut met);
            }
        }
    }
    met
}

fn blocks_of_1k() {
    let met = all_layouts(1024, 1024, "12M", 4096);
    assert_eq!(met.images, 56, "{met:?}");
}

fn blocks_of_2k() {
    let met = all_layouts(2048, 512, "16M", 32768);
    assert_eq!(met.images, 56, "{met:?}");
}

fn blocks_of_4k() {
    let met = all_layouts(4096, 256, "24M", 16384);
    assert_eq!(met.images, 56, "{met:?}");
}

fn blocks_of_64k() {
    let met = all_layouts(65536, 256, "48M", 131_072);
    assert_eq!(met.images, 56, "{met:?}");
}

fn first_groups_full() {
    let folder = folder();
    let mut met = Met::default();
    for checksum in CHECKSUMS {
        for layout in LAYOUTS.map(|layout| layout.replace("-C 16384", "-C 8192")) {
            let (features, more) = layout.split_once(' ').unwrap_or((&layout, ""));
            let options =
                format!("-t ext4 -b 1024 -N 256 -J size=1 -O {checksum},{features} {more}");
            compare(folder.path(), options.trim_end(), "64M", Fill::FirstGroups, &mut met);
        }
    }
    assert!(met.images == 28 && met.far >= 20 && met.uninit >= 8, "{met:?}");
}

fn nearly_full() {
    let folder = folder();
    let mut met = Met::default();
    for checksum in CHECKSUMS {
        for layout in &LAYOUTS[..6] {
            let options =
                format!("-t ext4 -b 1024 -g 1024 -N 128 -J size=1 -O {checksum},{layout}");
            compare(folder.path(), &options, "12M", Fill::Nearly, &mut met);
        }
    }
    assert!(met.images == 24 && met.far >= 20, "{met:?}");
}

fn old_layouts() {
    let folder = folder();
    let mut met = Met::default();
    for (options, size) in [
        ("-t ext2 -b 1024 -N 64", "4M"),
        ("-t ext3 -b 4096 -N 64 -J size=4", "32M"),
        ("-t ext4 -b 4096 -G 256 -g 256 -N 1024 -J size=4 -O ^resize_inode", "64M"),
        ("-t ext4 -b 1024 -E resize=200M -g 2048", "20M"),
        ("-t ext4 -b 4096 -O sparse_super2,^resize_inode -E num_backup_sb=1 -g 256", "24M"),
        ("-t ext4 -b 4096 -O sparse_super2,^resize_inode -E num_backup_sb=0 -g 256", "24M"),
    ] {
        compare(folder.path(), options, size, Fill::Some, &mut met);
    }
    assert_eq!(met.images, 6);
}

fn an_interval_with_the_feature_reaches_both_places() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    let ended = mmptune("-O mmp -E mmp_update_interval=20", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("enabled with update interval 20s."), "{ended:?}");
    assert_eq!(header(&image, "MMP update interval"), 20);
    // tune2fs leaves 5 in the block: a contender would then wait by the superblock alone.
    let shown = run("debugfs", ["-R", "dump_mmp", &image.to_string_lossy()]);
    assert!(shown.out.contains("check_interval: 20"), "{shown:?}");
    assert_clean(&image, "both intervals");
}
