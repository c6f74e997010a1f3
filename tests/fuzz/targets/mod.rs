//! What is fuzzed: everything that reads a device. A target takes any bytes and panics when a
//! promise is broken. libFuzzer calls them (`fuzz/`), and `cargo test` over the inputs kept there.

mod descriptors;
pub(crate) mod image;
mod mmp_block;
mod plan;
mod superblock;

/// What takes any bytes; tells whether it got to its end with them.
pub(crate) type Target = fn(&[u8]) -> bool;

/// All of them, by the names of their folders in `fuzz/corpus`.
pub(crate) const TARGETS: [(&str, Target); 4] = [
    ("superblock", superblock::superblock),
    ("mmp_block", mmp_block::mmp_block),
    ("descriptors", descriptors::descriptors),
    ("plan", plan::plan),
];

/// The target of that name.
pub(crate) fn named(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| panic!("no target {name}"), |(_, target)| *target)
}

/// What may be allocated at any time beyond the block size, bytes.
const MEMORY: u64 = 1 << 20;

/// Runs `work`, which may at no time have more allocated than a mebibyte and a block.
fn bounded<T>(block_size: u32, work: impl FnOnce() -> T) -> T {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(work()));
    let limit = MEMORY + u64::from(block_size);
    assert!(used.bytes_max <= limit, "allocates {} bytes of {limit}", used.bytes_max);
    result.expect("it ran")
}

/// The first `N` bytes; where there are fewer, zeros follow. And the rest.
fn take<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    let (head, rest) = data.split_at(data.len().min(N));
    let mut taken = [0; N];
    taken[..head.len()].copy_from_slice(head);
    (taken, rest)
}

/// Nothing in a text drives a terminal.
fn assert_printable(text: &str) {
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

/// A superblock with the magic and the checksum put right, so that what comes after them is met.
fn repaired(mut raw: [u8; 1024]) -> [u8; 1024] {
    raw[0x38..0x3A].copy_from_slice(&[0x53, 0xEF]);
    if raw[0x65] & 4 != 0 {
        let sum = mmp::layout::checksum::crc32c(!0, &raw[..0x3FC]);
        raw[0x3FC..].copy_from_slice(&sum.to_le_bytes());
    }
    raw
}
