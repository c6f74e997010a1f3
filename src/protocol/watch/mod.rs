//! Watch: what goes wrong on a device that somebody else holds. Reads only.
//!
//! A [`Sentinel`] is told every look at the block and what is known of the device on this machine,
//! and answers with the alarms that begin or end and with when to look again. It never settles
//! anything, and has no way to write.
//!
//! Silence is measured only between looks that succeeded, and starts afresh when the looks were too
//! far apart: a watcher that was itself stopped or suspended blames nobody.

mod alarm;
mod lines;

use std::collections::VecDeque;
use std::time::Duration;

pub use alarm::{Alarm, Cause, Change, Cleaned};
use lines::{Lines, Step};

use super::look::{ReadError, ReadResult, Retries};
use super::still::FSCK_LIFE_SIGN;
use super::timing::{
    DEFAULT_CHECK_INTERVAL, POLL, READ_RETRIES, SETTLE, effective_interval, guard_interval,
};
use super::{Instant, Now};
use crate::layout::{Invalid, MmpBlock, Sequence};

/// A device that has not answered for so long hangs.
const HUNG: Duration = Duration::from_secs(10);
/// A block that is clean so long is not clean because a mount or an unmount is under way.
const CLEAN_STANDS: Duration = Duration::from_secs(3);
/// Seconds by which two clocks may differ.
const SKEW: u64 = 30;
/// How long after its last write a frozen file system has missed one.
const MISSED: Duration = Duration::from_secs(2);
/// Around the time at which a kernel writes next, looks are so far apart: of two kernels that write
/// one right after the other, only the second would be seen otherwise.
const CLOSE: Duration = Duration::from_millis(25);
/// How often to look at a device that cannot be read.
const FAILING: Duration = Duration::from_secs(1);
/// So many intervals between updates are remembered.
const HISTORY: usize = 64;

/// How the file system on a device is mounted on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounted {
    /// Not, as far as is known.
    #[default]
    No,
    /// Read-only: nobody here writes the block.
    ReadOnly,
    /// Read-write.
    ReadWrite,
    /// Was mounted read-write, and made read-only by the kernel after an error or in an emergency.
    Emergency,
}

/// What the kernel thread does that writes the block while a file system is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kmmpd {
    /// It cannot be seen.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It sleeps until its next write, or writes.
    Running,
    /// It waits for the file system to be thawed.
    Frozen,
}

/// What is known of a device on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// How it is mounted.
    pub mounted: Mounted,
    /// Its writer.
    pub kmmpd: Kmmpd,
}

/// Something a sentinel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A look at the block ended.
    Read {
        /// When it was handed to the device: what it returned may be as old as this.
        submitted: Instant,
        /// What it returned.
        result: ReadResult,
    },
    /// A look that was handed to the device at this time has not ended yet.
    Waiting(Instant),
    /// The superblock's update interval, seconds, told again whenever it was read.
    UpdateInterval(u16),
    /// What is known on this machine, told again whenever it was looked at.
    Local(Local),
}

/// What a sentinel answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Alarms that begin or end.
    pub changes: Vec<Change>,
    /// When to look next, unless a look is under way.
    pub look: Instant,
}

/// What a device is seen to be in, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not read yet.
    Unread,
    /// Left in order.
    Clean,
    /// Somebody's sequence, not yet watched for long enough to say more.
    Active,
    /// Somebody rewrites it.
    InUse,
    /// Somebody's sequence, and nobody rewrites it.
    Stale,
    /// e2fsck has it, or had it when it was killed.
    Fsck,
    /// A sequence no known program writes.
    Unknown,
    /// No valid block.
    Invalid(Invalid),
    /// The device fails or does not answer.
    Unreadable,
}

/// The content that stands in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    block: MmpBlock,
    /// When it was first seen.
    since: Instant,
    /// Whether its writer was seen to go on: with a heartbeat, or e2fsck with its time.
    alive: bool,
}

/// An alarm over something that happened, and does not last by itself.
type Happened = Option<(Cause, Instant)>;

/// Watches one device.
#[derive(Clone, Debug)]
pub struct Sentinel {
    update_interval: u16,
    node: Vec<u8>,
    local: Local,
    /// Since when it is mounted as it is.
    mounted_since: Instant,
    standing: Option<Standing>,
    /// When the last look that succeeded was handed to the device, and when it ended.
    looked: Instant,
    ended: Instant,
    lines: Lines,
    /// Since when the block names another node.
    foreign_since: Option<Instant>,
    failed: u8,
    failure: Option<ReadError>,
    waiting: Duration,
    turns: Happened,
    back: Happened,
    cleaned: Happened,
    skew: Option<(i64, bool)>,
    raised: Vec<Cause>,
    intervals: VecDeque<Duration>,
    next: Instant,
}

impl Sentinel {
    /// `update_interval` is the superblock's, in seconds; `node` this machine's name.
    pub fn new(update_interval: u16, node: &[u8]) -> Self {
        let start = Instant(0);
        Sentinel {
            update_interval,
            node: node.to_owned(),
            local: Local::default(),
            mounted_since: start,
            standing: None,
            looked: start,
            ended: start,
            lines: Lines::default(),
            foreign_since: None,
            failed: 0,
            failure: None,
            waiting: Duration::ZERO,
            turns: None,
            back: None,
            cleaned: None,
            skew: None,
            raised: Vec::new(),
            intervals: VecDeque::new(),
            next: start,
        }
    }

    /// Takes what was seen; tells which alarms begin or end.
    pub fn on(&mut self, sight: Sight, now: Now) -> Reaction {
        match sight {
            Sight::Read { submitted, result } => self.read(submitted, result, now),
            Sight::UpdateInterval(seconds) => self.update_interval = seconds,
            Sight::Waiting(since) => self.waiting = now.instant.since(since),
            Sight::Local(local) => {
                if local.mounted != self.local.mounted {
                    self.mounted_since = now.instant;
                }
                self.local = local;
            }
        }
        Reaction { changes: self.compare(now.instant), look: self.next }
    }

    fn read(&mut self, submitted: Instant, result: ReadResult, now: Now) {
        self.waiting = Duration::ZERO;
        match result {
            Ok(block) => {
                (self.failed, self.failure) = (0, None);
                self.look(block, submitted, now);
                self.next = self.next_look(now.instant);
            }
            // A read can meet a write half way, and one error is no verdict.
            Err(_) if self.failed < READ_RETRIES => {
                self.failed += 1;
                self.next = now.instant + Retries::PAUSE;
            }
            Err(error) => {
                self.failure = Some(error);
                self.next = now.instant + FAILING;
            }
        }
    }

    fn look(&mut self, block: MmpBlock, submitted: Instant, now: Now) {
        let gap = now.instant.since(self.ended);
        let unbroken = gap <= self.period();
        (self.looked, self.ended) = (submitted, now.instant);
        if !unbroken {
            self.lines.forget();
        }
        match &mut self.standing {
            Some(standing) if standing.block == block => {
                if !unbroken {
                    standing.since = now.instant;
                }
            }
            _ => self.changed(block, unbroken, now),
        }
        for happened in [&mut self.turns, &mut self.back, &mut self.cleaned] {
            if happened.as_ref().is_some_and(|(_, until)| submitted >= *until) {
                *happened = None;
            }
        }
    }

    /// A new content stands there.
    fn changed(&mut self, block: MmpBlock, unbroken: bool, now: Now) {
        let guard = self.guard(&block);
        let step = self.lines.see(&block, guard, now.instant);
        let before = self.standing.take();
        let active = matches!(block.sequence(), Sequence::Active(_));
        let alive = match (step, &before) {
            (Step::GoesOn, _) => true,
            (Step::TakesTurns, Some(before)) => {
                self.takes_turns(before.block.clone(), block.clone(), now.instant + guard);
                true
            }
            (Step::WentBack, Some(before)) => {
                let cause = Cause::SequenceBack { from: before.block.clone(), to: block.clone() };
                self.back = Some((cause, now.instant + guard));
                false
            }
            // Another time in the same FSCK, by the same names.
            (Step::NoSequence, Some(before)) => {
                block.sequence() == Sequence::Fsck
                    && before.block.sequence() == Sequence::Fsck
                    && before.block.names() == block.names()
            }
            _ => false,
        };
        if active && alive {
            let ahead = i64::try_from(i128::from(block.time()) - i128::from(now.wall));
            self.clock(ahead.unwrap_or(i64::MAX));
        } else if !active {
            self.skew = None;
        }
        if let Some(before) = &before
            && unbroken
        {
            self.intervals.truncate(HISTORY - 1);
            self.intervals.push_front(now.instant.since(before.since));
        }
        let foreign = active && !self.is_ours(&block);
        self.foreign_since = foreign.then(|| self.foreign_since.unwrap_or(now.instant));
        self.standing = Some(Standing { block, since: now.instant, alive });
    }

    fn takes_turns(&mut self, one: MmpBlock, other: MmpBlock, until: Instant) {
        if one.sequence() == Sequence::Clean && self.writes_here() {
            let cause = Cause::CleanWhileMounted { block: one, how: Cleaned::WrittenOver };
            self.cleaned = Some((cause, until));
        } else {
            // The first pair is kept: it is what was reported.
            let cause = self.turns.take().map_or(Cause::SecondWriter { one, other }, |(c, _)| c);
            self.turns = Some((cause, until));
        }
    }

    /// Two heartbeats in a row with the wrong time are needed.
    fn clock(&mut self, ahead: i64) {
        let wrong = ahead.unsigned_abs() > SKEW;
        self.skew = wrong.then(|| (ahead, self.skew.is_some()));
    }

    fn is_ours(&self, block: &MmpBlock) -> bool {
        let name = block.nodename().0;
        // The field holds 64 bytes, the last of them a NUL where the writer cared.
        name == &self.node[..self.node.len().min(name.len().max(63))]
    }

    fn writes_here(&self) -> bool {
        self.local.mounted == Mounted::ReadWrite
    }

    /// How often a kernel that has it mounted writes.
    fn period(&self) -> Duration {
        let seconds = match self.update_interval {
            0 => DEFAULT_CHECK_INTERVAL,
            seconds => seconds,
        };
        Duration::from_secs(seconds.into())
    }

    fn interval(&self, block: &MmpBlock) -> u16 {
        effective_interval(self.update_interval, block.check_interval())
    }

    fn guard(&self, block: &MmpBlock) -> Duration {
        guard_interval(self.interval(block))
    }

    fn next_look(&self, now: Instant) -> Instant {
        let usual = now + POLL;
        let Some(standing) = &self.standing else { return usual };
        let due = standing.since + self.period();
        let near = Instant(due.0.saturating_sub(nanos(POLL)));
        match standing.alive && usual > near && now < due + POLL {
            true => (now + CLOSE).max(near).min(usual),
            false => usual,
        }
    }

    /// For how long the standing content has been seen not to change.
    fn silence(&self) -> Duration {
        self.standing.as_ref().map_or(Duration::ZERO, |standing| self.looked.since(standing.since))
    }

    fn compare(&mut self, now: Instant) -> Vec<Change> {
        let causes = self.causes(now);
        let mut changes = Vec::new();
        self.raised.retain(|cause| {
            let alarm = cause.alarm();
            let lasts = causes.iter().any(|cause| cause.alarm() == alarm);
            if !lasts {
                changes.push(Change::Cleared(alarm));
            }
            lasts
        });
        for cause in causes {
            match self.raised.iter_mut().find(|raised| raised.alarm() == cause.alarm()) {
                Some(raised) if cause.worsens(raised) => {
                    *raised = cause.clone();
                    changes.push(Change::Raised(cause));
                }
                Some(_) => {}
                None => {
                    self.raised.push(cause.clone());
                    changes.push(Change::Raised(cause));
                }
            }
        }
        changes
    }

    /// Everything that is wrong at present.
    fn causes(&self, now: Instant) -> Vec<Cause> {
        let happened = [&self.turns, &self.back];
        let mut causes: Vec<Cause> =
            happened.into_iter().flatten().map(|(cause, _)| cause.clone()).collect();
        causes.extend(self.failing());
        if let Some(standing) = &self.standing {
            let frozen = self.frozen(standing);
            let silent = if frozen.is_some() { None } else { self.stalled(standing) };
            causes.extend(frozen.or(silent));
            causes.extend(self.clean_while_mounted(standing, now));
            causes.extend(self.foreign_holder(standing));
            causes.extend(self.fsck(standing));
            if let Some((ahead, true)) = self.skew {
                causes.push(Cause::ClockSkew { block: standing.block.clone(), ahead });
            }
        }
        causes
    }

    fn failing(&self) -> Option<Cause> {
        if self.waiting > HUNG {
            return Some(Cause::Hung { since: self.waiting });
        }
        self.failure.clone().map(|error| match error {
            ReadError::Io(fault) => Cause::Unreadable(fault),
            ReadError::Invalid { block, why } => Cause::Invalid { block: *block, why },
        })
    }

    fn frozen(&self, standing: &Standing) -> Option<Cause> {
        let active = matches!(standing.block.sequence(), Sequence::Active(_));
        if !active || !self.writes_here() {
            return None;
        }
        // A claimant changes the block; the file system is as frozen as before.
        let raised = self.raised.iter().find(|cause| cause.alarm() == Alarm::Frozen);
        if let (Some(cause), Kmmpd::Frozen) = (raised, self.local.kmmpd)
            && !standing.alive
        {
            return Some(cause.clone());
        }
        let (seen, patience) = match self.local.kmmpd {
            Kmmpd::Frozen => (true, self.period() + MISSED),
            Kmmpd::Unknown => (false, self.period() + 2 * MISSED),
            Kmmpd::Running | Kmmpd::Absent => return None,
        };
        let silent = self.silence();
        (silent > patience).then(|| Cause::Frozen { block: standing.block.clone(), silent, seen })
    }

    fn stalled(&self, standing: &Standing) -> Option<Cause> {
        let Sequence::Active(_) = standing.block.sequence() else { return None };
        let (silent, alive) = (self.silence(), standing.alive);
        let own = Duration::from_secs(self.interval(&standing.block).into());
        let guard = self.guard(&standing.block);
        // Who claims is silent for a guard interval before the first heartbeat; a heartbeat may be
        // held up by the storage, and will say so in the next check interval.
        let beyond_guard = silent > if alive { guard + SETTLE } else { guard + own };
        let late = alive && silent > (own + own / 2).min(guard);
        (beyond_guard || late).then(|| Cause::Stalled {
            block: standing.block.clone(),
            silent,
            beyond_guard,
            was_alive: alive,
        })
    }

    fn clean_while_mounted(&self, standing: &Standing, now: Instant) -> Option<Cause> {
        let how = match self.local.mounted {
            Mounted::Emergency => Cleaned::Emergency,
            Mounted::ReadWrite => Cleaned::Stands,
            Mounted::No | Mounted::ReadOnly => return None,
        };
        let since = standing.since.max(self.mounted_since);
        let stands = self.looked.min(now).since(since) > CLEAN_STANDS;
        match standing.block.sequence() {
            Sequence::Clean if stands => {
                Some(Cause::CleanWhileMounted { block: standing.block.clone(), how })
            }
            _ => self.cleaned.as_ref().map(|(cause, _)| cause.clone()),
        }
    }

    fn foreign_holder(&self, standing: &Standing) -> Option<Cause> {
        // A writer that is seen to run here is this one under another name: the host was renamed.
        if !self.writes_here() || self.local.kmmpd == Kmmpd::Running {
            return None;
        }
        let since = self.foreign_since?;
        // Our own kernel would have written since, were it the holder.
        let lasts = self.looked.since(since) > self.period() + MISSED;
        (lasts && standing.alive).then(|| Cause::ForeignHolder { block: standing.block.clone() })
    }

    fn fsck(&self, standing: &Standing) -> Option<Cause> {
        if standing.block.sequence() != Sequence::Fsck {
            return None;
        }
        let (block, silent) = (standing.block.clone(), self.silence());
        if silent > 2 * FSCK_LIFE_SIGN {
            Some(Cause::FsckDead { block, silent })
        } else {
            standing.alive.then_some(Cause::FsckAlive { block })
        }
    }

    /// The alarms that are raised, with what raised them.
    pub fn alarms(&self) -> &[Cause] {
        &self.raised
    }

    /// The block as last seen, and for how long it has been seen not to change.
    pub fn block(&self) -> Option<(&MmpBlock, Duration)> {
        self.standing.as_ref().map(|standing| (&standing.block, self.silence()))
    }

    /// What the device is in.
    pub fn condition(&self) -> Condition {
        match self.failing() {
            Some(Cause::Invalid { why, .. }) => return Condition::Invalid(why),
            Some(_) => return Condition::Unreadable,
            None => {}
        }
        let Some(standing) = &self.standing else { return Condition::Unread };
        match (standing.block.sequence(), self.stalled(standing)) {
            (Sequence::Clean, _) => Condition::Clean,
            (Sequence::Fsck, _) => Condition::Fsck,
            (Sequence::Unknown(_), _) => Condition::Unknown,
            (Sequence::Active(_), Some(Cause::Stalled { beyond_guard: true, .. })) => {
                Condition::Stale
            }
            (Sequence::Active(_), _) if standing.alive => Condition::InUse,
            (Sequence::Active(_), _) => Condition::Active,
        }
    }

    /// How long a contender would watch the block as it stands.
    pub fn guard_interval(&self) -> Option<Duration> {
        self.standing.as_ref().map(|standing| self.guard(&standing.block))
    }

    /// The times between the last updates, latest first.
    pub fn intervals(&self) -> impl Iterator<Item = Duration> + '_ {
        self.intervals.iter().copied()
    }

    /// What was last told of this machine.
    pub fn local(&self) -> Local {
        self.local
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
