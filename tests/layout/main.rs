//! The disk layout against recorded blocks: `fixtures/`, made by `fixtures/make.sh`.

use std::fs;

use mmp::layout::checksum::crc32c;
use mmp::layout::{
    Geometry, Invalid, MMP_SIZE, MmpArea, MmpBlock, MmpChecksum, SUPERBLOCK_SIZE, Sequence,
    Superblock, SuperblockError,
};
use mmp::protocol::Verdict;
use mmp::report::{BlockFields, describe_verdict, header, mmp_lines};
use proptest::prelude::*;

/// File systems without checksums, with them, and with a checksum seed that is not the UUID's.
const FILE_SYSTEMS: [&str; 3] = ["plain", "csum", "seed"];

fn fixture<const SIZE: usize>(name: &str) -> [u8; SIZE] {
    let path = format!("{}/fixtures/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).expect(&path).try_into().expect("size")
}

fn superblock(file_system: &str) -> [u8; SUPERBLOCK_SIZE] {
    fixture(&format!("superblock-{file_system}"))
}

fn area(file_system: &str) -> MmpArea {
    let superblock = Superblock::parse(superblock(file_system)).expect("superblock");
    superblock.mmp().expect("MMP")
}

fn block(state: &str, file_system: &str) -> [u8; MMP_SIZE] {
    fixture(&format!("mmp-{state}-{file_system}"))
}

#[test]
fn golden_superblocks_are_read() {
    for file_system in FILE_SYSTEMS {
        let superblock = Superblock::parse(superblock(file_system)).expect("superblock");
        assert_eq!(superblock.volume_name().to_string(), format!("golden-{file_system}"));
        assert_eq!((superblock.block_size(), superblock.blocks_count()), (4096, 4096));
        let uuid = mmp::device::format_uuid(superblock.uuid());
        let expected = match file_system {
            "seed" => "0badcafe-0123-4567-89ab-cdef01234567",
            _ => "5c0ffee5-0123-4567-89ab-cdef01234567",
        };
        assert_eq!(uuid, expected);
        let area = superblock.mmp().expect("MMP");
        assert_eq!(area.offset.0, area.block.0 * 4096);
        assert_eq!(area.checksum == MmpChecksum::None, file_system == "plain");
        assert_eq!(area.update_interval, 5);
    }
}

#[test]
fn golden_blocks_are_valid_and_sealed_again_are_the_same() {
    for file_system in FILE_SYSTEMS {
        let checksum = area(file_system).checksum;
        for (state, sequence, check_interval) in [
            ("clean", Sequence::Clean, 5),
            // kmmpd began at 1 and writes every 5 s; its first device names outlast theirs.
            ("active", Sequence::Active(3), 10),
            ("fsck", Sequence::Fsck, 5),
        ] {
            let raw = block(state, file_system);
            let golden = MmpBlock::from_bytes(raw);
            assert_eq!(golden.verify(checksum), Ok(()), "{state}-{file_system}");
            assert_eq!(golden.sealed(checksum), raw, "{state}-{file_system}");
            assert_eq!(golden.sequence(), sequence);
            assert_eq!(golden.check_interval(), check_interval);
            assert!(golden.time() > 1_700_000_000);
            let device = golden.bdevname().to_string();
            assert_eq!(device.starts_with("loop"), state == "active", "{device}");
        }
    }
}

/// Every byte that the checksum covers, and the checksum itself, is covered.
#[test]
fn any_damaged_byte_is_noticed() {
    for file_system in ["csum", "seed"] {
        let checksum = area(file_system).checksum;
        for at in 0..MMP_SIZE {
            let mut raw = block("clean", file_system);
            raw[at] ^= 0x10;
            assert!(MmpBlock::from_bytes(raw).verify(checksum).is_err(), "byte {at}");
        }
        for at in 0..SUPERBLOCK_SIZE {
            let mut raw = superblock(file_system);
            raw[at] ^= 0x10;
            assert!(Superblock::parse(raw).is_err(), "byte {at}");
        }
    }
}

/// A UUID changed after the seed was fixed does not count.
#[test]
fn the_seed_counts_and_not_the_uuid() {
    let uuid = Superblock::parse(superblock("seed")).expect("superblock").uuid();
    let checksum = MmpChecksum::Crc32c { seed: crc32c(!0, &uuid) };
    let verdict = MmpBlock::from_bytes(block("clean", "seed")).verify(checksum);
    assert!(matches!(verdict, Err(Invalid::Checksum { .. })), "{verdict:?}");
}

/// A superblock's error for each mutation of a good one without checksum.
#[test]
fn one_mutation_one_error() {
    let parse = |at: usize, bytes: &[u8]| {
        let mut raw = superblock("plain");
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        Superblock::parse(raw).and_then(|superblock| superblock.mmp()).map(drop)
    };
    assert_eq!(parse(0x38, &[0x53, 0xEF]), Ok(()));
    assert_eq!(parse(0x38, &[0, 0]), Err(SuperblockError::Magic { found: 0 }));
    assert_eq!(parse(0x18, &[7]), Err(SuperblockError::BlockSize { log: 7 }));
    assert_eq!(parse(0x61, &[0]), Err(SuperblockError::NoMmp));
    for number in [0u64, 4096, 4097, 1 << 63, u64::MAX] {
        let result = parse(0x168, &number.to_le_bytes());
        assert!(matches!(result, Err(SuperblockError::MmpPlace { .. })), "{number}: {result:?}");
    }
    let sum = parse(0x65, &[4]);
    assert!(matches!(sum, Err(SuperblockError::Checksum { .. })), "{sum:?}");
}

/// What e2fsck would not go by must not be copied over the backups that it would turn to.
#[test]
fn one_contradiction_one_field() {
    let geometry = |at: usize, bytes: &[u8]| {
        let mut raw = superblock("plain");
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        Geometry::new(&Superblock::parse(raw).expect("superblock")).map_err(|error| error.field)
    };
    assert!(geometry(0x78, b"any label").is_ok());
    for (at, bytes, field) in [
        (0x00, &[1, 0, 0, 0][..], "s_inodes_count"),
        (0x04, &[0, 0, 0, 0], "s_blocks_count"),
        (0x14, &[1], "s_first_data_block"),
        (0x1C, &[5], "s_log_cluster_size"),
        (0x1C, &[1], "s_log_cluster_size"),
        (0x20, &[4, 0, 0, 0], "s_blocks_per_group"),
        (0x20, &[0, 0, 1, 0], "s_blocks_per_group"),
        (0x24, &[8, 0, 0, 0], "s_clusters_per_group"),
        (0x28, &[0, 0, 0, 0], "s_inodes_per_group"),
        (0x58, &[0, 0], "s_inode_size"),
        (0x58, &[0, 0x20], "s_inode_size"),
        (0xCE, &[0xFF, 0xFF], "s_reserved_gdt_blocks"),
    ] {
        assert_eq!(geometry(at, bytes).map(drop), Err(field), "{at:#x}: {bytes:x?}");
    }
}

#[test]
fn one_mutation_one_verdict() {
    let checksum = area("csum").checksum;
    let verify = |at: usize, byte: u8| {
        let mut raw = block("active", "csum");
        raw[at] = byte;
        MmpBlock::from_bytes(raw).verify(checksum)
    };
    assert_eq!(verify(0, 0x50), Ok(()));
    assert_eq!(verify(0, 0x51), Err(Invalid::Magic { found: 0x004D_4D51 }));
    let sum = verify(4, 0x77);
    assert!(matches!(sum, Err(Invalid::Checksum { stored, computed }) if stored != computed));
}

proptest! {
    /// Whatever stands on the disk, what is printed of it cannot drive a terminal.
    #[test]
    fn any_bytes_are_shown(
        mut raw in proptest::collection::vec(any::<u8>(), SUPERBLOCK_SIZE),
        block in proptest::collection::vec(any::<u8>(), MMP_SIZE),
    ) {
        raw[0x38..0x3A].copy_from_slice(&[0x53, 0xEF]);
        raw[0x18] %= 7;
        raw[0x19..0x1C].fill(0);
        raw[0x65] &= !4;
        let superblock = Superblock::parse(raw.try_into().expect("size")).expect("parses");
        let block = MmpBlock::from_bytes(block.try_into().expect("size"));
        let verdict = Verdict::Fsck { block: block.clone() };
        let mut shown = header(&superblock) + &mmp_lines(&block);
        shown += &describe_verdict("disk".as_ref(), superblock.mmp_block(), &verdict);
        if let Ok(area) = superblock.mmp() {
            shown += &serde_json::to_string(&BlockFields::new(&block, &area)).expect("JSON");
        }
        prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", shown);
    }
}
