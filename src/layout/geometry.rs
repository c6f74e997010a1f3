//! How a file system is cut into groups, and where each group's metadata and its copies lie.
//!
//! Sources: the kernel's `ext4_bg_has_super` and `ext4_fill_super` for the rules, mke2fs images
//! for the places (see `tests/tune/`).

use super::features::{
    COMPAT_SPARSE_SUPER2, INCOMPAT_META_BG, RO_COMPAT_BIGALLOC, RO_COMPAT_SPARSE_SUPER,
};
use super::group::GroupDescriptor;
use super::superblock::Superblock;
use super::units::{BlockNumber, ByteOffset, GroupNumber};

/// How many clusters a group has at most. Source: e2fsprogs, which opens nothing that has more.
const MAX_CLUSTERS: u32 = (1 << 16) - 8;
/// `s_checksum_type`: crc32c, the only one there is.
const CRC32C: u8 = 1;
/// `s_rev_level`: the highest there is.
const MAX_REVISION: u32 = 1;
/// `s_first_ino`: the inodes before it are reserved.
const FIRST_INODE: u32 = 11;
/// `s_log_groups_per_flex`: beyond it, the number of groups does not fit 32 bits.
const MAX_LOG_GROUPS_PER_FLEX: u32 = 31;

/// A superblock field that contradicts the others or the limits of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("superblock: {field} is {value}, which cannot be; run e2fsck")]
pub struct GeometryError {
    /// The kernel's name of the field.
    pub field: &'static str,
    /// What stands there.
    pub value: u64,
}

/// Which groups have a backup of the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Backups {
    /// All of them.
    All,
    /// These, in ascending order.
    These(Vec<GroupNumber>),
}

/// The numbers of a superblock that say where things lie, checked against one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    block_size: u32,
    blocks_count: u64,
    first_data_block: u64,
    blocks_per_group: u32,
    cluster_ratio: u32,
    groups: u32,
    descriptor_size: u32,
    /// How many descriptor blocks lie right after the superblock; with meta_bg, the later ones lie
    /// with the groups they describe.
    old_descriptor_blocks: u32,
    meta_bg: bool,
    /// Blocks kept for descriptors after the superblock where those lie the old way.
    kept_for_descriptors: u64,
    inode_table_blocks: u64,
    groups_per_flex: u32,
    backups: Backups,
}

impl Geometry {
    /// Reads and checks the numbers. What e2fsck would refuse to go by is refused: it would turn to
    /// a backup, and a change copies the superblock over all of them.
    pub fn new(superblock: &Superblock) -> Result<Self, GeometryError> {
        let features = superblock.features();
        let block_size = superblock.block_size();
        let blocks_count = superblock.blocks_count();
        let first_data_block = superblock.first_data_block().0;
        let bigalloc = features.ro_compat & RO_COMPAT_BIGALLOC != 0;
        let (log_block, log_cluster) = (superblock.u32(0x18), superblock.u32(0x1C));
        let shift = log_cluster.wrapping_sub(log_block);
        let most = if bigalloc { 20 } else { 0 };
        check(shift <= most, "s_log_cluster_size", log_cluster.into())?;
        let cluster_ratio = 1u32 << shift;
        let first = if bigalloc { 0 } else { u64::from(block_size == 1024) };
        check(first_data_block == first, "s_first_data_block", first_data_block)?;
        check(blocks_count > first + 1, "s_blocks_count", blocks_count)?;

        let blocks_per_group = superblock.u32(0x20);
        let clusters_per_group = blocks_per_group / cluster_ratio;
        let fits = (8..=(block_size * 8).min(MAX_CLUSTERS)).contains(&clusters_per_group)
            && clusters_per_group.is_multiple_of(8)
            && blocks_per_group.is_multiple_of(cluster_ratio);
        check(fits, "s_blocks_per_group", blocks_per_group.into())?;
        let agree = superblock.u32(0x24) == clusters_per_group;
        check(agree, "s_clusters_per_group", superblock.u32(0x24).into())?;
        let groups = (blocks_count - first_data_block).div_ceil(blocks_per_group.into());
        let too_many = |_| GeometryError { field: "s_blocks_count", value: blocks_count };
        let groups = u32::try_from(groups).map_err(too_many)?;

        let descriptor_size = descriptor_size(superblock)?;
        let descriptor_blocks = groups.div_ceil(block_size / descriptor_size);
        let inode_table_blocks = inode_table_blocks(superblock, groups)?;
        check_bounds(superblock)?;
        let sum = superblock.u8(0x175);
        check(sum == CRC32C || !features.metadata_csum(), "s_checksum_type", sum.into())?;
        let meta_bg = features.incompat & INCOMPAT_META_BG != 0;
        let first_meta_bg = superblock.u32(0x104);
        check(
            !meta_bg || first_meta_bg <= descriptor_blocks,
            "s_first_meta_bg",
            first_meta_bg.into(),
        )?;
        let kept_for_descriptors = match meta_bg {
            true => first_meta_bg.into(),
            false => u64::from(descriptor_blocks) + u64::from(superblock.u16(0xCE)),
        };
        let kept_fit = kept_for_descriptors < blocks_per_group.into();
        check(kept_fit, "s_reserved_gdt_blocks", kept_for_descriptors)?;
        let backups = if features.compat & COMPAT_SPARSE_SUPER2 != 0 {
            Backups::These(listed([superblock.u32(0x24C), superblock.u32(0x250)], groups))
        } else if features.ro_compat & RO_COMPAT_SPARSE_SUPER != 0 {
            Backups::These(sparse(groups))
        } else {
            Backups::All
        };
        Ok(Geometry {
            block_size,
            blocks_count,
            first_data_block,
            blocks_per_group,
            cluster_ratio,
            groups,
            descriptor_size,
            old_descriptor_blocks: if meta_bg { first_meta_bg } else { descriptor_blocks },
            meta_bg,
            kept_for_descriptors,
            inode_table_blocks,
            groups_per_flex: 1 << superblock.u8(0x174),
            backups,
        })
    }

    /// Block size in bytes.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// How many blocks a cluster has; 1 without bigalloc.
    pub fn cluster_ratio(&self) -> u32 {
        self.cluster_ratio
    }

    /// How many groups there are.
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// Size of a group descriptor in bytes.
    pub fn descriptor_size(&self) -> usize {
        self.descriptor_size as usize
    }

    /// Size of a bitmap in bytes; the rest of its block is padding.
    pub fn bitmap_len(&self) -> usize {
        (self.blocks_per_group / self.cluster_ratio / 8) as usize
    }

    /// The group a block lies in; `None` where it lies outside the file system.
    pub fn group_of(&self, block: BlockNumber) -> Option<GroupNumber> {
        let within = block.0.checked_sub(self.first_data_block)?;
        let group = u32::try_from(within / u64::from(self.blocks_per_group)).ok()?;
        (block.0 < self.blocks_count).then_some(GroupNumber(group))
    }

    /// The first block of a group.
    pub fn first_block(&self, group: GroupNumber) -> BlockNumber {
        let within = u64::from(group.0) * u64::from(self.blocks_per_group);
        BlockNumber(self.first_data_block + within)
    }

    /// The block after the last one of a group.
    pub fn end_block(&self, group: GroupNumber) -> BlockNumber {
        let end = self.first_block(group).0 + u64::from(self.blocks_per_group);
        BlockNumber(end.min(self.blocks_count))
    }

    /// How many clusters a group has; the last group may have fewer than the others.
    pub fn clusters_in(&self, group: GroupNumber) -> u32 {
        let blocks = self.end_block(group).0.saturating_sub(self.first_block(group).0);
        let clusters = blocks.div_ceil(self.cluster_ratio.into());
        u32::try_from(clusters).unwrap_or(u32::MAX)
    }

    /// Which bit of the group's bitmap stands for a block.
    pub fn bit_of(&self, group: GroupNumber, block: BlockNumber) -> Option<u32> {
        let within = block.0.checked_sub(self.first_block(group).0)?;
        let bit = u32::try_from(within / u64::from(self.cluster_ratio)).ok()?;
        (block < self.end_block(group)).then_some(bit)
    }

    /// The first block of the cluster that a bit of the group's bitmap stands for.
    pub fn block_of(&self, group: GroupNumber, bit: u32) -> BlockNumber {
        BlockNumber(self.first_block(group).0 + u64::from(bit) * u64::from(self.cluster_ratio))
    }

    fn descriptors_per_block(&self) -> u32 {
        self.block_size / self.descriptor_size
    }

    /// The block of a group's superblock copy, in a group that has one. With blocks of 1 KiB,
    /// block 0 is the boot sector also where bigalloc counts it to group 0.
    fn superblock_block(&self, group: GroupNumber) -> u64 {
        let block = self.first_block(group).0;
        if block == 0 && self.block_size == 1024 { 1 } else { block }
    }

    fn has_superblock(&self, group: GroupNumber) -> bool {
        let listed = match &self.backups {
            Backups::All => true,
            Backups::These(groups) => groups.binary_search(&group).is_ok(),
        };
        group.0 == 0 || listed
    }

    /// Whether a descriptor block lies with the groups it describes.
    fn is_meta_bg(&self, index: u32) -> bool {
        self.meta_bg && index >= self.old_descriptor_blocks
    }

    /// The groups with a backup superblock, in ascending order.
    fn backup_groups(&self) -> impl Iterator<Item = GroupNumber> {
        let (all, these) = match &self.backups {
            Backups::All => (1..self.groups, &[][..]),
            Backups::These(groups) => (0..0, groups.as_slice()),
        };
        all.map(GroupNumber).chain(these.iter().copied())
    }

    /// The backup superblocks: the group of each, and its block.
    pub fn backup_superblocks(&self) -> impl Iterator<Item = (GroupNumber, BlockNumber)> {
        self.backup_groups().map(|group| (group, BlockNumber(self.superblock_block(group))))
    }

    /// Where in its block a group's descriptor begins, in bytes.
    fn descriptor_within(&self, group: GroupNumber) -> u64 {
        u64::from(group.0 % self.descriptors_per_block()) * u64::from(self.descriptor_size)
    }

    /// The descriptor's place in a copy of its block; `None` outside the file system.
    fn descriptor_at(&self, block: u64, group: GroupNumber) -> Option<ByteOffset> {
        let inside = Some(BlockNumber(block)).filter(|block| block.0 < self.blocks_count);
        let start = inside?.offset(self.block_size)?;
        start.0.checked_add(self.descriptor_within(group)).map(ByteOffset)
    }

    /// The descriptor block in the metadata of `at`, with meta_bg.
    fn meta_bg_block(&self, at: GroupNumber) -> u64 {
        self.superblock_block(at) + u64::from(self.has_superblock(at))
    }

    /// Where the descriptor of a group lies.
    pub fn descriptor(&self, group: GroupNumber) -> Option<ByteOffset> {
        let per_block = self.descriptors_per_block();
        let index = group.0 / per_block;
        let block = match self.is_meta_bg(index) {
            true => self.meta_bg_block(GroupNumber(index * per_block)),
            false => self.superblock_block(GroupNumber(0)) + 1 + u64::from(index),
        };
        self.descriptor_at(block, group)
    }

    /// Where the backups of a group's descriptor lie: the group each is kept in, and its place.
    pub fn backup_descriptors(
        &self,
        group: GroupNumber,
    ) -> impl Iterator<Item = (GroupNumber, ByteOffset)> {
        let per_block = self.descriptors_per_block();
        let index = group.0 / per_block;
        let meta_bg = self.is_meta_bg(index);
        let old = self.backup_groups().take_while(move |_| !meta_bg).filter_map(move |at| {
            let here = !self.is_meta_bg(at.0 / per_block);
            let block = self.superblock_block(at) + 1 + u64::from(index);
            here.then(|| self.descriptor_at(block, group).map(|place| (at, place))).flatten()
        });
        let first = index.saturating_mul(per_block);
        let last = first.saturating_add(per_block - 1);
        let second = first.saturating_add(1);
        let ends = if last > second { [second, last] } else { [last, first] };
        let new = ends.into_iter().filter(move |at| meta_bg && *at > first && *at < self.groups);
        let new = new.map(GroupNumber);
        old.chain(new.filter_map(move |at| {
            self.descriptor_at(self.meta_bg_block(at), group).map(|place| (at, place))
        }))
    }

    /// What lies in a group whatever files there are, as (first block, number of blocks): the
    /// superblock's and the descriptors' copies, and the bitmaps and inode table that its
    /// descriptor names, which may be in another group.
    pub fn metadata_of(
        &self,
        group: GroupNumber,
        descriptor: &GroupDescriptor,
    ) -> Vec<(BlockNumber, u64)> {
        let mut areas = vec![
            (descriptor.block_bitmap(), 1),
            (descriptor.inode_bitmap(), 1),
            (descriptor.inode_table(), self.inode_table_blocks),
        ];
        let (per_block, block) = (self.descriptors_per_block(), self.superblock_block(group));
        let has_superblock = self.has_superblock(group);
        if has_superblock {
            let first = self.first_block(group);
            areas.push((first, block - first.0 + 1));
        }
        let after = block + u64::from(has_superblock);
        if !self.is_meta_bg(group.0 / per_block) {
            let kept = if has_superblock { self.kept_for_descriptors } else { 0 };
            areas.push((BlockNumber(after), kept));
        } else if [0, 1, per_block - 1].contains(&(group.0 % per_block)) {
            areas.push((BlockNumber(after), 1));
        }
        areas
    }

    /// The groups whose bitmaps and inode tables may lie in the same group as `group`'s: those of
    /// its flex group.
    pub fn flex_group_of(&self, group: GroupNumber) -> impl Iterator<Item = GroupNumber> + use<> {
        let first = group.0 / self.groups_per_flex * self.groups_per_flex;
        (first..first.saturating_add(self.groups_per_flex).min(self.groups)).map(GroupNumber)
    }
}

fn check(ok: bool, field: &'static str, value: u64) -> Result<(), GeometryError> {
    if ok { Ok(()) } else { Err(GeometryError { field, value }) }
}

/// Size of a group descriptor in bytes.
fn descriptor_size(superblock: &Superblock) -> Result<u32, GeometryError> {
    let size = u32::from(superblock.u16(0xFE));
    let sane = size.is_power_of_two() && size <= 1024;
    let wide = superblock.features().is_64bit();
    // Without 64bit nothing goes by it, but e2fsck insists all the same.
    let fits = if wide { sane && size >= 64 } else { sane || size == 0 };
    check(fits, "s_desc_size", size.into())?;
    Ok(if wide { size } else { 32 })
}

/// How many blocks each group's inode table has.
fn inode_table_blocks(superblock: &Superblock, groups: u32) -> Result<u64, GeometryError> {
    let block_size = superblock.block_size();
    let size = u32::from(superblock.u16(0x58));
    let sane = size.is_power_of_two() && (128..=block_size).contains(&size);
    check(sane, "s_inode_size", size.into())?;
    let (inodes, per_group) = (superblock.u32(0x00), superblock.u32(0x28));
    let fits = (1..=block_size * 8).contains(&per_group);
    check(fits, "s_inodes_per_group", per_group.into())?;
    let agree = u64::from(groups) * u64::from(per_group) == u64::from(inodes);
    check(agree, "s_inodes_count", inodes.into())?;
    Ok((u64::from(per_group) * u64::from(size)).div_ceil(block_size.into()))
}

/// Checks the fields that place nothing, to the bounds that e2fsck 1.47.0 was seen to insist on.
fn check_bounds(superblock: &Superblock) -> Result<(), GeometryError> {
    let most_reserved = superblock.blocks_count() / 2;
    let bounds = [
        ("s_rev_level", superblock.u32(0x4C).into(), 0, MAX_REVISION.into()),
        ("s_r_blocks_count", superblock.reserved_blocks_count(), 0, most_reserved),
        (
            "s_first_ino",
            superblock.u32(0x54).into(),
            FIRST_INODE.into(),
            superblock.u32(0x00).into(),
        ),
        (
            "s_reserved_gdt_blocks",
            superblock.u16(0xCE).into(),
            0,
            (superblock.block_size() / 4).into(),
        ),
        ("s_log_groups_per_flex", superblock.u8(0x174).into(), 0, MAX_LOG_GROUPS_PER_FLEX.into()),
    ];
    let beyond = bounds.into_iter().find(|(_, value, least, most)| value < least || value > most);
    beyond.map_or(Ok(()), |(field, value, ..)| Err(GeometryError { field, value }))
}

/// `s_backup_bgs` as a list; 0 stands for none.
fn listed(groups: [u32; 2], count: u32) -> Vec<GroupNumber> {
    let mut groups: Vec<_> =
        groups.into_iter().filter(|g| (1..count).contains(g)).map(GroupNumber).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// sparse_super: group 1 and the powers of 3, 5 and 7.
fn sparse(count: u32) -> Vec<GroupNumber> {
    let powers = |base: u32| std::iter::successors(Some(base), move |n| n.checked_mul(base));
    let mut groups: Vec<_> =
        [1].into_iter().chain([3, 5, 7].into_iter().flat_map(powers)).collect();
    groups.retain(|group| *group < count);
    groups.sort_unstable();
    groups.into_iter().map(GroupNumber).collect()
}
