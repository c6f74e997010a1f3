//! Watching beside a mount while the kernel waits.

use std::time::Duration;

use super::MARGIN;
use crate::layout::MmpBlock;
use crate::protocol::look::Retries;
use crate::protocol::timing::{POLL, effective_interval, guard_interval, lease_interval};
use crate::protocol::{Action, Event, Instant, Machine, NeverWrites, Now, Phase};

/// What a look beside the kernel's waits told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LookoutOutcome {
    /// Somebody else wrote the block: the mount must be broken off.
    Changed {
        /// The block as last read.
        block: MmpBlock,
        /// How long it took to see it.
        after: Duration,
    },
    /// Nobody did for as long as can be judged; or the block cannot be read, and the kernel, which
    /// reads it too, has to find out.
    Quiet,
    /// The mount has ended, or is to.
    Stopped,
}

/// Watches an unclean block while the kernel waits on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lookout {
    block: MmpBlock,
    since: Instant,
    judge_until: Instant,
    /// When the kernel's two waits will be over.
    kernel_done: Instant,
    retries: Retries,
}

impl Lookout {
    /// `block` and `since` as in [`Handed::Unclean`]; the superblock's update interval in seconds.
    pub fn new(block: MmpBlock, since: Instant, update_interval: u16) -> Self {
        let c = effective_interval(update_interval, block.check_interval());
        Lookout {
            block,
            since,
            judge_until: since + lease_interval(c).saturating_sub(MARGIN),
            kernel_done: since + guard_interval(c) * 2,
            retries: Retries::default(),
        }
    }
}

impl Machine for Lookout {
    type Write = NeverWrites;
    type Outcome = LookoutOutcome;

    fn on(&mut self, event: Event, now: Now) -> Action<NeverWrites, LookoutOutcome> {
        let now = now.instant;
        match event {
            Event::Stop => Action::Done(LookoutOutcome::Stopped),
            // What a read returned that ended too late may be the kernel's own.
            _ if now >= self.judge_until => Action::Done(LookoutOutcome::Quiet),
            Event::Read { result, .. } => match self.retries.settle(result) {
                Ok(block) if block == self.block => Action::Wait(now + POLL),
                Ok(block) => {
                    let after = now.since(self.since);
                    Action::Done(LookoutOutcome::Changed { block, after })
                }
                Err(None) => Action::Wait(now + Retries::PAUSE),
                Err(Some(_)) => Action::Done(LookoutOutcome::Quiet),
            },
            _ => Action::Read,
        }
    }

    fn phase(&self) -> Phase<'_> {
        Phase::Watching { until: self.kernel_done, seen: &self.block, in_use: false }
    }
}
