//! Group descriptors: `struct ext4_group_desc`, 32 bytes, or `s_desc_size` bytes with 64bit.

use byteorder::{ByteOrder, LittleEndian};

use super::checksum::{crc16, crc32c};
use super::units::{BlockNumber, GroupNumber};

/// `bg_flags`: the block bitmap on the disk is not initialised; only the group's own metadata is
/// in use.
const BLOCK_UNINIT: u16 = 0x2;
const OFFSET_FLAGS: usize = 0x12;
const OFFSET_CHECKSUM: usize = 0x1E;
/// Descriptors of this size or more have the upper halves.
const WIDE: usize = 64;

/// How group descriptors and block bitmaps are checksummed, which the superblock decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChecksum {
    /// Not at all.
    None,
    /// uninit_bg: descriptors by crc16, bitmaps not.
    Crc16 {
        /// `s_uuid`.
        uuid: [u8; 16],
    },
    /// metadata_csum: both by crc32c.
    Crc32c {
        /// `s_checksum_seed`, or crc32c of the UUID.
        seed: u32,
    },
}

/// One group descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescriptor {
    raw: Vec<u8>,
}

impl GroupDescriptor {
    /// Takes the bytes of a descriptor; shorter ones than 32 are filled with zeros.
    pub fn from_bytes(raw: &[u8]) -> Self {
        let mut raw = raw.to_vec();
        raw.resize(raw.len().max(32), 0);
        GroupDescriptor { raw }
    }

    /// The bytes as read or last sealed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    fn u16(&self, offset: usize) -> u16 {
        LittleEndian::read_u16(&self.raw[offset..])
    }

    /// A block number kept as two halves.
    fn block(&self, low: usize, high: usize) -> BlockNumber {
        let half = |at: usize| u64::from(LittleEndian::read_u32(&self.raw[at..]));
        let high = if self.raw.len() >= WIDE { half(high) } else { 0 };
        BlockNumber(high << 32 | half(low))
    }

    /// A number of 32 bits kept as two halves.
    fn number(&self, low: usize, high: usize) -> u32 {
        let high = if self.raw.len() >= WIDE { self.u16(high) } else { 0 };
        u32::from(high) << 16 | u32::from(self.u16(low))
    }

    fn set_number(&mut self, low: usize, high: usize, value: u32) {
        let bytes = value.to_le_bytes();
        self.raw[low..low + 2].copy_from_slice(&bytes[..2]);
        if self.raw.len() >= WIDE {
            self.raw[high..high + 2].copy_from_slice(&bytes[2..]);
        }
    }

    /// `bg_block_bitmap`.
    pub fn block_bitmap(&self) -> BlockNumber {
        self.block(0x00, 0x20)
    }

    /// `bg_inode_bitmap`.
    pub fn inode_bitmap(&self) -> BlockNumber {
        self.block(0x04, 0x24)
    }

    /// `bg_inode_table`: its first block.
    pub fn inode_table(&self) -> BlockNumber {
        self.block(0x08, 0x28)
    }

    /// `bg_free_blocks_count`, which counts clusters.
    pub fn free_clusters(&self) -> u32 {
        self.number(0x0C, 0x2C)
    }

    /// The same with another `bg_free_blocks_count`, in clusters.
    #[must_use]
    pub fn with_free_clusters(mut self, clusters: u32) -> Self {
        self.set_number(0x0C, 0x2C, clusters);
        self
    }

    /// Whether `bg_flags` says that the block bitmap is not initialised. Means something only
    /// where descriptors have checksums.
    pub fn block_uninit(&self) -> bool {
        self.u16(OFFSET_FLAGS) & BLOCK_UNINIT != 0
    }

    /// The same with a block bitmap that counts.
    #[must_use]
    pub fn with_block_init(mut self) -> Self {
        let flags = self.u16(OFFSET_FLAGS) & !BLOCK_UNINIT;
        LittleEndian::write_u16(&mut self.raw[OFFSET_FLAGS..], flags);
        self
    }

    /// The same with the checksum of its block bitmap, of which a short descriptor keeps half.
    #[must_use]
    pub fn with_bitmap_checksum(mut self, sum: u32) -> Self {
        self.set_number(0x18, 0x38, sum);
        self
    }

    /// Whether `sum` is the checksum of the block bitmap, as far as the descriptor keeps it.
    pub fn has_bitmap_checksum(&self, sum: u32) -> bool {
        *self == self.clone().with_bitmap_checksum(sum)
    }

    fn checksum(&self, group: GroupNumber, kind: &GroupChecksum) -> Option<u16> {
        let group = group.0.to_le_bytes();
        let (before, after) =
            (&self.raw[..OFFSET_CHECKSUM], self.raw.get(OFFSET_CHECKSUM + 2..).unwrap_or(&[]));
        match kind {
            GroupChecksum::None => None,
            GroupChecksum::Crc16 { uuid } => {
                Some([&uuid[..], &group, before, after].into_iter().fold(!0, crc16))
            }
            GroupChecksum::Crc32c { seed } => {
                let parts = [&group[..], before, &[0, 0], after];
                let sum = parts.into_iter().fold(*seed, crc32c);
                Some(LittleEndian::read_u16(&sum.to_le_bytes()))
            }
        }
    }

    /// The same with the checksum that the file system asks for.
    #[must_use]
    pub fn sealed(mut self, group: GroupNumber, kind: &GroupChecksum) -> Self {
        if let Some(sum) = self.checksum(group, kind) {
            LittleEndian::write_u16(&mut self.raw[OFFSET_CHECKSUM..], sum);
        }
        self
    }

    /// Whether the stored checksum is that of the content.
    pub fn is_sealed(&self, group: GroupNumber, kind: &GroupChecksum) -> bool {
        self.checksum(group, kind).is_none_or(|sum| sum == self.u16(OFFSET_CHECKSUM))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [GroupChecksum; 2] =
        [GroupChecksum::Crc16 { uuid: [7; 16] }, GroupChecksum::Crc32c { seed: 7 }];

    #[test]
    fn halves_beyond_32_bytes_only_where_they_are() {
        for size in [32, 64, 128] {
            let plain = GroupDescriptor::from_bytes(&vec![0x5A; size]);
            let changed = plain.clone().with_free_clusters(0x1_2345);
            let kept = if size == 32 { 0x2345 } else { 0x1_2345 };
            assert_eq!(changed.free_clusters(), kept);
            let differ = plain.raw.iter().zip(&changed.raw).filter(|(a, b)| a != b).count();
            assert_eq!(differ, if size == 32 { 2 } else { 4 });
            let summed = plain.with_bitmap_checksum(0xDEAD_BEEF);
            assert!(summed.has_bitmap_checksum(0xDEAD_BEEF));
            assert_eq!(summed.has_bitmap_checksum(0xBEEF), size == 32);
        }
        assert_eq!(GroupDescriptor::from_bytes(&[]).as_bytes().len(), 32);
    }

    proptest! {
        #[test]
        fn a_sealed_descriptor_shows_every_flipped_bit(
            raw in proptest::collection::vec(any::<u8>(), 64),
            group: u32,
            bit in 0usize..512,
        ) {
            let group = GroupNumber(group);
            for kind in KINDS {
                let sealed = GroupDescriptor::from_bytes(&raw).sealed(group, &kind);
                prop_assert!(sealed.is_sealed(group, &kind));
                let mut flipped = sealed.clone();
                flipped.raw[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!flipped.is_sealed(group, &kind));
                prop_assert!(flipped.is_sealed(group, &GroupChecksum::None));
                let init = sealed.clone().with_block_init();
                prop_assert!(!init.block_uninit());
                prop_assert_eq!(init.inode_table(), sealed.inode_table());
            }
        }
    }
}
