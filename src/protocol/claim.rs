//! Claim: become the holder, or learn who is.
//!
//! As the kernel does for a block that is not clean, and also when it is: check, write a random
//! sequence under our names, and watch for a whole guard interval, from the moment that write was
//! complete, that it stays. Of two that claim at once the later write stands, and the other sees
//! it. A claim that is lost leaves the block alone; one that is given up puts back what was there.

use super::check::{Check, Verdict};
use super::look::{ReadError, ReadResult, Retries, Seen, Watch};
use super::timing::{effective_interval, guard_interval};
use super::{Action, Event, Instant, IoFault, Machine, Now, Phase, Write};
use crate::layout::{MmpBlock, Names, Sequence};

/// What a claim needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimRequest {
    /// The superblock's update interval, seconds.
    pub update_interval: u16,
    /// The check interval to publish, seconds: at least twice the interval at which the block will
    /// be rewritten. The claim itself publishes no less than it found: it watches that long, and
    /// nobody who meets it should watch for less.
    pub check_interval: u16,
    /// Who claims.
    pub names: Names,
    /// A random number, drawn anew for each claim.
    pub draw: u32,
    /// Until when a device in use is waited for; a time that is past means not at all.
    pub patience: Instant,
}

impl ClaimRequest {
    /// What a claim writes over `original`.
    pub(super) fn mark(&self, original: &MmpBlock, now: Now) -> MmpBlock {
        (original.clone())
            .with_sequence(Sequence::active(self.draw))
            .with_time(now.wall)
            .with_names(&self.names)
            .with_check_interval(self.check_interval.max(original.check_interval()))
    }
}

/// A claim that stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claimed {
    /// What was written and is still there.
    pub block: MmpBlock,
    /// What was there before.
    pub original: MmpBlock,
    /// When the read that found our block still there was handed to the device. Whoever claims
    /// after that has a guard interval to wait.
    pub verified: Instant,
}

/// Why a claim failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The block's state forbids it.
    NotSafe(Verdict),
    /// Somebody claimed at the same moment and wrote later.
    LostRace {
        /// What stands there now.
        by: MmpBlock,
    },
    /// The claim could not be written.
    Unwritable(IoFault),
    /// The claim was written but could not be watched.
    Unverified(ReadError),
    /// The claim stood, but so much time passed before it could be used that somebody else may
    /// have claimed since.
    Expired,
    /// Told to stop.
    Stopped,
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimOutcome {
    /// The device is ours.
    Claimed(Claimed),
    /// It is not.
    Refused {
        /// Why.
        why: Refusal,
        /// Whether our own claim may still stand in the block, because it could not be taken back.
        left_behind: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Checking(Check),
    Writing { original: MmpBlock, block: MmpBlock },
    Verifying { original: MmpBlock, watch: Watch },
    Undoing { original: MmpBlock, block: MmpBlock, why: Refusal },
}

/// Claims a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    request: ClaimRequest,
    retries: Retries,
    state: State,
}

type ClaimAction = Action<Write, ClaimOutcome>;

impl Claim {
    /// A claim not yet begun.
    pub fn new(request: ClaimRequest) -> Self {
        let check = Check::new(request.update_interval, false, request.patience).giving_way();
        Claim { request, retries: Retries::default(), state: State::Checking(check) }
    }

    /// A claim not yet begun that does not first watch `block`, if that is what it finds: its writer
    /// is known to be gone. What it watches after its own write is the same as ever.
    #[must_use]
    pub fn after_fencing(self, block: MmpBlock) -> Self {
        let state = match self.state {
            State::Checking(check) => State::Checking(check.orphaned(block)),
            state => state,
        };
        Claim { state, ..self }
    }

    fn refused(why: Refusal) -> ClaimAction {
        Action::Done(ClaimOutcome::Refused { why, left_behind: false })
    }

    fn check(&mut self, event: Event, now: Now) -> ClaimAction {
        let State::Checking(check) = &mut self.state else {
            return Action::Read;
        };
        match check.on(event, now) {
            Action::Read => Action::Read,
            Action::Wait(until) => Action::Wait(until),
            Action::Done(Verdict::Stopped) => Self::refused(Refusal::Stopped),
            Action::Done(Verdict::Clean { block, .. } | Verdict::Stale { block, .. }) => {
                self.write(block, now)
            }
            Action::Done(verdict) => Self::refused(Refusal::NotSafe(verdict)),
        }
    }

    fn write(&mut self, original: MmpBlock, now: Now) -> ClaimAction {
        let block = self.request.mark(&original, now);
        self.state = State::Writing { original, block: block.clone() };
        Action::Write(Write { block, flush: false })
    }

    fn lost_race(&mut self, by: MmpBlock, now: Now) -> ClaimAction {
        if now.instant >= self.request.patience {
            return Self::refused(Refusal::LostRace { by });
        }
        let request = &mut self.request;
        request.draw = request.draw.wrapping_mul(0x9E37_79B1).wrapping_add(1);
        *self = Claim::new(request.clone());
        self.on(Event::Begin, now)
    }

    fn undo(&mut self, original: MmpBlock, block: MmpBlock, why: Refusal) -> ClaimAction {
        self.retries = Retries::default();
        self.state = State::Undoing { original, block, why };
        Action::Read
    }

    fn verify(&mut self, submitted: Instant, result: ReadResult, now: Now) -> ClaimAction {
        let State::Verifying { original, watch } = &self.state else {
            return Action::Read;
        };
        let seen = match self.retries.settle(result) {
            Ok(block) => watch.look(block, submitted),
            Err(None) => return Action::Wait(now.instant + Retries::PAUSE),
            Err(Some(error)) => {
                let (original, block) = (original.clone(), watch.block.clone());
                return self.undo(original, block, Refusal::Unverified(error));
            }
        };
        match seen {
            Seen::Unchanged => Action::Wait(watch.next_look(now.instant)),
            Seen::Changed(by) => self.lost_race(by, now),
            Seen::Elapsed => Action::Done(ClaimOutcome::Claimed(Claimed {
                block: watch.block.clone(),
                original: original.clone(),
                verified: submitted,
            })),
        }
    }

    fn put_back(&mut self, result: ReadResult, now: Now) -> ClaimAction {
        let State::Undoing { original, block, why } = &self.state else {
            return Action::Read;
        };
        match self.retries.settle(result) {
            Ok(found) if found == *block => {
                Action::Write(Write { block: original.clone(), flush: true })
            }
            Ok(_) => Self::refused(why.clone()),
            Err(None) => Action::Wait(now.instant + Retries::PAUSE),
            Err(Some(_)) => {
                Action::Done(ClaimOutcome::Refused { why: why.clone(), left_behind: true })
            }
        }
    }

    fn wrote(&mut self, result: Result<(), IoFault>, now: Now) -> ClaimAction {
        match (&self.state, result) {
            (State::Writing { original, block }, Ok(())) => {
                let (original, block) = (original.clone(), block.clone());
                let published = block.check_interval().max(original.check_interval());
                let c = effective_interval(self.request.update_interval, published);
                let watch = Watch::new(block, guard_interval(c), now.instant);
                let next = watch.next_look(now.instant);
                self.state = State::Verifying { original, watch };
                Action::Wait(next)
            }
            (State::Writing { original, block }, Err(fault)) => {
                let (original, block) = (original.clone(), block.clone());
                self.undo(original, block, Refusal::Unwritable(fault))
            }
            (State::Undoing { why, .. }, result) => {
                let left_behind = result.is_err();
                Action::Done(ClaimOutcome::Refused { why: why.clone(), left_behind })
            }
            (State::Checking(_) | State::Verifying { .. }, _) => Action::Read,
        }
    }
}

impl Machine for Claim {
    type Write = Write;
    type Outcome = ClaimOutcome;

    fn on(&mut self, event: Event, now: Now) -> ClaimAction {
        match (&self.state, event) {
            (State::Checking(_), event) => self.check(event, now),
            (_, Event::Wrote { result, .. }) => self.wrote(result, now),
            (State::Verifying { .. }, Event::Read { submitted, result }) => {
                self.verify(submitted, result, now)
            }
            (State::Undoing { .. }, Event::Read { result, .. }) => self.put_back(result, now),
            (State::Verifying { original, watch }, Event::Stop) => {
                let (original, block) = (original.clone(), watch.block.clone());
                self.undo(original, block, Refusal::Stopped)
            }
            _ => Action::Read,
        }
    }

    fn phase(&self) -> Phase<'_> {
        match &self.state {
            State::Checking(check) => check.phase(),
            State::Writing { .. } => Phase::Reading,
            State::Verifying { watch, .. } => Phase::Verifying { until: watch.until },
            State::Undoing { .. } => Phase::Leaving,
        }
    }
}
