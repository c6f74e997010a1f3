//! The superblock: `struct ext4_super_block`, 1024 bytes at byte 1024 of the device.

use byteorder::{ByteOrder, LittleEndian};

use super::checksum::crc32c;
use super::features::{Features, INCOMPAT_CSUM_SEED, RO_COMPAT_GDT_CSUM};
use super::group::GroupChecksum;
use super::mmp::{MMP_SIZE, MmpChecksum};
use super::text::Escaped;
use super::units::{BlockNumber, ByteOffset};

/// Where the primary superblock begins.
pub const SUPERBLOCK_OFFSET: ByteOffset = ByteOffset(1024);
/// Its size in bytes.
pub const SUPERBLOCK_SIZE: usize = 1024;

/// `s_state`: the file system was left in order.
pub const STATE_VALID: u16 = 0x1;
/// `s_state`: errors were found.
pub const STATE_ERROR: u16 = 0x2;

const EXT_MAGIC: u16 = 0xEF53;
/// 64 KiB, the largest block size ext4 knows, is 1 KiB shifted by 6.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
const OFFSET_CHECKSUM: usize = 0x3FC;

/// Where the MMP block lies and how it is checksummed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmpArea {
    /// `s_mmp_block`.
    pub block: BlockNumber,
    /// The same in bytes.
    pub offset: ByteOffset,
    /// How the block is checksummed.
    pub checksum: MmpChecksum,
    /// `s_mmp_update_interval`, seconds; 0 stands for the default.
    pub update_interval: u16,
}

/// Why a superblock cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// `s_magic` is something else.
    #[error("not an ext2/ext3/ext4/ldiskfs file system (magic {found:#06x}, expected 0xef53)")]
    Magic {
        /// What stands there.
        found: u16,
    },
    /// The superblock does not give the checksum stored with it.
    #[error("superblock checksum does not match: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// `s_checksum`.
        stored: u32,
        /// What the content gives.
        computed: u32,
    },
    /// `s_log_block_size` is out of range.
    #[error("superblock: block size exponent {log} is beyond 64 KiB blocks")]
    BlockSize {
        /// `s_log_block_size`.
        log: u32,
    },
    /// It is an external journal's.
    #[error("an external journal, not a file system")]
    Journal,
    /// The MMP feature is not set.
    #[error("MMP is not enabled on this file system")]
    NoMmp,
    /// `s_mmp_block` lies outside the file system.
    #[error(
        "superblock: MMP block number {block} is none of {first} to {last}; repair it from a backup superblock with 'e2fsck -b'"
    )]
    MmpPlace {
        /// `s_mmp_block`.
        block: BlockNumber,
        /// The first block where it can lie.
        first: BlockNumber,
        /// The last.
        last: BlockNumber,
    },
}

/// A superblock that has the magic, a known block size and, where there is one, a true checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    raw: [u8; SUPERBLOCK_SIZE],
}

impl Superblock {
    /// Takes the superblock's 1024 bytes: magic, then checksum, then the fields sizes depend on.
    pub fn parse(raw: [u8; SUPERBLOCK_SIZE]) -> Result<Self, SuperblockError> {
        let superblock = Superblock { raw };
        let found = superblock.u16(0x38);
        if found != EXT_MAGIC {
            return Err(SuperblockError::Magic { found });
        }
        if superblock.features().metadata_csum() {
            let stored = superblock.checksum();
            let computed = crc32c(!0, &superblock.raw[..OFFSET_CHECKSUM]);
            if stored != computed {
                return Err(SuperblockError::Checksum { stored, computed });
            }
        }
        let log = superblock.u32(0x18);
        if log > MAX_LOG_BLOCK_SIZE {
            return Err(SuperblockError::BlockSize { log });
        }
        Ok(superblock)
    }

    /// The bytes as read.
    pub fn as_bytes(&self) -> &[u8; SUPERBLOCK_SIZE] {
        &self.raw
    }

    /// The bytes to write, with the checksum the features ask for.
    pub fn sealed(&self) -> [u8; SUPERBLOCK_SIZE] {
        let mut raw = self.raw;
        if self.features().metadata_csum() {
            let sum = crc32c(!0, &raw[..OFFSET_CHECKSUM]);
            LittleEndian::write_u32(&mut raw[OFFSET_CHECKSUM..], sum);
        }
        raw
    }

    /// The field of 8 bits at `offset` of the superblock.
    pub fn u8(&self, offset: usize) -> u8 {
        self.raw[offset]
    }

    /// The field of 16 bits at `offset` of the superblock.
    pub fn u16(&self, offset: usize) -> u16 {
        LittleEndian::read_u16(&self.raw[offset..])
    }

    /// The field of 32 bits at `offset` of the superblock.
    pub fn u32(&self, offset: usize) -> u32 {
        LittleEndian::read_u32(&self.raw[offset..])
    }

    /// The field of 64 bits at `offset` of the superblock.
    pub fn u64(&self, offset: usize) -> u64 {
        LittleEndian::read_u64(&self.raw[offset..])
    }

    /// A time in seconds since the epoch: 32 bits, with the 8 upper bits that later kernels added.
    pub fn time(&self, low: usize, high: usize) -> u64 {
        u64::from(self.u8(high)) << 32 | u64::from(self.u32(low))
    }

    /// A block count kept as two halves; the upper one counts only with the 64bit feature.
    fn split(&self, low: usize, high: usize) -> u64 {
        let high = if self.features().is_64bit() { self.u32(high) } else { 0 };
        u64::from(high) << 32 | u64::from(self.u32(low))
    }

    /// `s_feature_compat`, `s_feature_incompat` and `s_feature_ro_compat`.
    pub fn features(&self) -> Features {
        Features { compat: self.u32(0x5C), incompat: self.u32(0x60), ro_compat: self.u32(0x64) }
    }

    /// Block size in bytes, 1024 to 65536.
    pub fn block_size(&self) -> u32 {
        1024 << self.u32(0x18).min(MAX_LOG_BLOCK_SIZE)
    }

    /// `s_blocks_count`: how many blocks the file system has.
    pub fn blocks_count(&self) -> u64 {
        self.split(0x04, 0x150)
    }

    /// `s_r_blocks_count`: how many of them only root may fill.
    pub fn reserved_blocks_count(&self) -> u64 {
        self.split(0x08, 0x154)
    }

    /// `s_free_blocks_count`.
    pub fn free_blocks_count(&self) -> u64 {
        self.split(0x0C, 0x158)
    }

    /// `s_first_data_block`: 1 with blocks of 1 KiB, otherwise 0.
    pub fn first_data_block(&self) -> BlockNumber {
        BlockNumber(self.u32(0x14).into())
    }

    /// `s_uuid`.
    pub fn uuid(&self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.raw[0x68..0x78]);
        uuid
    }

    /// `s_volume_name`: the label, for Lustre the target's name.
    pub fn volume_name(&self) -> Escaped<'_> {
        Escaped::field(&self.raw[0x78..0x88])
    }

    /// `s_last_mounted`: where it was last mounted.
    pub fn last_mounted(&self) -> Escaped<'_> {
        Escaped::field(&self.raw[0x88..0xC8])
    }

    /// `s_checksum` as stored.
    pub fn checksum(&self) -> u32 {
        self.u32(OFFSET_CHECKSUM)
    }

    /// What checksums of metadata start from: `s_checksum_seed`, or crc32c of the UUID.
    fn checksum_seed(&self) -> u32 {
        if self.features().incompat & INCOMPAT_CSUM_SEED != 0 {
            self.u32(0x270)
        } else {
            crc32c(!0, &self.uuid())
        }
    }

    /// `s_mmp_update_interval`, seconds; 0 stands for the default of 5.
    pub fn mmp_update_interval(&self) -> u16 {
        self.u16(0x166)
    }

    /// `s_mmp_block`, unchecked.
    pub fn mmp_block(&self) -> BlockNumber {
        BlockNumber(self.u64(0x168))
    }

    /// `s_state`.
    pub fn state(&self) -> u16 {
        self.u16(0x3A)
    }

    /// What checksums of group descriptors and bitmaps are made with.
    pub fn group_checksum(&self) -> GroupChecksum {
        let features = self.features();
        if features.metadata_csum() {
            GroupChecksum::Crc32c { seed: self.checksum_seed() }
        } else if features.ro_compat & RO_COMPAT_GDT_CSUM != 0 {
            GroupChecksum::Crc16 { uuid: self.uuid() }
        } else {
            GroupChecksum::None
        }
    }

    /// The same with another `s_state`.
    #[must_use]
    pub fn with_state(mut self, state: u16) -> Self {
        LittleEndian::write_u16(&mut self.raw[0x3A..], state);
        self
    }

    /// The same with other incompat features.
    #[must_use]
    pub fn with_incompat(mut self, incompat: u32) -> Self {
        LittleEndian::write_u32(&mut self.raw[0x60..], incompat);
        self
    }

    /// The same with another `s_wtime`, seconds since the epoch.
    #[must_use]
    pub fn with_write_time(mut self, seconds: u64) -> Self {
        let bytes = seconds.to_le_bytes();
        self.raw[0x30..0x34].copy_from_slice(&bytes[..4]);
        self.raw[0x274] = bytes[4];
        self
    }

    /// The same with another `s_block_group_nr`: the group a backup lies in.
    #[must_use]
    pub fn with_block_group(mut self, group: u16) -> Self {
        LittleEndian::write_u16(&mut self.raw[0x5A..], group);
        self
    }

    /// The same with another `s_free_blocks_count`; its upper half exists only with 64bit.
    #[must_use]
    pub fn with_free_blocks_count(mut self, blocks: u64) -> Self {
        let bytes = blocks.to_le_bytes();
        self.raw[0x0C..0x10].copy_from_slice(&bytes[..4]);
        if self.features().is_64bit() {
            self.raw[0x158..0x15C].copy_from_slice(&bytes[4..]);
        }
        self
    }

    /// The same with another `s_mmp_block`; 0 where there is none.
    #[must_use]
    pub fn with_mmp_block(mut self, block: BlockNumber) -> Self {
        LittleEndian::write_u64(&mut self.raw[0x168..], block.0);
        self
    }

    /// The same with another `s_mmp_update_interval`, seconds.
    #[must_use]
    pub fn with_mmp_update_interval(mut self, seconds: u16) -> Self {
        LittleEndian::write_u16(&mut self.raw[0x166..], seconds);
        self
    }

    /// Where the MMP block is, if MMP is on and the place is inside the file system.
    pub fn mmp(&self) -> Result<MmpArea, SuperblockError> {
        if !self.features().mmp() {
            return Err(SuperblockError::NoMmp);
        }
        let (block, first) = (self.mmp_block(), self.first_data_block());
        // The first data block holds the superblock.
        let first = BlockNumber(first.0.saturating_add(1));
        let last = BlockNumber(self.blocks_count().saturating_sub(1));
        let place = SuperblockError::MmpPlace { block, first, last };
        if block < first || block > last {
            return Err(place);
        }
        let offset = block.offset(self.block_size()).ok_or_else(|| place.clone())?;
        offset.0.checked_add(MMP_SIZE as u64).ok_or(place)?;
        let checksum = match self.features().metadata_csum() {
            true => MmpChecksum::Crc32c { seed: self.checksum_seed() },
            false => MmpChecksum::None,
        };
        Ok(MmpArea { block, offset, checksum, update_interval: self.mmp_update_interval() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::features::{INCOMPAT_64BIT, INCOMPAT_MMP};

    fn raw(changes: &[(usize, u32)]) -> [u8; SUPERBLOCK_SIZE] {
        let mut raw = [0; SUPERBLOCK_SIZE];
        let base = [(0x38, u32::from(EXT_MAGIC)), (0x04, 1000), (0x18, 2), (0x60, INCOMPAT_MMP)];
        for (offset, value) in base.iter().chain([(0x168, 77)].iter()).chain(changes) {
            LittleEndian::write_u32(&mut raw[*offset..], *value);
        }
        raw
    }

    #[test]
    fn finds_the_mmp_block() {
        let area = Superblock::parse(raw(&[])).and_then(|s| s.mmp()).expect("valid");
        assert_eq!((area.block, area.offset), (BlockNumber(77), ByteOffset(77 * 4096)));
        assert_eq!(area.checksum, MmpChecksum::None);
    }

    #[test]
    fn refuses_places_outside_the_file_system() {
        for (change, refused) in [
            ((0x168, 0), true),
            ((0x168, 999), false),
            ((0x168, 1000), true),
            ((0x16C, 0x8000_0000), true),
            ((0x04, 77), true),
        ] {
            let result = Superblock::parse(raw(&[change])).and_then(|s| s.mmp());
            assert_eq!(matches!(result, Err(SuperblockError::MmpPlace { .. })), refused);
        }
        let huge = [(0x04, !0), (0x150, !0), (0x60, INCOMPAT_MMP | INCOMPAT_64BIT)];
        let far = [&huge[..], &[(0x168, !0), (0x16C, 0x7FFF_FFFF)]].concat();
        assert!(Superblock::parse(raw(&far)).expect("parses").mmp().is_err());
    }

    #[test]
    fn one_error_for_each_fault() {
        let parse = |changes: &[(usize, u32)]| Superblock::parse(raw(changes)).map(drop);
        assert_eq!(parse(&[(0x38, 7)]), Err(SuperblockError::Magic { found: 7 }));
        assert_eq!(parse(&[(0x18, 255)]), Err(SuperblockError::BlockSize { log: 255 }));
        let csum = parse(&[(0x64, 0x400)]);
        assert!(matches!(csum, Err(SuperblockError::Checksum { stored: 0, .. })));
        let off = Superblock::parse(raw(&[(0x60, 0)])).expect("parses").mmp();
        assert_eq!(off, Err(SuperblockError::NoMmp));
    }

    #[test]
    fn setters_touch_their_field_only() {
        let plain = Superblock::parse(raw(&[])).expect("valid");
        let wide = plain.clone().with_incompat(INCOMPAT_MMP | INCOMPAT_64BIT);
        let changed = |before: &Superblock, after: Superblock| -> Vec<usize> {
            (0..SUPERBLOCK_SIZE).filter(|i| before.raw[*i] != after.raw[*i]).collect()
        };
        let all = u64::MAX;
        assert_eq!(changed(&plain, plain.clone().with_free_blocks_count(all)), [12, 13, 14, 15]);
        let wide_free = changed(&wide, wide.clone().with_free_blocks_count(all));
        assert_eq!(wide_free, [12, 13, 14, 15, 0x158, 0x159, 0x15A, 0x15B]);
        assert_eq!(wide.clone().with_free_blocks_count(all - 1).free_blocks_count(), all - 1);
        let time = changed(&plain, plain.clone().with_write_time(all));
        assert_eq!(time, [0x30, 0x31, 0x32, 0x33, 0x274]);
        assert_eq!(changed(&plain, plain.clone().with_state(!0)), [0x3A, 0x3B]);
        assert_eq!(changed(&plain, plain.clone().with_block_group(!0)), [0x5A, 0x5B]);
        assert_eq!(plain.clone().with_mmp_block(BlockNumber(9)).mmp_block(), BlockNumber(9));
        assert_eq!(plain.clone().with_mmp_update_interval(9).mmp_update_interval(), 9);
        assert_eq!(plain.sealed(), plain.raw);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), SUPERBLOCK_SIZE)) {
            let mut bytes: [u8; SUPERBLOCK_SIZE] = bytes.try_into().expect("1024 bytes");
            LittleEndian::write_u16(&mut bytes[0x38..], EXT_MAGIC);
            bytes[0x65] &= !4;
            bytes[0x61] |= 1;
            let log = u32::from(bytes[0x18] % 7);
            LittleEndian::write_u32(&mut bytes[0x18..], log);
            let superblock = Superblock::parse(bytes).expect("parses");
            if let Ok(area) = superblock.mmp() {
                prop_assert!(area.block.0 < superblock.blocks_count());
            }
        }
    }
}
