//! The superblock: any 1024 bytes, as they are and with magic and checksum put right.

use mmp::layout::{BlockNumber, Geometry, MMP_SIZE, Superblock};
use mmp::report::header;
use mmp::tune::{Change, Obstacle};

use super::{assert_printable, bounded, repaired, take};

pub(super) fn superblock(data: &[u8]) -> bool {
    let (raw, _) = take(data);
    [repaired(raw), raw].into_iter().all(|raw| {
        bounded(1024, || {
            let superblock = Superblock::parse(raw);
            superblock.iter().for_each(examine);
            superblock.is_ok()
        })
    })
}

fn examine(superblock: &Superblock) {
    assert!((1024..=65536).contains(&superblock.block_size()));
    assert_eq!(superblock.sealed(), *superblock.as_bytes(), "sealed again it is the same");
    assert_printable(&header(superblock));
    if let Ok(area) = superblock.mmp() {
        let inside = superblock.first_data_block() < area.block
            && area.block < BlockNumber(superblock.blocks_count());
        assert!(inside, "{area:?}");
        assert!(area.offset.0.checked_add(MMP_SIZE as u64).is_some(), "{area:?}");
    }
    if let Err(error) = Geometry::new(superblock) {
        assert_printable(&error.to_string());
    }
    let on = Change { mmp: Some(!superblock.features().mmp()), ..Change::default() };
    for change in [Change::default(), on, Change { clear: true, ..on }] {
        for obstacle in Obstacle::all(superblock, &change) {
            assert_printable(&obstacle.to_string());
        }
    }
    // What is written is read back as what was meant.
    let changed = (superblock.clone())
        .with_state(superblock.state() ^ 1)
        .with_incompat(superblock.features().incompat ^ 0x100)
        .with_free_blocks_count(superblock.free_blocks_count() ^ 1)
        .with_mmp_block(BlockNumber(!superblock.mmp_block().0))
        .with_mmp_update_interval(!superblock.mmp_update_interval())
        .with_write_time(0x12_3456_789A)
        .with_block_group(7);
    let again = Superblock::parse(changed.sealed()).expect("its own output");
    assert_eq!(again.state(), superblock.state() ^ 1);
    assert_ne!(again.features().mmp(), superblock.features().mmp());
    assert_eq!(again.free_blocks_count(), superblock.free_blocks_count() ^ 1);
    assert_eq!(again.mmp_block().0, !superblock.mmp_block().0);
    assert_eq!(again.mmp_update_interval(), !superblock.mmp_update_interval());
    assert_eq!(again.time(0x30, 0x274), 0x12_3456_789A);
}
