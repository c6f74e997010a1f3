//! Reading what a change depends on, and taking nothing on trust.

use std::io;

use super::Source;
use super::change::Change;
use crate::device::Plain;
use crate::layout::{
    BlockBitmap, BlockNumber, ByteOffset, Geometry, GeometryError, GroupChecksum, GroupDescriptor,
    GroupNumber, Invalid, MMP_SIZE, MmpBlock, SUPERBLOCK_SIZE, Superblock, SuperblockError,
};

/// Looking through more groups than this for a contradiction is left to e2fsck.
const MAX_FLEX: usize = 1 << 16;

/// Why a change cannot be planned. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The superblock contradicts itself.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// There is no MMP block, or none where one can be.
    #[error("{0}")]
    Mmp(#[from] SuperblockError),
    /// A read failed.
    #[error("cannot read {what} at byte {offset}: {}", Plain(.source))]
    Read {
        /// What was to be read.
        what: String,
        /// Where.
        offset: ByteOffset,
        /// Why not.
        source: io::Error,
    },
    /// Every block is in use.
    #[error("no free block for the MMP block; nothing changed. Free some space and try again")]
    NoSpace,
    /// What was read does not fit together.
    #[error("{0}; nothing changed. Run 'e2fsck -f' and try again")]
    Contradiction(String),
}

fn contradiction<T>(what: String) -> Result<T, SurveyError> {
    Err(SurveyError::Contradiction(what))
}

/// The cluster that is or will be the MMP block, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The group it lies in.
    pub group: GroupNumber,
    /// That group's descriptor.
    pub descriptor: GroupDescriptor,
    /// That group's block bitmap; of a group whose bitmap is not initialised, what it must hold.
    pub bitmap: BlockBitmap,
    /// The cluster's bit.
    pub bit: u32,
    /// The cluster's first block.
    pub block: BlockNumber,
}

/// Everything a plan is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The primary superblock.
    pub superblock: Superblock,
    /// Where things lie.
    pub geometry: Geometry,
    /// The block to allocate or to free; `None` where MMP is neither turned on nor off.
    pub cluster: Option<Cluster>,
}

impl Survey {
    /// Reads what `change` needs. The superblock must have passed [`super::Obstacle::all`].
    pub fn new(
        source: &mut dyn Source,
        superblock: &Superblock,
        change: &Change,
    ) -> Result<Self, SurveyError> {
        let geometry = Geometry::new(superblock)?;
        let mut look = Look { source, superblock, geometry: &geometry, descriptors: None };
        let on_after = change.mmp.unwrap_or(superblock.features().mmp());
        if change.clear && !on_after {
            return Err(SuperblockError::NoMmp.into());
        }
        let cluster = match change.turns(superblock) {
            Some(true) => Some(look.first_free()?),
            Some(false) => Some(look.mmp_cluster()?),
            None if change.clear => {
                look.mmp_cluster()?;
                None
            }
            None => None,
        };
        Ok(Survey { superblock: superblock.clone(), geometry, cluster })
    }
}

/// Whether two areas, as (first block, number of blocks), have a block in common.
fn overlap(a: (BlockNumber, u64), b: (BlockNumber, u64)) -> bool {
    let end = |(first, blocks): (BlockNumber, u64)| first.0.saturating_add(blocks);
    a.1 > 0 && b.1 > 0 && a.0.0 < end(b) && b.0.0 < end(a)
}

struct Look<'a> {
    source: &'a mut dyn Source,
    superblock: &'a Superblock,
    geometry: &'a Geometry,
    /// The block of descriptors read last, and where it begins.
    descriptors: Option<(u64, Vec<u8>)>,
}

impl Look<'_> {
    fn read(&mut self, what: &str, offset: ByteOffset, out: &mut [u8]) -> Result<(), SurveyError> {
        let what = what.to_owned();
        self.source.read(offset, out).map_err(|source| SurveyError::Read { what, offset, source })
    }

    fn checksum(&self) -> GroupChecksum {
        self.superblock.group_checksum()
    }

    /// Reads a group's descriptor and checks its checksum.
    fn descriptor(&mut self, group: GroupNumber) -> Result<GroupDescriptor, SurveyError> {
        let block_size = self.geometry.block_size();
        let Some(place) = self.geometry.descriptor(group) else {
            return contradiction(format!("the descriptor of group {group} has no place"));
        };
        let (start, within) =
            (place.0 - place.0 % u64::from(block_size), place.0 % u64::from(block_size));
        let block = match self.descriptors.take() {
            Some((known, block)) if known == start => block,
            _ => {
                let mut block = vec![0; block_size as usize];
                let what = format!("the descriptor of group {group}");
                self.read(&what, ByteOffset(start), &mut block)?;
                block
            }
        };
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        let size = self.geometry.descriptor_size();
        let bytes = block.get(within..within.saturating_add(size)).unwrap_or(&[]);
        let descriptor = GroupDescriptor::from_bytes(bytes);
        self.descriptors = Some((start, block));
        if !descriptor.is_sealed(group, &self.checksum()) {
            return contradiction(format!("the descriptor of group {group} has a wrong checksum"));
        }
        Ok(descriptor)
    }

    fn is_uninit(&self, descriptor: &GroupDescriptor) -> bool {
        self.checksum() != GroupChecksum::None && descriptor.block_uninit()
    }

    /// Reads a group's bitmap, or makes it up where it is not initialised, and checks it against
    /// the descriptor.
    fn bitmap(
        &mut self,
        group: GroupNumber,
        descriptor: &GroupDescriptor,
    ) -> Result<BlockBitmap, SurveyError> {
        let block = descriptor.block_bitmap();
        let place = self.geometry.group_of(block).and_then(|_| {
            let offset = block.offset(self.geometry.block_size())?;
            (block > self.superblock.first_data_block()).then_some(offset)
        });
        let Some(place) = place else {
            return contradiction(format!(
                "the block bitmap of group {group} cannot lie at block {block}"
            ));
        };
        let areas = self.geometry.metadata_of(group, descriptor);
        if areas.iter().enumerate().any(|(n, area)| areas[..n].iter().any(|b| overlap(*area, *b))) {
            return contradiction(format!(
                "by its descriptor, the bitmaps and the inode table of group {group} lie over one \
                 another, or over its superblock and descriptors"
            ));
        }
        let bitmap = if self.is_uninit(descriptor) {
            BlockBitmap::initial(self.geometry, group, descriptor)
        } else {
            let mut raw = vec![0; self.geometry.block_size() as usize];
            self.read(&format!("the block bitmap of group {group}"), place, &mut raw)?;
            let bitmap = BlockBitmap::from_bytes(raw, self.geometry, group);
            let sum = bitmap.checksum(&self.checksum());
            if sum.is_some_and(|sum| !descriptor.has_bitmap_checksum(sum)) {
                return contradiction(format!(
                    "block bitmap {block} of group {group} has a wrong checksum"
                ));
            }
            bitmap
        };
        let (counted, told) = (bitmap.free(), descriptor.free_clusters());
        if counted != told {
            return contradiction(format!(
                "group {group} has {counted} free clusters by its block bitmap {block}, {told} by \
                 its descriptor"
            ));
        }
        Ok(bitmap)
    }

    /// The group of `blocks` that overlap the fixed metadata a descriptor names, if any do.
    fn overlaps(&self, group: GroupNumber, descriptor: &GroupDescriptor, cluster: u64) -> bool {
        let cluster = (BlockNumber(cluster), self.geometry.cluster_ratio().into());
        let areas = self.geometry.metadata_of(group, descriptor);
        areas.into_iter().any(|area| overlap(area, cluster))
    }

    /// The first free cluster of the file system, as e2fsprogs chooses it.
    fn first_free(&mut self) -> Result<Cluster, SurveyError> {
        for group in (0..self.geometry.groups()).map(GroupNumber) {
            let descriptor = self.descriptor(group)?;
            if descriptor.free_clusters() == 0 {
                continue;
            }
            let bitmap = self.bitmap(group, &descriptor)?;
            let Some(bit) = bitmap.first_free() else { continue };
            let block = self.geometry.block_of(group, bit);
            if self.overlaps(group, &descriptor, block.0) {
                return contradiction(format!(
                    "block {block} is free by the bitmap of group {group}, but is metadata"
                ));
            }
            let ratio = u64::from(self.geometry.cluster_ratio());
            if self.superblock.free_blocks_count() < ratio {
                return contradiction(format!(
                    "block {block} is free by the bitmap of group {group}, but the superblock \
                     counts no free blocks"
                ));
            }
            return Ok(Cluster { group, descriptor, bitmap, bit, block });
        }
        Err(SurveyError::NoSpace)
    }

    /// The cluster of the MMP block. It must be in use, and no other metadata. Where the block
    /// itself does not show that it is one, everything else that could contradict is asked too.
    fn mmp_cluster(&mut self) -> Result<Cluster, SurveyError> {
        let area = self.superblock.mmp()?;
        let block = area.block;
        let Some(group) = self.geometry.group_of(block) else {
            return contradiction(format!("MMP block {block} lies in no group"));
        };
        let descriptor = self.descriptor(group)?;
        let bitmap = self.bitmap(group, &descriptor)?;
        let bit = self.geometry.bit_of(group, block);
        let bit = bit.filter(|bit| self.geometry.block_of(group, *bit) == block);
        let Some(bit) = bit.filter(|bit| bitmap.get(*bit) && !self.is_uninit(&descriptor)) else {
            return contradiction(format!(
                "MMP block {block} is not in use by the block bitmap of group {group}"
            ));
        };
        if self.overlaps(group, &descriptor, block.0) {
            return contradiction(format!("MMP block {block} is metadata of group {group}"));
        }
        let mut raw = [0; MMP_SIZE];
        let seen = self.source.read(area.offset, &mut raw);
        let verdict = MmpBlock::from_bytes(raw).verify(area.checksum);
        if seen.is_err() || matches!(verdict, Err(Invalid::Magic { .. })) {
            self.doubt(group, block)?;
        }
        Ok(Cluster { group, descriptor, bitmap, bit, block })
    }

    /// Looks for what contradicts that `block` is the MMP block: metadata of a group that keeps it
    /// elsewhere, and the first backup superblock.
    fn doubt(&mut self, group: GroupNumber, block: BlockNumber) -> Result<(), SurveyError> {
        for member in self.geometry.flex_group_of(group).take(MAX_FLEX) {
            let descriptor = self.descriptor(member)?;
            if self.overlaps(member, &descriptor, block.0) {
                return contradiction(format!("MMP block {block} is metadata of group {member}"));
            }
        }
        let Some((at, backup)) = self.geometry.backup_superblocks().next() else {
            return Ok(());
        };
        let Some(place) = backup.offset(self.geometry.block_size()) else { return Ok(()) };
        let mut raw = [0; SUPERBLOCK_SIZE];
        self.read(&format!("the backup superblock in group {at}"), place, &mut raw)?;
        match Superblock::parse(raw) {
            Ok(backup) if backup.mmp_block() == block => Ok(()),
            Ok(backup) => contradiction(format!(
                "block {block} is no MMP block, and the backup superblock in group {at} says that \
                 it is block {}",
                backup.mmp_block()
            )),
            Err(_) => Ok(()),
        }
    }
}
