//! The change as an ordered list of writes and flushes. Computed, not done.

use std::borrow::Cow;
use std::fmt;

use super::change::Change;
use super::survey::{Cluster, Survey};
use crate::layout::features::{INCOMPAT_MMP, INCOMPAT_RECOVER};
use crate::layout::{
    BlockNumber, ByteOffset, Geometry, GroupDescriptor, GroupNumber, MMP_MAGIC, MMP_SIZE, MmpBlock,
    Names, STATE_VALID, SUPERBLOCK_OFFSET, Sequence, Superblock, SuperblockError,
};
use crate::protocol::DEFAULT_CHECK_INTERVAL;

/// Who changes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Seconds since the epoch, for `s_wtime` and `mmp_time`.
    pub time: u64,
    /// What the MMP block names.
    pub names: Names,
}

/// What a write hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The primary superblock.
    Superblock,
    /// A backup superblock, in this group.
    BackupSuperblock(GroupNumber),
    /// The descriptor of this group.
    Descriptor(GroupNumber),
    /// A backup of a group's descriptor.
    BackupDescriptor {
        /// The group described.
        of: GroupNumber,
        /// The group the backup lies in.
        at: GroupNumber,
    },
    /// The block bitmap of this group.
    Bitmap(GroupNumber),
    /// The MMP block.
    MmpBlock,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Superblock => f.write_str("superblock"),
            What::BackupSuperblock(at) => write!(f, "backup superblock in group {at}"),
            What::Descriptor(of) => write!(f, "descriptor of group {of}"),
            What::BackupDescriptor { of, at } => {
                write!(f, "backup of the descriptor of group {of} in group {at}")
            }
            What::Bitmap(of) => write!(f, "block bitmap of group {of}"),
            What::MmpBlock => f.write_str("MMP block"),
        }
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What it hits.
    pub what: What,
    /// The file system block it begins in.
    pub block: BlockNumber,
    /// Where it begins on the device.
    pub offset: ByteOffset,
    /// What is written.
    pub bytes: Vec<u8>,
    /// What it changes, and what for.
    pub why: Cow<'static, str>,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}, {}: {}", self.block, self.what, self.why)
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look whether the MMP block still says what it should; go on only then.
    Look,
    /// Write.
    Write(Write),
    /// Wait until all of it is on stable storage.
    Flush,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Look => f.write_str("look that nobody else wrote the MMP block"),
            Step::Write(write) => write.fmt(f),
            Step::Flush => f.write_str("flush"),
        }
    }
}

/// A part of the plan; the backups are many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Look,
    /// The superblock as it was, but unchecked.
    Uncheck,
    /// The superblock as it will be, but unchecked.
    Flip,
    /// The superblock as it will be.
    Finish,
    Bitmap,
    Descriptor,
    MmpBlock,
    Backups,
    Flush,
}

const ENABLE: &[Stage] = {
    use Stage::{Backups, Bitmap, Descriptor, Finish, Flush, MmpBlock, Uncheck};
    // The bitmap before the descriptor: one that was not initialised counts from the moment the
    // descriptor says so. The backups last: they must not say that MMP is on before it is.
    &[Uncheck, Flush, Bitmap, MmpBlock, Flush, Descriptor, Flush, Finish, Flush, Backups, Flush]
};
const DISABLE: &[Stage] = {
    use Stage::{Backups, Bitmap, Descriptor, Finish, Flip, Flush, Look};
    // The mirror image: the block becomes free when no superblock names it any more.
    // What is freed says until the end that it is ours.
    &[Look, Backups, Flush, Look, Flip, Flush, Bitmap, Descriptor, Flush, Finish, Flush, Look]
};
const ADJUST: &[Stage] = &[Stage::Look, Stage::Finish, Stage::Flush, Stage::Backups, Stage::Flush];
const CLEAR: &[Stage] = &[Stage::Look, Stage::MmpBlock, Stage::Flush];

/// What the change makes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupAfter {
    group: GroupNumber,
    descriptor: GroupDescriptor,
    bitmap_block: BlockNumber,
    bitmap: Vec<u8>,
    why: String,
}

/// A change, ready to be carried out or printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    stages: Vec<Stage>,
    geometry: Geometry,
    before: Superblock,
    after: Superblock,
    group: Option<GroupAfter>,
    /// The MMP block's number and its content, where it is written.
    mmp_block: Option<(BlockNumber, Vec<u8>)>,
}

impl Plan {
    /// Makes a plan of what was read.
    pub fn new(survey: &Survey, change: &Change, stamp: &Stamp) -> Result<Self, SuperblockError> {
        let before = &survey.superblock;
        let turns = change.turns(before);
        let mut after = before.clone();
        if change.touches_superblock(before) {
            after = after.with_write_time(stamp.time);
        }
        let ratio = u64::from(survey.geometry.cluster_ratio());
        let incompat = before.features().incompat;
        let free = before.free_blocks_count();
        match (turns, &survey.cluster) {
            (Some(true), Some(cluster)) => {
                let interval = match before.mmp_update_interval() {
                    0 => DEFAULT_CHECK_INTERVAL,
                    kept => kept,
                };
                after = after
                    .with_incompat(incompat | INCOMPAT_MMP)
                    .with_mmp_block(cluster.block)
                    .with_mmp_update_interval(interval)
                    .with_free_blocks_count(free.saturating_sub(ratio));
            }
            (Some(false), Some(_)) => {
                after = after
                    .with_incompat(incompat & !INCOMPAT_MMP)
                    .with_mmp_block(BlockNumber(0))
                    .with_mmp_update_interval(0)
                    .with_free_blocks_count(free.saturating_add(ratio));
            }
            _ => {}
        }
        if let Some(interval) = change.interval {
            after = after.with_mmp_update_interval(interval);
        }
        let mmp_block = match turns == Some(true) || change.clear {
            true => Some(mmp_block(&after, turns == Some(true), stamp)?),
            false => None,
        };
        let adjust = if change.interval.is_some() { ADJUST } else { &[] };
        let clear = if change.clear { CLEAR } else { &[] };
        let mut stages = match turns {
            Some(true) => ENABLE.to_vec(),
            Some(false) => DISABLE.to_vec(),
            None => [adjust, clear].concat(),
        };
        let group = survey
            .cluster
            .as_ref()
            .map(|cluster| group_after(cluster, turns == Some(true), before));
        let (geometry, before) = (survey.geometry.clone(), before.clone());
        let mut plan = Plan { stages: Vec::new(), geometry, before, after, group, mmp_block };
        stages.retain(|stage| *stage != Stage::Look || plan.is_guarded());
        plan.stages = stages;
        Ok(plan)
    }

    /// Whether MMP is on before the change, so that the MMP block tells who has the device.
    pub fn is_guarded(&self) -> bool {
        self.before.features().mmp()
    }

    /// The superblock as it will be.
    pub fn after(&self) -> &Superblock {
        &self.after
    }

    /// The steps in order. Made as they are asked for: where every group has backups, a plan that
    /// held them all would be large.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.stages.iter().flat_map(|stage| self.stage(*stage))
    }

    fn stage(&self, stage: Stage) -> Box<dyn Iterator<Item = Step> + '_> {
        let unchecked = |s: &Superblock| s.clone().with_state(s.state() & !STATE_VALID);
        let one = match stage {
            Stage::Look => Some(Step::Look),
            Stage::Flush => Some(Step::Flush),
            Stage::Backups => return Box::new(self.backups()),
            Stage::Uncheck => Some(superblock_write(
                &unchecked(&self.before),
                "mark it unchecked, so that e2fsck looks if this is not finished",
            )),
            Stage::Flip => Some(superblock_write(
                &unchecked(&self.after),
                "turn MMP off, and mark it unchecked, so that e2fsck looks if this is not finished",
            )),
            Stage::Finish => Some(superblock_write(&self.after, self.finish_text())),
            Stage::Bitmap => self.group.as_ref().and_then(|group| {
                let what = What::Bitmap(group.group);
                self.write(what, group.bitmap_block, &group.bitmap, group.why.clone().into())
            }),
            Stage::Descriptor => self.group.as_ref().and_then(|group| {
                let what = What::Descriptor(group.group);
                let offset = self.geometry.descriptor(group.group)?;
                Some(self.write_at(what, offset, group.descriptor.as_bytes(), "count that"))
            }),
            Stage::MmpBlock => self.mmp_block.as_ref().and_then(|(block, bytes)| {
                self.write(What::MmpBlock, *block, bytes, "write it as clean".into())
            }),
        };
        Box::new(one.into_iter())
    }

    fn finish_text(&self) -> &'static str {
        match (self.before.features().mmp(), self.after.features().mmp()) {
            (false, true) => "turn MMP on, and take the mark away",
            (true, false) => "take the mark away",
            _ => "set the MMP update interval",
        }
    }

    fn write(
        &self,
        what: What,
        block: BlockNumber,
        bytes: &[u8],
        why: Cow<'static, str>,
    ) -> Option<Step> {
        let offset = block.offset(self.geometry.block_size())?;
        Some(Step::Write(Write { what, block, offset, bytes: bytes.to_vec(), why }))
    }

    fn write_at(&self, what: What, offset: ByteOffset, bytes: &[u8], why: &'static str) -> Step {
        let block = BlockNumber(offset.0 / u64::from(self.geometry.block_size()));
        Step::Write(Write { what, block, offset, bytes: bytes.to_vec(), why: why.into() })
    }

    /// Every backup superblock, and every backup of the descriptor that changes. A backup does not
    /// vouch for the file system: it has neither VALID_FS nor needs_recovery.
    fn backups(&self) -> impl Iterator<Item = Step> {
        let state = self.after.state() & !STATE_VALID;
        let incompat = self.after.features().incompat & !INCOMPAT_RECOVER;
        let copy = self.after.clone().with_state(state).with_incompat(incompat);
        let superblocks = self.geometry.backup_superblocks().filter_map(move |(at, block)| {
            let number = u16::try_from(at.0).unwrap_or(u16::MAX);
            let bytes = copy.clone().with_block_group(number).sealed();
            self.write(What::BackupSuperblock(at), block, &bytes, "say the same".into())
        });
        let descriptors = self.group.iter().flat_map(|group| {
            self.geometry.backup_descriptors(group.group).map(|(at, offset)| {
                let what = What::BackupDescriptor { of: group.group, at };
                self.write_at(what, offset, group.descriptor.as_bytes(), "say the same")
            })
        });
        superblocks.chain(descriptors)
    }
}

fn superblock_write(superblock: &Superblock, why: &'static str) -> Step {
    let block = SUPERBLOCK_OFFSET.0 / u64::from(superblock.block_size());
    Step::Write(Write {
        what: What::Superblock,
        block: BlockNumber(block),
        offset: SUPERBLOCK_OFFSET,
        bytes: superblock.sealed().to_vec(),
        why: why.into(),
    })
}

/// The MMP block's number and content: clean, and as e2fsprogs initialises it. A new one is
/// written as a whole file system block, so that nothing is left in it of what was there before.
fn mmp_block(
    after: &Superblock,
    new: bool,
    stamp: &Stamp,
) -> Result<(BlockNumber, Vec<u8>), SuperblockError> {
    let area = after.mmp()?;
    let mut raw = [0; MMP_SIZE];
    raw[..4].copy_from_slice(&MMP_MAGIC.to_le_bytes());
    let block = MmpBlock::from_bytes(raw)
        .with_sequence(Sequence::Clean)
        .with_time(stamp.time)
        .with_names(&stamp.names)
        .with_check_interval(area.update_interval.max(DEFAULT_CHECK_INTERVAL));
    let mut bytes = block.sealed(area.checksum).to_vec();
    if new {
        bytes.resize(after.block_size() as usize, 0);
    }
    Ok((area.block, bytes))
}

fn group_after(cluster: &Cluster, allocate: bool, superblock: &Superblock) -> GroupAfter {
    let checksum = superblock.group_checksum();
    let bitmap = cluster.bitmap.clone().with(cluster.bit, allocate);
    let mut descriptor =
        cluster.descriptor.clone().with_free_clusters(bitmap.free()).with_block_init();
    if let Some(sum) = bitmap.checksum(&checksum) {
        descriptor = descriptor.with_bitmap_checksum(sum);
    }
    let verb = if allocate { "in use" } else { "free" };
    GroupAfter {
        group: cluster.group,
        descriptor: descriptor.sealed(cluster.group, &checksum),
        bitmap_block: cluster.descriptor.block_bitmap(),
        bitmap: bitmap.as_bytes().to_vec(),
        why: format!("mark block {} as {verb}", cluster.block),
    }
}
