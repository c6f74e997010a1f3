//! Every kind of finding, from what is seen and from nothing else.

use std::path::PathBuf;
use std::time::Duration;

use super::finding::judge;
use super::{FileSystem, KINDS, State, Surveyed};
use crate::device::{KernelWriter, MountPoint};
use crate::layout::{Invalid, MmpBlock, Names, SUPERBLOCK_SIZE, Sequence, Superblock};
use crate::protocol::{IoFault, Verdict};

const NODE: &[u8] = b"oss1";
const NOW: u64 = 1_000_000;

/// A file system with MMP, an update interval of 5 s, and this label.
fn filesystem(label: &str) -> FileSystem {
    let mut raw: [u8; SUPERBLOCK_SIZE] = *include_bytes!("../../fixtures/superblock-plain.bin");
    raw[0x78..0x88].fill(0);
    raw[0x78..0x78 + label.len()].copy_from_slice(label.as_bytes());
    raw[0x166..0x168].copy_from_slice(&5u16.to_le_bytes());
    let superblock = Superblock::parse(raw).expect("superblock");
    let area = Some(superblock.mmp().expect("MMP"));
    let (mounts, writer) = (Vec::new(), KernelWriter::Absent);
    let kernel_name = "sda".to_owned();
    FileSystem { superblock, area, kernel_name, read_only: false, mounts, writer }
}

fn mounted(read_only: bool, emergency: bool) -> FileSystem {
    let dir = PathBuf::from("/srv/ost0");
    let mount = MountPoint { dir, fstype: "ext4".to_owned(), read_only, emergency };
    FileSystem { mounts: vec![mount], ..filesystem("") }
}

fn frozen() -> FileSystem {
    FileSystem { writer: KernelWriter::Frozen, ..filesystem("") }
}

fn intervals(update: u16, mut filesystem: FileSystem) -> FileSystem {
    filesystem.area.as_mut().expect("MMP").update_interval = update;
    filesystem
}

fn block(sequence: Sequence) -> MmpBlock {
    let block = MmpBlock::from_bytes([0; 1024]).with_sequence(sequence).with_time(NOW - 3);
    block.with_check_interval(10).with_names(&Names::new(NODE, b"sda"))
}

fn active() -> MmpBlock {
    block(Sequence::Active(7))
}

fn in_use(block: MmpBlock) -> State {
    State::Verdict(Verdict::InUse { block, after: Duration::from_secs(2) })
}

fn stale(block: MmpBlock) -> State {
    State::Verdict(Verdict::Stale { block, watched: Duration::from_secs(21) })
}

fn clean() -> State {
    clean_with(10)
}

fn clean_with(check_interval: u16) -> State {
    let block = block(Sequence::Clean).with_check_interval(check_interval);
    State::Verdict(Verdict::Clean { block, watched: Duration::ZERO })
}

fn fsck(silent: u64) -> State {
    let block = block(Sequence::Fsck).with_time(NOW - silent);
    State::Verdict(Verdict::Fsck { block })
}

fn invalid(why: Invalid) -> State {
    State::Verdict(Verdict::Invalid { block: active(), why })
}

fn surveyed(filesystem: Option<FileSystem>, state: State) -> Surveyed {
    Surveyed { path: "/dev/sda".into(), filesystem, state, findings: Vec::new() }
}

fn names(device: &Surveyed) -> Vec<&'static str> {
    for finding in &device.findings {
        assert!(finding.sentence.starts_with("/dev/sda: "), "{}", finding.sentence);
    }
    device.findings.iter().map(|finding| finding.kind.name).collect()
}

fn found(filesystem: Option<FileSystem>, state: State) -> Vec<&'static str> {
    let mut devices = [surveyed(filesystem, state)];
    judge(&mut devices, NODE, NOW);
    names(&devices[0])
}

#[test]
fn each_kind_is_found_and_nothing_else() {
    let error = |unreadable| State::Error { unreadable, message: "/dev/sda: broken".to_owned() };
    let other = |node: &[u8], device: &[u8]| active().with_names(&Names::new(node, device));
    let wrong = Invalid::Checksum { stored: 1, computed: 2 };
    let table = [
        // All is well.
        (Some(filesystem("")), clean(), None),
        (Some(filesystem("")), in_use(active()), None),
        (Some(filesystem("")), in_use(other(b"oss2", b"sdb")), None),
        (Some(filesystem("")), State::Active(active()), None),
        (Some(filesystem("")), State::NoMmp, None),
        (Some(filesystem("")), fsck(131), None),
        (Some(mounted(false, false)), in_use(active()), None),
        (Some(mounted(true, false)), clean(), None),
        (Some(mounted(true, true)), stale(active()), None),
        (Some(intervals(7, filesystem(""))), clean(), None),
        (Some(filesystem("lustre-OST0001")), clean(), None),
        (Some(filesystem("")), clean_with(11), None),
        (Some(filesystem("")), clean_with(40), None),
        // Something is wrong now.
        (Some(mounted(false, false)), in_use(other(b"oss2", b"sda")), Some("foreign-holder")),
        (Some(mounted(false, false)), in_use(other(NODE, b"sdb")), Some("foreign-holder")),
        (Some(mounted(false, false)), clean(), Some("clean-while-mounted")),
        (Some(mounted(true, true)), clean(), Some("clean-while-mounted")),
        (Some(mounted(false, false)), fsck(3), Some("fsck-while-mounted")),
        (Some(mounted(false, false)), fsck(200), Some("fsck-while-mounted")),
        (Some(mounted(false, false)), stale(active()), Some("stalled")),
        (Some(frozen()), stale(active()), Some("frozen")),
        (Some(mounted(true, false)), in_use(active()), Some("read-only-while-in-use")),
        (Some(mounted(true, true)), in_use(active()), Some("read-only-while-in-use")),
        (None, State::Hung, Some("hung")),
        (None, error(true), Some("unreadable")),
        (None, error(false), Some("error")),
        (Some(filesystem("")), State::Verdict(Verdict::Unreadable(IoFault(5))), Some("unreadable")),
        (Some(filesystem("")), invalid(wrong), Some("bad-checksum")),
        (Some(intervals(400, filesystem(""))), invalid(wrong), Some("bad-checksum")),
        (Some(filesystem("")), invalid(Invalid::Magic { found: 7 }), Some("bad-magic")),
        (
            Some(filesystem("")),
            State::Verdict(Verdict::Unknown { block: block(Sequence::Unknown(!0)) }),
            Some("unknown"),
        ),
        // Something will be.
        (Some(filesystem("")), stale(active()), Some("stale")),
        (Some(filesystem("")), fsck(132), Some("fsck-dead")),
        (Some(filesystem("lustre-OST0001")), State::NoMmp, Some("no-mmp")),
        (Some(intervals(8, filesystem(""))), clean(), Some("slow-failover")),
        (Some(filesystem("")), in_use(active().with_check_interval(11)), Some("intervals-at-odds")),
        (Some(filesystem("")), clean_with(301), Some("intervals-at-odds")),
    ];
    let mut seen = vec!["same-uuid"];
    for (filesystem, state, expected) in table {
        let said = format!("{state:?} {:?}", filesystem.as_ref().map(FileSystem::mounted));
        assert_eq!(found(filesystem, state), Vec::from_iter(expected), "{said}");
        seen.extend(expected);
    }
    for kind in KINDS {
        assert!(seen.contains(&kind.name), "{} is not tried", kind.name);
    }
    let slow = active().with_check_interval(40);
    let both = ["intervals-at-odds", "slow-failover"];
    assert_eq!(found(Some(filesystem("")), in_use(slow)), both);
    assert_eq!(found(Some(intervals(301, filesystem(""))), clean()), both);
}

/// The fields of the block hold 64 and 32 bytes.
#[test]
fn a_name_that_is_cut_off_is_ours_still() {
    let node = [b'n'; 70];
    let mut filesystem = mounted(false, false);
    filesystem.kernel_name = "d".repeat(40);
    let block = active().with_names(&Names::new(&node, &[b'd'; 40]));
    let mut devices = [surveyed(Some(filesystem), in_use(block))];
    judge(&mut devices, &node, NOW);
    assert_eq!(names(&devices[0]), [""; 0]);
}

#[test]
fn one_file_system_on_two_devices_is_told_of_both() {
    let mut other = filesystem("");
    let mut raw = *other.superblock.as_bytes();
    raw[0x68] ^= 1;
    other.superblock = Superblock::parse(raw).expect("superblock");
    let twin = || surveyed(Some(filesystem("")), clean());
    let mut devices = [twin(), surveyed(Some(other), clean()), twin()];
    judge(&mut devices, NODE, NOW);
    let found: Vec<_> = devices.iter().map(names).collect();
    assert_eq!(found, [vec!["same-uuid"], vec![], vec!["same-uuid"]]);
    // No UUID is nobody's.
    let mut none = filesystem("");
    let mut raw = *none.superblock.as_bytes();
    raw[0x68..0x78].fill(0);
    none.superblock = Superblock::parse(raw).expect("superblock");
    let mut devices = [(); 2].map(|()| surveyed(Some(none.clone()), clean()));
    judge(&mut devices, NODE, NOW);
    assert!(devices.iter().all(|device| names(device).is_empty()));
}

#[test]
fn lustre_targets_by_their_labels() {
    let is_lustre = |label: &str| found(Some(filesystem(label)), State::NoMmp) == ["no-mmp"];
    for label in
        ["MGS", "lustre-OST0001", "a-MDT0000", "fs1:OST000a", "x_y=MDTffff", "data1234-OSTabcd"]
    {
        assert!(is_lustre(label), "{label}");
    }
    for label in [
        "",
        "data",
        "MGS2",
        "-OST0001",
        "lustre-OST001",
        "lustre-OSS0001",
        "lustre+OST0001",
        "a b-OST0001",
        "lustre-OST00g1",
    ] {
        assert!(!is_lustre(label), "{label}");
    }
}
