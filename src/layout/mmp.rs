//! The MMP block: `struct mmp_struct`, 1024 bytes at the start of file system block `s_mmp_block`.

use std::fmt;

use byteorder::{ByteOrder, LittleEndian};

use super::checksum::crc32c;
use super::text::Escaped;

/// Size of the MMP structure in bytes; the rest of its file system block is unused.
pub const MMP_SIZE: usize = 1024;
/// `mmp_magic`: "MMP" in ASCII, read as a little-endian number.
pub const MMP_MAGIC: u32 = 0x004D_4D50;

const SEQ_CLEAN: u32 = 0xFF4D_4D50;
const SEQ_FSCK: u32 = 0xE24D_4D50;
const SEQ_MAX: u32 = 0xE24D_4D4F;

const OFFSET_MAGIC: usize = 0x000;
const OFFSET_SEQ: usize = 0x004;
const OFFSET_TIME: usize = 0x008;
const OFFSET_NODENAME: usize = 0x010;
const OFFSET_BDEVNAME: usize = 0x050;
const OFFSET_CHECK_INTERVAL: usize = 0x070;
const NODENAME_SIZE: usize = OFFSET_BDEVNAME - OFFSET_NODENAME;
const BDEVNAME_SIZE: usize = OFFSET_CHECK_INTERVAL - OFFSET_BDEVNAME;
const OFFSET_CHECKSUM: usize = 0x3FC;

/// `mmp_seq`, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sequence {
    /// 0xFF4D4D50: nobody uses the file system; it was left in order.
    Clean,
    /// 0xE24D4D50: e2fsck (or another tool that changes the file system) has it.
    Fsck,
    /// 0 to 0xE24D4D4F: somebody uses the file system, or did when it died.
    Active(u32),
    /// Anything else: an operation this suite does not know.
    Unknown(u32),
}

impl Sequence {
    /// Sorts a raw `mmp_seq` into its meaning.
    pub fn from_raw(raw: u32) -> Self {
        match raw {
            SEQ_CLEAN => Sequence::Clean,
            SEQ_FSCK => Sequence::Fsck,
            0..=SEQ_MAX => Sequence::Active(raw),
            _ => Sequence::Unknown(raw),
        }
    }

    /// The raw `mmp_seq`.
    pub fn raw(self) -> u32 {
        match self {
            Sequence::Clean => SEQ_CLEAN,
            Sequence::Fsck => SEQ_FSCK,
            Sequence::Active(raw) | Sequence::Unknown(raw) => raw,
        }
    }

    /// An active sequence made from any number: what a claim writes, from a random draw.
    pub fn active(draw: u32) -> Self {
        Sequence::Active(draw % SEQ_MAX + 1)
    }

    /// What a holder writes next: one more, from the largest valid sequence back to 1. A state
    /// that is not a sequence is followed by 1, as the kernel's `kmmpd` starts.
    pub fn next(self) -> Self {
        match self {
            Sequence::Active(n) if n < SEQ_MAX => Sequence::Active(n + 1),
            _ => Sequence::Active(1),
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sequence::Clean => f.write_str("clean"),
            Sequence::Fsck => f.write_str("fsck"),
            Sequence::Active(n) => write!(f, "{n:#010x}"),
            Sequence::Unknown(n) => write!(f, "unknown {n:#010x}"),
        }
    }
}

/// Who writes a block: `mmp_nodename` and `mmp_bdevname`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Names {
    nodename: [u8; NODENAME_SIZE],
    bdevname: [u8; BDEVNAME_SIZE],
}

impl Names {
    /// Names cut to the fields' sizes, always with a final NUL.
    pub fn new(nodename: &[u8], bdevname: &[u8]) -> Self {
        fn field<const N: usize>(text: &[u8]) -> [u8; N] {
            let mut field = [0; N];
            let text = cut::<N>(text);
            field[..text.len()].copy_from_slice(text);
            field
        }
        Names { nodename: field(nodename), bdevname: field(bdevname) }
    }

    /// The same device on another node.
    #[must_use]
    pub fn on_node(self, nodename: &[u8]) -> Self {
        Names { bdevname: self.bdevname, ..Names::new(nodename, b"") }
    }
}

/// How the block is checksummed, which the superblock decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmpChecksum {
    /// No metadata_csum: `mmp_checksum` is neither set nor checked.
    None,
    /// crc32c of everything before `mmp_checksum`, started from this seed.
    Crc32c {
        /// `s_checksum_seed`, or crc32c of the UUID.
        seed: u32,
    },
}

/// Why 1024 bytes are not a valid MMP block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    /// `mmp_magic` is something else.
    #[error("invalid MMP magic number {found:#010x} (expected {MMP_MAGIC:#010x})")]
    Magic {
        /// What stands there.
        found: u32,
    },
    /// The content does not give the checksum stored with it.
    #[error("MMP block checksum does not match: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// `mmp_checksum`.
        stored: u32,
        /// What the content gives.
        computed: u32,
    },
}

/// The 1024 bytes of an MMP block.
///
/// Two blocks are equal when everything but `mmp_checksum` is: the checksum follows from the rest,
/// and is not kept up on file systems without metadata_csum.
#[derive(Clone)]
pub struct MmpBlock {
    raw: [u8; MMP_SIZE],
}

impl MmpBlock {
    /// Takes the bytes as they are; [`MmpBlock::verify`] tells whether they are a valid block.
    pub fn from_bytes(raw: [u8; MMP_SIZE]) -> Self {
        MmpBlock { raw }
    }

    /// The bytes as read or last sealed.
    pub fn as_bytes(&self) -> &[u8; MMP_SIZE] {
        &self.raw
    }

    /// The bytes to write, with the checksum the file system asks for.
    pub fn sealed(&self, checksum: MmpChecksum) -> [u8; MMP_SIZE] {
        let mut raw = self.raw;
        if let MmpChecksum::Crc32c { seed } = checksum {
            let sum = crc32c(seed, self.content());
            LittleEndian::write_u32(&mut raw[OFFSET_CHECKSUM..], sum);
        }
        raw
    }

    /// Magic first, then checksum: a block without the magic has no checksum to speak of.
    pub fn verify(&self, checksum: MmpChecksum) -> Result<(), Invalid> {
        let found = self.magic();
        if found != MMP_MAGIC {
            return Err(Invalid::Magic { found });
        }
        if let MmpChecksum::Crc32c { seed } = checksum {
            let (stored, computed) = (self.checksum(), crc32c(seed, self.content()));
            if stored != computed {
                return Err(Invalid::Checksum { stored, computed });
            }
        }
        Ok(())
    }

    /// Everything the checksum covers.
    fn content(&self) -> &[u8] {
        &self.raw[..OFFSET_CHECKSUM]
    }

    /// `mmp_magic`.
    pub fn magic(&self) -> u32 {
        LittleEndian::read_u32(&self.raw[OFFSET_MAGIC..])
    }

    /// `mmp_seq`.
    pub fn sequence(&self) -> Sequence {
        Sequence::from_raw(LittleEndian::read_u32(&self.raw[OFFSET_SEQ..]))
    }

    /// `mmp_time`: the writer's wall clock, seconds since the epoch. For display only.
    pub fn time(&self) -> u64 {
        LittleEndian::read_u64(&self.raw[OFFSET_TIME..])
    }

    /// `mmp_nodename`: the writer's host name.
    pub fn nodename(&self) -> Escaped<'_> {
        Escaped::field(&self.raw[OFFSET_NODENAME..OFFSET_BDEVNAME])
    }

    /// Whether it bears these names. What follows a name's final NUL does not count: kernels leave
    /// there what was there.
    pub fn is_by(&self, names: &Names) -> bool {
        self.has_nodename(Escaped::field(&names.nodename).0)
            && self.has_bdevname(Escaped::field(&names.bdevname).0)
    }

    /// Whether `node` wrote it: the same host name, or the same up to the first dot where one of the
    /// two has no domain. Case does not matter.
    pub fn is_by_node(&self, node: &[u8]) -> bool {
        let short = |name: &[u8]| name.split(|b| *b == b'.').next().unwrap_or_default().to_vec();
        let (known, node) = (cut::<NODENAME_SIZE>(self.nodename().0), cut::<NODENAME_SIZE>(node));
        let (a, b) = match known.contains(&b'.') && node.contains(&b'.') {
            true => (known.to_vec(), node.to_vec()),
            false => (short(known), short(node)),
        };
        !a.is_empty() && a.eq_ignore_ascii_case(&b)
    }

    /// Whether the writer's host name is `node`, as far as every writer keeps it: a kernel fills the
    /// field with a name of 64 bytes, others end it with a NUL.
    pub fn has_nodename(&self, node: &[u8]) -> bool {
        cut::<NODENAME_SIZE>(self.nodename().0) == cut::<NODENAME_SIZE>(node)
    }

    /// The same of its name for the device.
    pub fn has_bdevname(&self, device: &[u8]) -> bool {
        cut::<BDEVNAME_SIZE>(self.bdevname().0) == cut::<BDEVNAME_SIZE>(device)
    }

    /// `mmp_bdevname`: what the writer calls the device.
    pub fn bdevname(&self) -> Escaped<'_> {
        Escaped::field(&self.raw[OFFSET_BDEVNAME..OFFSET_CHECK_INTERVAL])
    }

    /// Both of the writer's names.
    pub fn names(&self) -> Names {
        let mut names = Names { nodename: [0; NODENAME_SIZE], bdevname: [0; BDEVNAME_SIZE] };
        names.nodename.copy_from_slice(&self.raw[OFFSET_NODENAME..OFFSET_BDEVNAME]);
        names.bdevname.copy_from_slice(&self.raw[OFFSET_BDEVNAME..OFFSET_CHECK_INTERVAL]);
        names
    }

    /// `mmp_check_interval` in seconds.
    pub fn check_interval(&self) -> u16 {
        LittleEndian::read_u16(&self.raw[OFFSET_CHECK_INTERVAL..])
    }

    /// `mmp_checksum` as stored.
    pub fn checksum(&self) -> u32 {
        LittleEndian::read_u32(&self.raw[OFFSET_CHECKSUM..])
    }

    /// The same block with another `mmp_seq`.
    #[must_use]
    pub fn with_sequence(mut self, sequence: Sequence) -> Self {
        LittleEndian::write_u32(&mut self.raw[OFFSET_SEQ..], sequence.raw());
        self
    }

    /// The same block with another `mmp_time`, in seconds since the epoch.
    #[must_use]
    pub fn with_time(mut self, seconds: u64) -> Self {
        LittleEndian::write_u64(&mut self.raw[OFFSET_TIME..], seconds);
        self
    }

    /// The same block with other writer's names.
    #[must_use]
    pub fn with_names(mut self, names: &Names) -> Self {
        self.raw[OFFSET_NODENAME..OFFSET_BDEVNAME].copy_from_slice(&names.nodename);
        self.raw[OFFSET_BDEVNAME..OFFSET_CHECK_INTERVAL].copy_from_slice(&names.bdevname);
        self
    }

    /// The same block with another `mmp_check_interval`, in seconds.
    #[must_use]
    pub fn with_check_interval(mut self, seconds: u16) -> Self {
        LittleEndian::write_u16(&mut self.raw[OFFSET_CHECK_INTERVAL..], seconds);
        self
    }
}

/// What of a name is left in a field of `N` bytes with a final NUL.
fn cut<const N: usize>(name: &[u8]) -> &[u8] {
    &name[..name.len().min(N - 1)]
}

impl PartialEq for MmpBlock {
    fn eq(&self, other: &Self) -> bool {
        self.content() == other.content()
    }
}

impl Eq for MmpBlock {}

impl std::hash::Hash for MmpBlock {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.content().hash(state);
    }
}

impl fmt::Debug for MmpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seq, time, interval) = (self.sequence(), self.time(), self.check_interval());
        let (node, device) = (self.nodename(), self.bdevname());
        write!(f, "MmpBlock({seq:?}, time {time}, {node}/{device}, check {interval} s)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUMS: [MmpChecksum; 2] = [MmpChecksum::None, MmpChecksum::Crc32c { seed: 0x1234_5678 }];

    fn block() -> MmpBlock {
        let mut raw = [0x5A; MMP_SIZE];
        LittleEndian::write_u32(&mut raw, MMP_MAGIC);
        MmpBlock::from_bytes(raw)
    }

    #[test]
    fn sequences_follow_one_another() {
        assert_eq!(Sequence::from_raw(SEQ_MAX), Sequence::Active(SEQ_MAX));
        assert_eq!(Sequence::Active(7).next(), Sequence::Active(8));
        assert_eq!(Sequence::Active(SEQ_MAX).next(), Sequence::Active(1));
        assert_eq!(Sequence::Clean.next(), Sequence::Active(1));
        assert_eq!(Sequence::active(u32::MAX).raw(), u32::MAX % SEQ_MAX + 1);
    }

    #[test]
    fn names_end_at_the_nul_and_hosts_may_lack_their_domain() {
        let mut named = block().with_names(&Names::new(b"OSS1", b"sdb"));
        named.raw[OFFSET_BDEVNAME + 4] = b'1';
        assert!(named.is_by(&Names::new(b"OSS1", b"sdb")));
        assert!(!named.is_by(&Names::new(b"OSS1", b"sdb1")) && !named.is_by_node(b"oss"));
        assert!(named.is_by_node(b"oss1") && named.is_by_node(b"oss1.example.org"));
        let named = block().with_names(&Names::new(b"oss1.example.org", b"sdb"));
        assert!(named.is_by_node(b"oss1") && !named.is_by_node(b"oss1.example.com"));
        assert!(!block().with_names(&Names::new(b"", b"")).is_by_node(b""));
        let long = [b'x'; 65];
        let cut = block().with_names(&Names::new(&long, b"sdb"));
        assert!(cut.is_by_node(&long[..63]));
        assert!(cut.has_nodename(&long) && cut.has_bdevname(b"sdb") && !cut.has_bdevname(b"sdb1"));
        let full = MmpBlock { raw: [b'x'; MMP_SIZE] };
        assert!(full.is_by(&Names::new(&long[..64], &long)) && full.is_by_node(&long[..64]));
        assert!(!full.has_nodename(&long[..62]) && !full.has_nodename(b""));
    }

    #[test]
    fn every_single_bit_flip_is_found_by_the_checksum() {
        let sealed = block().sealed(SUMS[1]);
        for bit in 0..MMP_SIZE * 8 {
            let mut raw = sealed;
            raw[bit / 8] ^= 1 << (bit % 8);
            assert!(MmpBlock::from_bytes(raw).verify(SUMS[1]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn names_fill_their_fields_and_no_more() {
        let names = Names::new(&[b'n'; 100], &[b'd'; 100]);
        let block = block().with_names(&names).with_check_interval(5);
        assert_eq!(block.nodename().to_string(), "n".repeat(63));
        assert_eq!(block.bdevname().to_string(), "d".repeat(31));
        assert_eq!(block.check_interval(), 5);
    }

    proptest! {
        #[test]
        fn raw_sequences_survive(raw: u32) {
            prop_assert_eq!(Sequence::from_raw(raw).raw(), raw);
        }

        #[test]
        fn drawn_sequences_are_active(draw: u32) {
            let sequence = Sequence::active(draw);
            prop_assert_eq!(Sequence::from_raw(sequence.raw()), sequence);
            prop_assert!(matches!(sequence, Sequence::Active(1..)));
        }

        #[test]
        fn changes_touch_their_field_only(seq: u32, time: u64, check: u16) {
            let changed = block()
                .with_sequence(Sequence::from_raw(seq))
                .with_time(time)
                .with_check_interval(check);
            prop_assert_eq!(changed.sequence().raw(), seq);
            prop_assert_eq!(changed.time(), time);
            prop_assert_eq!(changed.check_interval(), check);
            for sum in SUMS {
                let sealed = MmpBlock::from_bytes(changed.sealed(sum));
                prop_assert_eq!(sealed.verify(sum), Ok(()));
                prop_assert_eq!(&sealed, &changed);
                prop_assert!(sealed.as_bytes()[0x72..OFFSET_CHECKSUM].iter().all(|b| *b == 0x5A));
            }
        }

        #[test]
        fn any_bytes_are_taken(raw in proptest::collection::vec(any::<u8>(), MMP_SIZE)) {
            let raw: [u8; MMP_SIZE] = raw.try_into().expect("1024 bytes");
            let block = MmpBlock::from_bytes(raw);
            let shown = format!("{block:?} {}", block.sequence());
            prop_assert!(shown.chars().all(|c| !c.is_control()));
            prop_assert_eq!(block.sealed(MmpChecksum::None), raw);
        }
    }
}
