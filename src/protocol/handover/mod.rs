//! Handover: from nobody's device to one that the kernel's own mount holds.
//!
//! A kernel that finds the block clean mounts at once; one that does not waits twice. So either we
//! wait and leave the block clean, or we leave it not clean and the kernel waits. Never both.
//!
//! **Guard.** A [`Claim`], with all it waits for: one guard interval on a clean block, two on one
//! that is stale, which is what the kernel takes for it too. Then CLEAN, and the kernel mounts at
//! once. It could have been left to the kernel to wait on a stale block; but a block that is not
//! clean when we look may be clean when the kernel looks, because its holder has just let go, and
//! then nobody waits. A claim that stands cannot be let go by anybody else.
//!
//! Whoever claims without our seeing it does so after the look that verified our claim, and has to
//! watch for a guard interval from then. If the mount has returned by the time that interval has
//! passed since our look, the kernel's heartbeat meets every such claim, and none stands. If not,
//! [`Confirm`] must look before the mount is called a success. And if the lease that our look gave
//! us is over before CLEAN can be written, it is not: it might be written over another's claim.
//!
//! **Strict.** A clean block is made not clean, under our names; one that is not clean stays as it
//! is. The kernel waits twice, and at no time is there a clean block that a plain mount elsewhere
//! could take. But the kernel looks only at the end of each wait, where a live holder shows within
//! one update interval, so [`Lookout`] watches beside it, reading only, and the mount is broken off
//! when the block changes. It judges only until the kernel may write its own sequence. That is not
//! before a whole wait has passed since the kernel's first look, which comes after ours: whatever
//! changes within the shortest wait of any kernel after *our* look is somebody else's doing. After
//! that the kernel's own looks protect. A mount that is back before two waits can have passed met a
//! block that somebody had made clean, and [`Confirm`] must look there too.

mod confirm;
mod lookout;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use confirm::{Confirm, Confirmation};
pub use lookout::{Lookout, LookoutOutcome};

use super::check::Verdict;
use super::claim::{Claim, ClaimOutcome, ClaimRequest, Claimed, Refusal};
use super::look::{ReadResult, Retries};
use super::timing::{effective_interval, guard_interval, lease_interval};
use super::{Action, Event, Instant, IoFault, Machine, Now, Phase, Write};
use crate::layout::{MmpBlock, Sequence};

/// The end of the time in which [`Lookout`] judges lies this much before the first moment at which
/// the kernel may write: kernels count in ticks, and a tick is at most 10 ms.
const MARGIN: Duration = Duration::from_millis(250);

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandoverMode {
    /// We do, and leave the block clean.
    Guard,
    /// The kernel does; a clean block is made not clean.
    Strict,
    /// The kernel does, but on a clean block nobody. Nothing is written.
    Check,
}

/// What the real mount will meet, and so what must be watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Handed {
    /// The block is clean, and nobody else claimed it through a whole guard interval.
    Guarded {
        /// The mount must have returned by then: a guard interval after the look that verified our
        /// claim. Whoever claimed without our seeing it did so after that look.
        due: Instant,
    },
    /// The block was found clean and left alone: the kernel mounts without any guard.
    Unguarded,
    /// The block is not clean: the kernel waits twice. [`Lookout`] watches meanwhile.
    Unclean {
        /// The block as the kernel will find it.
        block: MmpBlock,
        /// A time at which it stood there, before the kernel can have looked.
        since: Instant,
        /// What stood there before, if this block is ours and must be taken back should the mount
        /// fail.
        original: Option<MmpBlock>,
        /// The kernel cannot have waited twice before.
        not_before: Instant,
    },
}

impl Handed {
    /// Whether a mount that has returned at `now` must be looked at by [`Confirm`].
    pub fn needs_confirmation(&self, now: Instant) -> bool {
        match self {
            Handed::Guarded { due } => now > *due,
            Handed::Unguarded => false,
            Handed::Unclean { not_before, .. } => now < *not_before,
        }
    }
}

/// How preparing a handover ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HandoverOutcome {
    /// Close the device and mount.
    HandOver(Handed),
    /// It must not be mounted.
    Refused {
        /// Why.
        why: Refusal,
        /// Whether our own claim may still stand in the block.
        left_behind: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Claiming(Claim),
    Looking { strict: bool },
    Cleaning { due: Instant },
    Marking { original: MmpBlock, block: MmpBlock },
    Undoing { original: MmpBlock, block: MmpBlock, why: Refusal },
}

/// The guard interval of whoever finds `block`; the superblock's update interval in seconds.
fn guard_of(update_interval: u16, block: &MmpBlock) -> Duration {
    guard_interval(effective_interval(update_interval, block.check_interval()))
}

/// Prepares a device for a mount by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handover {
    request: ClaimRequest,
    retries: Retries,
    state: State,
}

type HandoverAction = Action<Write, HandoverOutcome>;

impl Handover {
    /// A handover not yet begun. Only in guard mode is a device in use waited for.
    pub fn new(mode: HandoverMode, request: ClaimRequest) -> Self {
        let state = match mode {
            HandoverMode::Guard => State::Claiming(Claim::new(request.clone())),
            HandoverMode::Strict => State::Looking { strict: true },
            HandoverMode::Check => State::Looking { strict: false },
        };
        Handover { request, retries: Retries::default(), state }
    }

    /// In guard mode, does not first watch `block`, if that is what it finds: its writer is known to
    /// be gone. In the others the kernel waits, which cannot be told.
    #[must_use]
    pub fn after_fencing(self, block: MmpBlock) -> Self {
        let state = match self.state {
            State::Claiming(claim) => State::Claiming(claim.after_fencing(block)),
            state => state,
        };
        Handover { state, ..self }
    }

    /// Takes back what a strict handover wrote, `block`, after the mount failed: only if it still
    /// stands there. A block that the kernel has gone on from cannot be told from one that another
    /// kernel has.
    pub fn take_back(self, block: MmpBlock, original: MmpBlock) -> Self {
        Handover { state: State::Undoing { original, block, why: Refusal::Stopped }, ..self }
    }

    fn refused(why: Refusal, left_behind: bool) -> HandoverAction {
        Action::Done(HandoverOutcome::Refused { why, left_behind })
    }

    fn hand_over(handed: Handed) -> HandoverAction {
        Action::Done(HandoverOutcome::HandOver(handed))
    }

    fn unclean(&self, block: MmpBlock, original: Option<MmpBlock>, now: Now) -> HandoverAction {
        let c = effective_interval(self.request.update_interval, block.check_interval());
        let (since, waits) = (now.instant, lease_interval(c) * 2);
        let not_before = since + waits.saturating_sub(MARGIN);
        Self::hand_over(Handed::Unclean { block, since, original, not_before })
    }

    fn look(&mut self, block: MmpBlock, now: Now) -> HandoverAction {
        match (block.sequence(), &self.state) {
            (Sequence::Fsck, _) => Self::refused(Refusal::NotSafe(Verdict::Fsck { block }), false),
            (Sequence::Unknown(_), _) => {
                Self::refused(Refusal::NotSafe(Verdict::Unknown { block }), false)
            }
            (Sequence::Active(_), _) => self.unclean(block, None, now),
            (Sequence::Clean, State::Looking { strict: true }) => {
                let original = block;
                let block = self.request.mark(&original, now);
                self.state = State::Marking { original, block: block.clone() };
                Action::Write(Write { block, flush: true })
            }
            (Sequence::Clean, _) => Self::hand_over(Handed::Unguarded),
        }
    }

    fn claim(&mut self, event: Event, now: Now) -> HandoverAction {
        let State::Claiming(claim) = &mut self.state else {
            return Action::Read;
        };
        match claim.on(event, now) {
            Action::Read => Action::Read,
            Action::Wait(until) => Action::Wait(until),
            Action::Write(write) => Action::Write(write),
            Action::Done(ClaimOutcome::Refused { why, left_behind }) => {
                Self::refused(why, left_behind)
            }
            Action::Done(ClaimOutcome::Claimed(claimed)) => self.clean(claimed, now),
        }
    }

    /// Leaves the claim's block clean, unless so much time has passed since the look that verified
    /// it that somebody else may hold it by now.
    fn clean(&mut self, claimed: Claimed, now: Now) -> HandoverAction {
        // The interval that any later contender reckons with, which is in this block too.
        let update_interval = self.request.update_interval;
        let c = effective_interval(update_interval, claimed.block.check_interval());
        if now.instant >= claimed.verified + lease_interval(c) {
            let (original, block) = (claimed.original, claimed.block);
            self.state = State::Undoing { original, block, why: Refusal::Expired };
            return Action::Read;
        }
        let block = claimed.block.with_sequence(Sequence::Clean).with_time(now.wall);
        self.state = State::Cleaning { due: claimed.verified + guard_interval(c) };
        Action::Write(Write { block, flush: true })
    }

    fn wrote(&mut self, result: Result<(), IoFault>, now: Now) -> HandoverAction {
        match (&self.state, result) {
            (State::Cleaning { due }, Ok(())) => Self::hand_over(Handed::Guarded { due: *due }),
            (State::Cleaning { .. }, Err(fault)) => Self::refused(Refusal::Unwritable(fault), true),
            (State::Marking { original, block }, Ok(())) => {
                self.unclean(block.clone(), Some(original.clone()), now)
            }
            (State::Marking { original, block }, Err(fault)) => {
                // A write that failed may have landed all the same.
                let (original, block) = (original.clone(), block.clone());
                self.state = State::Undoing { original, block, why: Refusal::Unwritable(fault) };
                Action::Read
            }
            (State::Undoing { why, .. }, result) => Self::refused(why.clone(), result.is_err()),
            (State::Looking { .. } | State::Claiming(_), _) => Action::Read,
        }
    }

    fn read(&mut self, result: ReadResult, now: Now) -> HandoverAction {
        match (self.retries.settle(result), &self.state) {
            (Err(None), _) => Action::Wait(now.instant + Retries::PAUSE),
            (Ok(found), State::Undoing { original, block, why }) => match found == *block {
                true => Action::Write(Write { block: original.clone(), flush: true }),
                false => {
                    let from_ours = found.names() == block.names();
                    let left = from_ours && matches!(found.sequence(), Sequence::Active(_));
                    Self::refused(why.clone(), left)
                }
            },
            (Err(Some(_)), State::Undoing { why, .. }) => Self::refused(why.clone(), true),
            (Ok(block), _) => self.look(block, now),
            (Err(Some(error)), _) => Self::refused(Refusal::NotSafe(error.into()), false),
        }
    }
}

impl Machine for Handover {
    type Write = Write;
    type Outcome = HandoverOutcome;

    fn on(&mut self, event: Event, now: Now) -> HandoverAction {
        match (&self.state, event) {
            (State::Claiming(_), event) => self.claim(event, now),
            (_, Event::Wrote { result, .. }) => self.wrote(result, now),
            (_, Event::Read { result, .. }) => self.read(result, now),
            (State::Looking { .. }, Event::Stop) => Self::refused(Refusal::Stopped, false),
            _ => Action::Read,
        }
    }

    fn phase(&self) -> Phase<'_> {
        match &self.state {
            State::Looking { .. } | State::Marking { .. } | State::Cleaning { .. } => {
                Phase::Reading
            }
            State::Claiming(claim) => claim.phase(),
            State::Undoing { .. } => Phase::Leaving,
        }
    }
}
