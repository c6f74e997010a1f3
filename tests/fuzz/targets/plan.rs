//! A change to a file system, from the survey to the last write: eight bytes of what is wanted and
//! what goes wrong, a superblock, and the pieces of an image.

use mmp::layout::{
    BlockBitmap, BlockNumber, ByteOffset, Geometry, MMP_SIZE, MmpBlock, Names, Sequence, Superblock,
};
use mmp::tune::{Change, Obstacle, Plan, Source, Stamp, Step, Stopped, Survey, carry_out};

use super::image::Sparse;
use super::{assert_printable, bounded, repaired, take};

/// Backups can be many; where more than this is to be written, the device fails.
const WRITES: usize = 4000;
/// So many descriptors are put right.
const GROUPS: u32 = 16;

/// What an input begins with.
struct Wish {
    change: Change,
    /// Whether what can be overridden is.
    forced: bool,
    /// Whether counts and checksums of descriptors are put right first.
    repair: bool,
    /// Which look finds somebody else's block, from 1; 0 is none.
    disturbed: u8,
    /// How many writes succeed; 0 is all.
    takes: usize,
}

impl Wish {
    const LEN: usize = 8;

    fn new(bytes: [u8; Self::LEN]) -> Self {
        let [what, flags, low, high, disturbed, takes, ..] = bytes;
        let mmp = match what & 3 {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        };
        let interval = u16::from_le_bytes([low, high]) % 300 + 1;
        let interval = (what & 4 != 0).then_some(interval);
        Wish {
            change: Change { mmp, interval, clear: what & 8 != 0 },
            forced: flags & 1 != 0,
            repair: flags & 2 != 0,
            disturbed: disturbed % 4,
            takes: usize::from(takes),
        }
    }
}

pub(super) fn plan(data: &[u8]) -> bool {
    let (wish, rest) = take(data);
    let (raw, pieces) = take(rest);
    let wish = Wish::new(wish);
    let Ok(superblock) = Superblock::parse(repaired(raw)) else { return false };
    let Some(mut disk) = Sparse::new(&superblock, pieces) else { return false };
    if wish.repair {
        repair(&mut disk, &superblock);
    }
    let refused = Obstacle::all(&superblock, &wish.change);
    if refused.iter().any(|obstacle| !wish.forced || obstacle.overridable().is_none()) {
        return false;
    }
    disk.takes = if wish.takes == 0 { WRITES } else { wish.takes };
    let Some(after) = change(&mut disk, &superblock, &wish.change, wish.disturbed) else {
        return false;
    };
    let turned = wish.change.turns(&superblock);
    if let (Some(on), WRITES) = (turned, disk.takes) {
        back(disk, &superblock, &after, !on);
    }
    true
}

/// Makes a change; the superblock afterwards, if it was made.
fn change(
    disk: &mut Sparse,
    superblock: &Superblock,
    change: &Change,
    disturbed: u8,
) -> Option<Superblock> {
    disk.writes.clear();
    let stamp = Stamp { time: 1_700_000_000, names: Names::new(b"node", b"disk") };
    let plan = bounded(superblock.block_size(), || {
        let plan = match Survey::new(disk, superblock, change) {
            Err(error) => Err(error.to_string()),
            Ok(survey) => Plan::new(&survey, change, &stamp).map_err(|error| error.to_string()),
        };
        if let Ok(plan) = &plan {
            for step in plan.steps().take(WRITES) {
                assert_printable(&step.to_string());
            }
        }
        plan
    });
    assert!(disk.writes.is_empty(), "written while planning");
    let plan = match plan {
        Ok(plan) => plan,
        Err(why) => {
            assert_printable(&why);
            return None;
        }
    };
    let mut looks = 0;
    let ended = carry_out(&plan, disk, |_, _| {
        looks += 1;
        if looks == disturbed { Err("disturbed") } else { Ok(()) }
    });
    assert_apart(&disk.writes);
    match ended {
        Err(Stopped::Looked { begun, .. }) => {
            assert_eq!(begun, !disk.writes.is_empty());
            return None;
        }
        Err(Stopped::Failed { .. }) => return None,
        Ok(()) => {}
    }
    check(disk, &plan, change, superblock);
    Some(plan.after().clone())
}

/// No write of a plan hits what another has written, except the superblock itself.
fn assert_apart(writes: &[(u64, usize)]) {
    let mut sorted = writes.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        let [(a, len), (b, _)] = pair else { continue };
        assert!(pair[0] == pair[1] || a + *len as u64 <= *b, "{len} bytes at {a} reach {b}");
    }
}

/// What a plan has written is read back as what was meant.
fn check(disk: &mut Sparse, plan: &Plan, change: &Change, before: &Superblock) {
    let read = |disk: &mut Sparse, at: u64| {
        let mut raw = [0; MMP_SIZE];
        disk.read(ByteOffset(at), &mut raw).map(|()| raw).ok()
    };
    let Some(raw) = read(disk, 1024) else { return };
    let after = Superblock::parse(raw).expect("its own superblock");
    assert_eq!(after.as_bytes(), &plan.after().sealed(), "the superblock");
    assert_eq!(change.mmp.unwrap_or(after.features().mmp()), after.features().mmp());
    for step in plan.steps().take(WRITES) {
        let Step::Write(write) = step else { continue };
        let mut found = vec![0; write.bytes.len()];
        disk.get(write.offset.0, &mut found);
        let superblock = write.offset.0 == 1024;
        assert!(superblock || found == write.bytes, "{write}");
    }
    if change.clear || change.turns(before) == Some(true) {
        let area = after.mmp().expect("its own MMP block");
        let Some(raw) = read(disk, area.offset.0) else { return };
        let block = MmpBlock::from_bytes(raw);
        assert_eq!(block.verify(area.checksum), Ok(()));
        assert_eq!(block.sequence(), Sequence::Clean);
    }
}

/// The change can be taken back, and nothing is lost on the way.
fn back(mut disk: Sparse, before: &Superblock, after: &Superblock, on: bool) {
    if !Obstacle::all(after, &Change { mmp: Some(on), ..Change::default() })
        .iter()
        .all(|obstacle| obstacle.overridable().is_some())
    {
        return;
    }
    let undo = Change { mmp: Some(on), ..Change::default() };
    let Some(again) = change(&mut disk, after, &undo, 0) else {
        // Turning MMP on may meet what turning it off did not look at.
        assert!(on, "MMP was turned on and cannot be turned off");
        return;
    };
    assert_eq!(again.free_blocks_count(), before.free_blocks_count());
    assert_eq!(again.features().mmp(), before.features().mmp());
}

/// Gives the first groups the free counts and checksums that their bitmaps ask for, as an image
/// made to deceive would have them.
fn repair(disk: &mut Sparse, superblock: &Superblock) {
    let Ok(geometry) = Geometry::new(superblock) else { return };
    let checksum = superblock.group_checksum();
    for group in (0..geometry.groups().min(GROUPS)).map(mmp::layout::GroupNumber) {
        let Some(place) = geometry.descriptor(group) else { continue };
        let mut raw = vec![0; geometry.descriptor_size()];
        disk.get(place.0, &mut raw);
        let mut descriptor = mmp::layout::GroupDescriptor::from_bytes(&raw);
        let block = descriptor.block_bitmap();
        let Some(at) = block.offset(geometry.block_size()) else { continue };
        if block >= BlockNumber(superblock.blocks_count()) {
            continue;
        }
        let mut raw = vec![0; geometry.block_size() as usize];
        disk.get(at.0, &mut raw);
        let mut bitmap = BlockBitmap::from_bytes(raw, &geometry, group);
        if descriptor.block_uninit() {
            bitmap = BlockBitmap::initial(&geometry, group, &descriptor);
        }
        descriptor = descriptor.with_free_clusters(bitmap.free());
        if let Some(sum) = bitmap.checksum(&checksum) {
            descriptor = descriptor.with_bitmap_checksum(sum);
        }
        disk.put(place.0, descriptor.sealed(group, &checksum).as_bytes());
    }
}
