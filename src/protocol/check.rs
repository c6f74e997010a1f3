//! Check: may this be mounted? Reads only.

use std::time::Duration;

use super::look::{Retries, Seen, Watch};
use super::timing::{SETTLE, effective_interval, guard_interval};
use super::{Action, Event, Instant, IoFault, Machine, NeverWrites, Now, Phase, ReadError};
use crate::layout::{Invalid, MmpBlock, Sequence};

/// What a check settles. `block` is the block as last read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nobody uses it; the last user left it in order. Safe.
    Clean {
        /// The block as last read.
        block: MmpBlock,
        /// How long it was seen not to change; zero where it was read once.
        watched: Duration,
    },
    /// Somebody used it and is gone without leaving it in order: unchanged through the guard
    /// interval. Safe to claim.
    Stale {
        /// The block as last read.
        block: MmpBlock,
        /// How long it was seen not to change.
        watched: Duration,
    },
    /// Somebody else writes it.
    InUse {
        /// The block as last read.
        block: MmpBlock,
        /// How long it took to see a change.
        after: Duration,
    },
    /// e2fsck has it, or had it when it was killed.
    Fsck {
        /// The block as last read.
        block: MmpBlock,
    },
    /// A sequence no known program writes.
    Unknown {
        /// The block as last read.
        block: MmpBlock,
    },
    /// What stands there is no valid MMP block.
    Invalid {
        /// The block as last read.
        block: MmpBlock,
        /// What is wrong with it.
        why: Invalid,
    },
    /// The device failed.
    Unreadable(IoFault),
    /// Told to stop before the answer was known.
    Stopped,
}

impl Verdict {
    /// Whether the file system may be claimed.
    pub fn is_safe(&self) -> bool {
        matches!(self, Verdict::Clean { .. } | Verdict::Stale { .. })
    }

    /// The block the verdict rests on.
    pub fn block(&self) -> Option<&MmpBlock> {
        match self {
            Verdict::Clean { block, .. }
            | Verdict::Stale { block, .. }
            | Verdict::InUse { block, .. }
            | Verdict::Fsck { block }
            | Verdict::Unknown { block }
            | Verdict::Invalid { block, .. } => Some(block),
            Verdict::Unreadable(_) | Verdict::Stopped => None,
        }
    }
}

impl From<ReadError> for Verdict {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(fault) => Verdict::Unreadable(fault),
            ReadError::Invalid { block, why } => Verdict::Invalid { block: *block, why },
        }
    }
}

/// How long a claimant watches a block that it has seen become clean: a claim is handed to the
/// kernel as a clean block, which the kernel makes its own as soon as it mounts.
const AFTER_A_RELEASE: Duration = Duration::from_secs(1);

/// Reads the block and watches it as long as it takes to be sure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    update_interval: u16,
    guard: bool,
    gives_way: bool,
    /// A block whose writer is known to be gone.
    orphan: Option<Box<MmpBlock>>,
    patience: Instant,
    began: Instant,
    retries: Retries,
    watch: Option<Watch>,
    in_use: bool,
}

impl Check {
    /// `update_interval` is the superblock's, in seconds. With `guard`, a clean block is watched
    /// for the guard interval too. Until `patience` a block that is in use is waited for; with a
    /// time that is past the first change settles it.
    pub fn new(update_interval: u16, guard: bool, patience: Instant) -> Self {
        Check {
            update_interval,
            guard,
            gives_way: false,
            orphan: None,
            patience,
            began: Instant(0),
            retries: Retries::default(),
            watch: None,
            in_use: false,
        }
    }

    /// The check of a claimant, which gives way to another that is about to be done. It would be
    /// safe not to; but of two that begin one after the other, the first should have it.
    pub(super) fn giving_way(self) -> Self {
        Check { gives_way: true, ..self }
    }

    /// A check that does not watch exactly this block, because its writer was fenced.
    pub(super) fn orphaned(self, block: MmpBlock) -> Self {
        Check { orphan: Some(Box::new(block)), ..self }
    }

    fn first_look(&mut self, block: MmpBlock, now: Instant) -> Action<NeverWrites, Verdict> {
        let may_be_handed_over = self.gives_way && self.watch.is_some();
        match block.sequence() {
            Sequence::Clean if !self.guard && !may_be_handed_over => {
                return Action::Done(Verdict::Clean { block, watched: Duration::ZERO });
            }
            // Only at the very first look: from then on somebody has shown that he writes.
            Sequence::Active(_)
                if self.watch.is_none() && self.orphan.as_deref() == Some(&block) =>
            {
                return Action::Done(Verdict::Stale { block, watched: Duration::ZERO });
            }
            Sequence::Fsck if now >= self.patience => return Action::Done(Verdict::Fsck { block }),
            Sequence::Unknown(_) if now >= self.patience => {
                return Action::Done(Verdict::Unknown { block });
            }
            _ => {}
        }
        let c = effective_interval(self.update_interval, block.check_interval());
        let length = match block.sequence() {
            Sequence::Clean if self.gives_way => AFTER_A_RELEASE,
            Sequence::Clean => guard_interval(c),
            _ => guard_interval(c) + SETTLE,
        };
        let watch = Watch::new(block, length, now);
        let next = watch.next_look(now);
        self.watch = Some(watch);
        Action::Wait(next)
    }

    fn look(&mut self, block: MmpBlock, at: Instant, now: Instant) -> Action<NeverWrites, Verdict> {
        let Some(watch) = &self.watch else {
            return self.first_look(block, now);
        };
        match (watch.look(block, at), watch.block.sequence()) {
            (Seen::Changed(block), _) => {
                let active = matches!(block.sequence(), Sequence::Active(_));
                if active && now >= self.patience {
                    return Action::Done(Verdict::InUse { block, after: now.since(self.began) });
                }
                self.in_use = active;
                self.first_look(block, now)
            }
            (Seen::Elapsed, Sequence::Clean) => {
                let watched = now.since(watch.started);
                Action::Done(Verdict::Clean { block: watch.block.clone(), watched })
            }
            (Seen::Elapsed, Sequence::Active(_)) => {
                let watched = now.since(watch.started);
                Action::Done(Verdict::Stale { block: watch.block.clone(), watched })
            }
            (_, Sequence::Fsck) if now >= self.patience => {
                Action::Done(Verdict::Fsck { block: watch.block.clone() })
            }
            (_, Sequence::Unknown(_)) if now >= self.patience => {
                Action::Done(Verdict::Unknown { block: watch.block.clone() })
            }
            _ if self.in_use && now >= self.patience => {
                let after = now.since(self.began);
                Action::Done(Verdict::InUse { block: watch.block.clone(), after })
            }
            _ => Action::Wait(watch.next_look(now).max(now + Retries::PAUSE)),
        }
    }
}

impl Machine for Check {
    type Write = NeverWrites;
    type Outcome = Verdict;

    fn on(&mut self, event: Event, now: Now) -> Action<NeverWrites, Verdict> {
        match event {
            Event::Begin => {
                self.began = now.instant;
                Action::Read
            }
            Event::Timer => Action::Read,
            Event::Read { submitted, result } => match self.retries.settle(result) {
                Ok(block) => self.look(block, submitted, now.instant),
                Err(None) => Action::Wait(now.instant + Retries::PAUSE),
                Err(Some(error)) => Action::Done(error.into()),
            },
            Event::Stop => Action::Done(Verdict::Stopped),
            Event::Wrote { result: Err(fault), .. } => Action::Done(Verdict::Unreadable(fault)),
            Event::Wrote { result: Ok(()), .. } => Action::Read,
        }
    }

    fn phase(&self) -> Phase<'_> {
        match &self.watch {
            None => Phase::Reading,
            Some(Watch { block, until, .. }) => {
                Phase::Watching { until: *until, seen: block, in_use: self.in_use }
            }
        }
    }
}
