//! Geometry, group descriptors and block bitmaps: a superblock, a group's number, its descriptor
//! (1024 bytes, the longest there is) and its bitmap.

use mmp::layout::{
    BlockBitmap, BlockNumber, Geometry, GroupChecksum, GroupDescriptor, GroupNumber, Superblock,
};

use super::{bounded, repaired, take};

/// Where every group has backups, so many of them are enough.
const SOME: usize = 64;

pub(super) fn descriptors(data: &[u8]) -> bool {
    let (raw, rest) = take(data);
    let (number, rest) = take(rest);
    let (descriptor, bitmap) = take::<1024>(rest);
    let Ok(superblock) = Superblock::parse(repaired(raw)) else { return false };
    bounded(superblock.block_size(), || {
        let Ok(geometry) = Geometry::new(&superblock) else { return false };
        let number = u32::from_le_bytes(number);
        let last = geometry.groups() - 1;
        for number in [number, number % geometry.groups(), 0, last] {
            places(&superblock, &geometry, GroupNumber(number));
        }
        let descriptor = GroupDescriptor::from_bytes(&descriptor[..geometry.descriptor_size()]);
        let checksum = superblock.group_checksum();
        for number in [number % geometry.groups(), last] {
            group(&geometry, GroupNumber(number), &descriptor, &checksum, bitmap);
        }
        true
    })
}

/// Whatever is said to lie somewhere lies in the file system.
fn places(superblock: &Superblock, geometry: &Geometry, group: GroupNumber) {
    let size = u64::from(geometry.block_size());
    let inside = |block: u64| assert!(block < superblock.blocks_count(), "block {block}");
    if let Some(place) = geometry.descriptor(group) {
        inside(place.0 / size);
        assert!(place.0 % size + geometry.descriptor_size() as u64 <= size);
    }
    for (at, place) in geometry.backup_descriptors(group).take(SOME) {
        assert!(at.0 < geometry.groups());
        inside(place.0 / size);
        assert_ne!(Some(place), geometry.descriptor(group), "a backup is another place");
    }
    for (at, block) in geometry.backup_superblocks().take(SOME) {
        assert!(at.0 > 0 && at.0 < geometry.groups());
        inside(block.0);
    }
    for member in geometry.flex_group_of(group).take(SOME) {
        assert!(member.0 < geometry.groups());
    }
}

fn group(
    geometry: &Geometry,
    group: GroupNumber,
    descriptor: &GroupDescriptor,
    checksum: &GroupChecksum,
    bitmap: &[u8],
) {
    let (first, end) = (geometry.first_block(group), geometry.end_block(group));
    assert!(first < end, "group {group} has no blocks");
    for block in [first, BlockNumber(end.0 - 1)] {
        assert_eq!(geometry.group_of(block), Some(group));
        let bit = geometry.bit_of(group, block).expect("in its group");
        assert!(bit < geometry.clusters_in(group));
        assert!(geometry.block_of(group, bit) <= block);
    }
    assert_eq!(geometry.bit_of(group, end), None);
    let sealed = descriptor.clone().with_block_init().sealed(group, checksum);
    assert!(sealed.is_sealed(group, checksum));
    let again = GroupDescriptor::from_bytes(sealed.as_bytes());
    assert!(again == sealed && !again.block_uninit());
    assert_eq!(geometry.metadata_of(group, &again), geometry.metadata_of(group, descriptor));
    let mut raw = bitmap.to_vec();
    raw.resize(geometry.block_size() as usize, 0);
    let read = BlockBitmap::from_bytes(raw, geometry, group);
    for bitmap in [read, BlockBitmap::initial(geometry, group, descriptor)] {
        allocate(geometry, group, &sealed, &bitmap, checksum);
    }
}

/// Taking the first free cluster takes one, and giving it back gives that one.
fn allocate(
    geometry: &Geometry,
    group: GroupNumber,
    descriptor: &GroupDescriptor,
    bitmap: &BlockBitmap,
    checksum: &GroupChecksum,
) {
    assert!(bitmap.free() <= geometry.clusters_in(group));
    let Some(bit) = bitmap.first_free() else {
        assert_eq!(bitmap.free(), 0);
        return;
    };
    assert!(!bitmap.get(bit) && bitmap.free() > 0);
    let taken = bitmap.clone().with(bit, true);
    assert_eq!(taken.free(), bitmap.free() - 1);
    assert_ne!(taken.first_free(), Some(bit));
    let raw = taken.as_bytes().to_vec();
    assert_eq!(BlockBitmap::from_bytes(raw, geometry, group), taken);
    assert_eq!(taken.clone().with(bit, false), *bitmap);
    let counted = descriptor.clone().with_free_clusters(taken.free());
    assert_eq!(counted.free_clusters(), taken.free());
    if let Some(sum) = taken.checksum(checksum) {
        assert!(counted.with_bitmap_checksum(sum).has_bitmap_checksum(sum));
    }
}
