//! What a sentinel remembers of a device, and when it wants to look again.

use std::collections::VecDeque;
use std::time::Duration;

use super::alarm::{Cause, Cleaned};
use super::lines::{Lines, Step};
use super::sight::{Kmmpd, Local, Mounted, Sight};
use crate::layout::{MmpBlock, Sequence};
use crate::protocol::look::{ReadError, ReadResult, Retries};
use crate::protocol::timing::{
    DEFAULT_CHECK_INTERVAL, POLL, READ_RETRIES, effective_interval, guard_interval,
};
use crate::protocol::{Instant, Now};

/// Seconds by which two clocks may differ.
const SKEW: u64 = 30;
/// Around the time at which a kernel writes next, looks are so far apart: of two kernels that write
/// one right after the other, only the second would be seen otherwise.
const CLOSE: Duration = Duration::from_millis(25);
/// How often to look at a device that cannot be read.
const FAILING: Duration = Duration::from_secs(1);
/// So many intervals between updates are remembered.
const HISTORY: usize = 64;

/// The content that stands in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) block: MmpBlock,
    /// When it was first seen.
    pub(super) since: Instant,
    /// Whether its writer was seen to go on: with a heartbeat, or e2fsck with its time.
    pub(super) alive: bool,
}

/// An alarm over something that happened, and does not last by itself.
type Happened = Option<(Cause, Instant)>;

/// What was seen of one device.
#[derive(Clone, Debug)]
pub(super) struct Record {
    update_interval: u16,
    node: Vec<u8>,
    pub(super) local: Local,
    /// Since when it is mounted as it is.
    pub(super) mounted_since: Instant,
    pub(super) standing: Option<Standing>,
    /// When the last look that succeeded was handed to the device, and when it ended.
    pub(super) looked: Instant,
    ended: Instant,
    lines: Lines,
    /// Since when the block names another node.
    pub(super) foreign_since: Option<Instant>,
    failed: u8,
    pub(super) failure: Option<ReadError>,
    pub(super) waiting: Duration,
    pub(super) turns: Happened,
    pub(super) back: Happened,
    pub(super) cleaned: Happened,
    pub(super) skew: Option<(i64, bool)>,
    pub(super) intervals: VecDeque<Duration>,
    pub(super) next: Instant,
}

impl Record {
    /// `update_interval` is the superblock's, in seconds; `node` this machine's name.
    pub(super) fn new(update_interval: u16, node: &[u8]) -> Self {
        let start = Instant(0);
        Record {
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
            intervals: VecDeque::new(),
            next: start,
        }
    }

    /// Takes what was seen.
    pub(super) fn take(&mut self, sight: Sight, now: Now) {
        match sight {
            Sight::Read { submitted, result } => self.read(submitted, result, now),
            Sight::UpdateInterval(seconds) => self.update_interval = seconds,
            Sight::Waiting(since) => self.waiting = now.instant.since(since),
            Sight::Local(local) => {
                if local.mounted != self.local.mounted {
                    self.mounted_since = now.instant;
                }
                let thawed = self.local.kmmpd == Kmmpd::Frozen && local.kmmpd == Kmmpd::Running;
                if let (true, Some(standing)) = (thawed, &mut self.standing) {
                    // It could not write before.
                    standing.since = now.instant;
                }
                self.local = local;
            }
        }
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
        let foreign = active && !block.has_nodename(&self.node);
        self.foreign_since = foreign.then(|| self.foreign_since.unwrap_or(now.instant));
        self.standing = Some(Standing { block, since: now.instant, alive });
    }

    fn takes_turns(&mut self, one: MmpBlock, other: MmpBlock, until: Instant) {
        if one.sequence() == Sequence::Clean && self.writes_here() {
            let cause = Cause::CleanWhileMounted { block: one, how: Cleaned::WrittenOver };
            self.cleaned = Some((cause, until));
        } else {
            self.turns = Some((Cause::SecondWriter { one, other }, until));
        }
    }

    /// Two heartbeats in a row with the wrong time are needed.
    fn clock(&mut self, ahead: i64) {
        let wrong = ahead.unsigned_abs() > SKEW;
        self.skew = wrong.then(|| (ahead, self.skew.is_some()));
    }

    pub(super) fn writes_here(&self) -> bool {
        self.local.mounted == Mounted::ReadWrite
    }

    /// How often a kernel that has it mounted writes.
    pub(super) fn period(&self) -> Duration {
        let seconds = match self.update_interval {
            0 => DEFAULT_CHECK_INTERVAL,
            seconds => seconds,
        };
        Duration::from_secs(seconds.into())
    }

    pub(super) fn interval(&self, block: &MmpBlock) -> u16 {
        effective_interval(self.update_interval, block.check_interval())
    }

    pub(super) fn guard(&self, block: &MmpBlock) -> Duration {
        guard_interval(self.interval(block))
    }

    fn next_look(&self, now: Instant) -> Instant {
        let usual = now + POLL;
        let Some(standing) = &self.standing else { return usual };
        let due = standing.since + self.period();
        let near = due - POLL;
        match standing.alive && usual > near && now < due + POLL {
            true => (now + CLOSE).max(near).min(usual),
            false => usual,
        }
    }

    /// For how long the standing content has been seen not to change.
    pub(super) fn silence(&self) -> Duration {
        self.standing.as_ref().map_or(Duration::ZERO, |standing| self.looked.since(standing.since))
    }
}
