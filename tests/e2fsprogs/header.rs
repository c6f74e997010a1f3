//! `mmpdump` beside dumpe2fs, line by line.

use std::collections::BTreeMap;

use super::common::image::Image;
use super::common::program::{run, tool};
use super::common::suite::Suite;

pub(super) fn cases(suite: &mut Suite) {
    for options in OPTIONS {
        let words: Vec<&str> = options.split_whitespace().collect();
        suite.case(format!("header/{}", options.replace(' ', "_")), move || {
            same_lines(&Image::with(&words, "64M"), &[]);
        });
    }
    for request in CHANGES {
        suite.case(format!("header/{}", request.replace(' ', "_")), move || changed(request));
    }
    for (name, at, bit) in REFUSED {
        suite.case(format!("header/refused_by_stock_tools_{name}"), move || refused(at, bit));
    }
}

/// mke2fs options.
const OPTIONS: [&str; 21] = [
    "-b 1024",
    "-b 2048",
    "-b 4096",
    "-b 65536",
    "-O ^metadata_csum",
    "-O ^metadata_csum,uninit_bg",
    "-O ^64bit",
    "-O ^has_journal,^resize_inode,meta_bg",
    "-O bigalloc -C 65536",
    "-O quota,project",
    "-O inline_data,large_dir,ea_inode",
    "-O encrypt,casefold,verity",
    "-O metadata_csum_seed",
    "-O sparse_super2",
    "-O fast_commit,stable_inodes",
    "-m 0 -L data-OST0000",
    "-M /mnt/lustre -e panic",
    "-e remount-ro -I 512",
    "-O none,mmp,filetype,sparse_super",
    "-O none,mmp,has_journal,sparse_super,resize_inode",
    "-E mmp_update_interval=30",
];

/// What debugfs changes in a superblock.
const CHANGES: [&str; 10] = [
    "set_super_value state 0",
    "set_super_value state 3",
    "set_super_value errors 7",
    "set_super_value creator_os 3",
    "set_super_value creator_os 9",
    "set_super_value mtime 20200229121314",
    "set_super_value wtime 20400101000000",
    "set_super_value lastcheck 0",
    "set_super_value mnt_count 65000",
    "feature needs_recovery",
];

/// Bits that stock e2fsprogs do not know, by their set's place in the superblock.
const REFUSED: [(&str, usize, u32); 4] = [
    ("dirdata", 0x60, 0x1000),
    ("unknown_incompat", 0x60, 0x4000_0000),
    ("unknown_ro_compat", 0x64, 0x8000_0000),
    ("unknown_compat", 0x5C, 0x0100_0000),
];

/// Lines by their label.
fn lines(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| Some((line.split_once(':')?.0, line))).collect()
}

/// Every line that both print is the same, but for those in `other`.
fn same_lines(image: &Image, other: &[&str]) {
    let theirs = tool("dumpe2fs", &["-h", image.name()]);
    assert_same(&theirs, &tool("mmpdump", &["-h", image.name()]), other);
    assert_same(&theirs, &tool("mmpdump", &[image.name()]), other);
}

fn assert_same(theirs: &str, ours: &str, other: &[&str]) {
    let (theirs, ours) = (lines(theirs), lines(ours));
    let mut common = 0;
    for (label, line) in ours.iter().filter(|(label, _)| !other.contains(label)) {
        if let Some(theirs) = theirs.get(label) {
            assert_eq!(line, theirs);
            common += 1;
        }
    }
    assert!(common >= 28, "only {common} lines in common: {ours:?}");
    for label in ["Filesystem features", "MMP block number", "    mmp_sequence"] {
        assert!(theirs.contains_key(label) && ours.contains_key(label), "{label}");
    }
}

fn changed(request: &str) {
    let image = Image::new();
    tool("debugfs", &["-w", "-c", "-R", request, image.name()]);
    same_lines(&image, &[]);
}

fn refused(at: usize, bit: u32) {
    let image = Image::new();
    let before = tool("dumpe2fs", &["-h", image.name()]);
    image.change_superblock(|raw| {
        for (byte, bits) in raw[at..at + 4].iter_mut().zip(bit.to_le_bytes()) {
            *byte |= bits;
        }
    });
    let ours = tool("mmpdump", &["-h", image.name()]);
    assert_same(&before, &ours, &["Filesystem features", "Checksum"]);
    let name = match at {
        0x60 if bit == 0x1000 => "dirdata".to_owned(),
        0x60 => format!("FEATURE_I{}", bit.trailing_zeros()),
        0x64 => format!("FEATURE_R{}", bit.trailing_zeros()),
        _ => format!("FEATURE_C{}", bit.trailing_zeros()),
    };
    let features = lines(&ours)["Filesystem features"].to_owned();
    assert!(features.split_whitespace().any(|word| word == name), "{features}");
    assert_eq!(run("mmpcheck", &[image.name()]).code, 0);
    let theirs = run("e2mmpstatus", &[image.name()]);
    assert_eq!(theirs.code != 0, at != 0x5C && at != 0x64, "{}", theirs.said());
}
