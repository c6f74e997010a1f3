//! Block bitmaps: one file system block per group, one bit per cluster, set where in use.

use super::checksum::crc32c;
use super::geometry::Geometry;
use super::group::{GroupChecksum, GroupDescriptor};
use super::units::{BlockNumber, GroupNumber};

/// The block bitmap of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBitmap {
    raw: Vec<u8>,
    /// How many of the bits stand for clusters; those after them are padding, and set.
    clusters: u32,
    /// How many bytes the checksum covers.
    summed: usize,
}

impl BlockBitmap {
    /// Takes the block of a group's bitmap as read: exactly one file system block.
    pub fn from_bytes(raw: Vec<u8>, geometry: &Geometry, group: GroupNumber) -> Self {
        let summed = geometry.bitmap_len().min(raw.len());
        let bits = u32::try_from(raw.len() * 8).unwrap_or(u32::MAX);
        BlockBitmap { raw, clusters: geometry.clusters_in(group).min(bits), summed }
    }

    /// What the bitmap of a group that has none yet (BLOCK_UNINIT) must hold: the superblock's and
    /// the descriptors' copies, and the group's own bitmaps and inode table where they lie in it.
    /// As the kernel and e2fsprogs fill it in.
    pub fn initial(geometry: &Geometry, group: GroupNumber, descriptor: &GroupDescriptor) -> Self {
        let raw = vec![0; geometry.block_size() as usize];
        let mut bitmap = Self::from_bytes(raw, geometry, group);
        let padding = bitmap.clusters..u32::try_from(bitmap.raw.len() * 8).unwrap_or(u32::MAX);
        for bit in padding {
            bitmap.set(bit, true);
        }
        for (first, blocks) in geometry.metadata_of(group, descriptor) {
            let end = first.0.saturating_add(blocks);
            let (start, past) = (geometry.first_block(group).0, geometry.end_block(group).0);
            let inside = first.0.max(start)..end.min(past);
            if inside.is_empty() {
                continue;
            }
            let bit = |block: u64| geometry.bit_of(group, BlockNumber(block));
            if let (Some(from), Some(to)) = (bit(inside.start), bit(inside.end - 1)) {
                for bit in from..=to {
                    bitmap.set(bit, true);
                }
            }
        }
        bitmap
    }

    /// The bytes as read or changed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Whether a cluster is in use.
    pub fn get(&self, bit: u32) -> bool {
        self.raw.get(bit as usize / 8).is_none_or(|byte| byte & (1 << (bit % 8)) != 0)
    }

    fn set(&mut self, bit: u32, in_use: bool) {
        if let Some(byte) = self.raw.get_mut(bit as usize / 8) {
            let mask = 1 << (bit % 8);
            *byte = if in_use { *byte | mask } else { *byte & !mask };
        }
    }

    /// The same with one cluster in use or free.
    #[must_use]
    pub fn with(mut self, bit: u32, in_use: bool) -> Self {
        self.set(bit, in_use);
        self
    }

    /// The first cluster that is free.
    pub fn first_free(&self) -> Option<u32> {
        let byte = self.raw.iter().position(|byte| *byte != 0xFF)?;
        let bit = u32::try_from(byte).ok()? * 8 + self.raw[byte].trailing_ones();
        (bit < self.clusters).then_some(bit)
    }

    /// How many clusters are free.
    pub fn free(&self) -> u32 {
        let whole = self.clusters / 8;
        let bytes: u32 = self.raw[..whole as usize].iter().map(|byte| byte.count_zeros()).sum();
        (whole * 8..self.clusters).fold(bytes, |free, bit| free + u32::from(!self.get(bit)))
    }

    /// The checksum that the group's descriptor keeps, where the file system has one.
    pub fn checksum(&self, kind: &GroupChecksum) -> Option<u32> {
        match kind {
            GroupChecksum::Crc32c { seed } => Some(crc32c(*seed, &self.raw[..self.summed])),
            GroupChecksum::None | GroupChecksum::Crc16 { .. } => None,
        }
    }
}
