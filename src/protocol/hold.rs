//! Hold: stay the holder, and know at once when one no longer is.
//!
//! A tick reads the block, compares it with what we last wrote, and writes the next sequence. The
//! lease runs from the moment *before* the last successful write was handed to the device, for the
//! shortest time any contender waits. While it runs, foreign content is somebody's late write: we
//! write ours again, and its writer sees that. Once it has run out, somebody else may hold the
//! device: we never write again.

use std::time::Duration;

use super::claim::Claimed;
use super::look::{ReadError, ReadResult, Retries};
use super::timing::{
    DEFAULT_CHECK_INTERVAL, MAX_CHECK_INTERVAL, effective_interval, guard_interval, lease_interval,
};
use super::{Action, Event, Instant, IoFault, Machine, Now, Phase, Write};
use crate::layout::{Invalid, MmpBlock, Sequence};

/// What holding needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldRequest {
    /// The superblock's update interval, seconds.
    pub update_interval: u16,
    /// How often to rewrite the block.
    pub interval: Duration,
}

impl HoldRequest {
    /// The check interval to publish while writes take no longer than `slowest`: twice the time
    /// between two of them, in whole seconds, 5 to 300.
    pub fn check_interval(&self, slowest: Duration) -> u16 {
        let twice = self.interval.max(slowest).saturating_mul(2);
        let seconds = twice.as_millis().div_ceil(1000);
        let seconds = u16::try_from(seconds).unwrap_or(MAX_CHECK_INTERVAL);
        seconds.clamp(DEFAULT_CHECK_INTERVAL, MAX_CHECK_INTERVAL)
    }
}

/// How a holder lost its device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// No write succeeded in time.
    Expired {
        /// When the last successful write was handed to the device.
        last_write: Instant,
        /// When the lease ran out.
        lease: Instant,
        /// What stands in the block now, where that is not ours.
        found: Option<MmpBlock>,
        /// The last thing that went wrong, where the device said so.
        fault: Option<ReadError>,
    },
    /// Somebody else goes on writing although we defend.
    SecondWriter {
        /// What stands in the block now.
        found: MmpBlock,
    },
    /// What stands there is no MMP block any more: the file system was made anew, or the block
    /// given to a file. Every writer of MMP writes the magic, so it is nobody's late claim.
    Gone {
        /// What is wrong with it.
        why: Invalid,
    },
}

/// How holding ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HoldOutcome {
    /// Told to stop, and left in order: the block is clean.
    Released,
    /// Told to stop, but somebody else's content stood in the block: it was left alone.
    NotOurs {
        /// What stands in the block.
        found: MmpBlock,
    },
    /// Told to stop, but the device failed: the block is not clean.
    NotReleased(ReadError),
    /// No longer the holder.
    Lost(Loss),
}

/// Something a holder saw and dealt with, for the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// Foreign content while our lease runs: overwritten.
    Defended {
        /// What stood in the block.
        found: Box<MmpBlock>,
    },
    /// A read failed; tried again at the next tick.
    ReadFailed(ReadError),
    /// A write failed; tried again at the next tick.
    WriteFailed(IoFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Waiting,
    Comparing,
    Writing { release: bool },
}

/// Holds a claimed device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    request: HoldRequest,
    state: State,
    stopping: bool,
    retries: Retries,
    /// The last content known to have been written.
    ours: MmpBlock,
    /// Content that may have been written: its write failed, or is under way.
    attempted: Option<MmpBlock>,
    last_write: Instant,
    lease: Instant,
    next_tick: Instant,
    slowest: Duration,
    foreign: Option<(Box<MmpBlock>, Instant)>,
    /// The check interval that the lease counts by, although more is published, and until when.
    known: Option<(u16, Instant)>,
    fault: Option<ReadError>,
    notice: Option<Notice>,
}

type HoldAction = Action<Write, HoldOutcome>;

impl Hold {
    /// Takes over what a claim won. The first tick is due at once.
    pub fn new(claimed: Claimed, request: HoldRequest) -> Self {
        let mut hold = Hold {
            request,
            state: State::Waiting,
            stopping: false,
            retries: Retries::default(),
            ours: claimed.block,
            attempted: None,
            last_write: claimed.verified,
            lease: claimed.verified,
            next_tick: claimed.verified,
            slowest: Duration::ZERO,
            foreign: None,
            known: None,
            fault: None,
            notice: None,
        };
        hold.lease = claimed.verified + lease_interval(hold.interval(&hold.ours));
        hold
    }

    /// When the lease runs out if no further write succeeds.
    pub fn lease(&self) -> Instant {
        self.lease
    }

    /// What was seen and dealt with since this was last asked.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// Whether a block has the content we last wrote, or may have written.
    pub fn is_ours(&self, block: &MmpBlock) -> bool {
        *block == self.ours || self.attempted.as_ref() == Some(block)
    }

    fn interval(&self, block: &MmpBlock) -> u16 {
        effective_interval(self.request.update_interval, block.check_interval())
    }

    /// Replaces what we know to have written. Whoever looked before a longer interval was published
    /// may claim after that, and watches for the shorter one; how much later is what is assumed of
    /// every write: within the guard interval.
    fn publish(&mut self, block: MmpBlock, now: Instant) {
        let before = self.interval(&self.ours);
        if before < self.interval(&block) {
            let known = self.known.filter(|(_, until)| now < *until);
            let least = known.map_or(before, |(least, _)| least.min(before));
            let latest = guard_interval(effective_interval(self.request.update_interval, 0));
            self.known = Some((least, now + latest));
        }
        self.ours = block;
    }

    /// How long a write holds that was handed to the device at `submitted`.
    fn lease_interval(&self, submitted: Instant) -> Duration {
        let published = self.interval(&self.ours);
        let known = self.known.filter(|(_, until)| submitted < *until);
        lease_interval(known.map_or(published, |(least, _)| least.min(published)))
    }

    fn expired(&self, found: Option<MmpBlock>) -> HoldAction {
        let (last_write, lease, fault) = (self.last_write, self.lease, self.fault.clone());
        Action::Done(HoldOutcome::Lost(Loss::Expired { last_write, lease, found, fault }))
    }

    fn read(&mut self) -> HoldAction {
        self.state = State::Comparing;
        Action::Read
    }

    /// Waits for the next tick, or for the end of the lease if that comes first.
    fn wait(&mut self, now: Instant) -> HoldAction {
        self.state = State::Waiting;
        if self.next_tick <= now {
            let interval = self.request.interval.max(Duration::from_millis(1));
            let missed = now.since(self.next_tick).as_nanos() / interval.as_nanos();
            let ticks = u32::try_from(missed + 1).unwrap_or(u32::MAX);
            self.next_tick = self.next_tick + interval.saturating_mul(ticks);
        }
        Action::Wait(self.next_tick.min(self.lease))
    }

    fn compare(&mut self, result: ReadResult, now: Now) -> HoldAction {
        let expired = now.instant >= self.lease;
        let found = match self.retries.settle(result) {
            Ok(block) => block,
            Err(None) => {
                self.state = State::Waiting;
                return Action::Wait(now.instant + Retries::PAUSE);
            }
            Err(Some(ReadError::Invalid { why: why @ Invalid::Magic { .. }, .. }))
                if !expired && !self.stopping =>
            {
                return Action::Done(HoldOutcome::Lost(Loss::Gone { why }));
            }
            Err(Some(ReadError::Invalid { block, .. })) => *block,
            Err(Some(error)) => {
                self.fault = Some(error.clone());
                return match (expired, self.stopping) {
                    (true, _) => self.expired(None),
                    (false, true) => Action::Done(HoldOutcome::NotReleased(error)),
                    (false, false) => {
                        self.notice = Some(Notice::ReadFailed(error));
                        self.wait(now.instant)
                    }
                };
            }
        };
        let ours = self.is_ours(&found);
        match (expired, ours, self.stopping) {
            (true, true, _) => self.expired(None),
            (true, false, _) => self.expired(Some(found)),
            (false, true, true) => self.release(now),
            (false, false, true) => Action::Done(HoldOutcome::NotOurs { found }),
            (false, true, false) => self.tick(now),
            (false, false, false) => self.defend(found, now),
        }
    }

    /// Writes the next sequence, or again what a failed write may or may not have left.
    fn tick(&mut self, now: Now) -> HoldAction {
        let block = match self.attempted.take() {
            Some(block) => block,
            None => (self.ours.clone())
                .with_sequence(self.ours.sequence().next())
                .with_time(now.wall)
                .with_check_interval(self.request.check_interval(self.slowest)),
        };
        // A write that fails may land all the same, and a contender then reckons with the shorter
        // interval it publishes.
        self.lease = self.lease.min(now.instant + lease_interval(self.interval(&block)));
        self.attempted = Some(block.clone());
        self.state = State::Writing { release: false };
        Action::Write(Write { block, flush: false })
    }

    fn defend(&mut self, found: MmpBlock, now: Now) -> HoldAction {
        // Clean is the mark of one who leaves, or of a block cleared by force: nobody advances from
        // it or to it.
        if found.sequence() != Sequence::Clean {
            let remembered = self.foreign.take().filter(|(_, until)| now.instant < *until);
            if remembered.is_some_and(|(before, _)| *before != found) {
                return Action::Done(HoldOutcome::Lost(Loss::SecondWriter { found }));
            }
            let c = self.interval(&found).max(self.interval(&self.ours));
            self.foreign = Some((Box::new(found.clone()), now.instant + guard_interval(c)));
        }
        self.notice = Some(Notice::Defended { found: Box::new(found) });
        self.tick(now)
    }

    fn release(&mut self, now: Now) -> HoldAction {
        let block = self.ours.clone().with_sequence(Sequence::Clean).with_time(now.wall);
        self.state = State::Writing { release: true };
        Action::Write(Write { block, flush: true })
    }

    fn wrote(
        &mut self,
        submitted: Instant,
        result: Result<(), IoFault>,
        release: bool,
        now: Now,
    ) -> HoldAction {
        match result {
            Ok(()) if release => return Action::Done(HoldOutcome::Released),
            Err(fault) if release => {
                return Action::Done(HoldOutcome::NotReleased(ReadError::Io(fault)));
            }
            Err(fault) => {
                self.fault = Some(ReadError::Io(fault));
                self.notice = Some(Notice::WriteFailed(fault));
            }
            Ok(()) if now.instant >= self.lease => return self.read(),
            Ok(()) => {
                if let Some(block) = self.attempted.take() {
                    self.publish(block, now.instant);
                }
                self.fault = None;
                self.last_write = submitted;
                self.lease = submitted + self.lease_interval(submitted);
                let took = now.instant.since(submitted);
                self.slowest = took.max(self.slowest - self.slowest / 64);
            }
        }
        self.wait(now.instant)
    }
}

impl Machine for Hold {
    type Write = Write;
    type Outcome = HoldOutcome;

    fn on(&mut self, event: Event, now: Now) -> HoldAction {
        match (self.state, event) {
            (_, Event::Stop) => {
                self.stopping = true;
                self.read()
            }
            (State::Comparing, Event::Read { result, .. }) => self.compare(result, now),
            (State::Writing { release }, Event::Wrote { submitted, result }) => {
                self.wrote(submitted, result, release, now)
            }
            _ => self.read(),
        }
    }

    fn phase(&self) -> Phase<'_> {
        match self.stopping {
            true => Phase::Leaving,
            false => Phase::Holding { block: &self.ours, lease: self.lease },
        }
    }
}
