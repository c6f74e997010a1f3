//! Watching after a mount: is it the only one?

use std::time::Duration;

use super::guard_of;
use crate::layout::{MmpBlock, Sequence};
use crate::protocol::look::Retries;
use crate::protocol::{Action, Event, Instant, Machine, NeverWrites, Now, Phase, ReadError};

/// How often [`Confirm`] looks. Of two writers each overwrites the other; the less often one looks
/// the more likely it is to see only one of them.
const CONFIRM_POLL: Duration = Duration::from_millis(50);

/// What [`Confirm`] saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Confirmation {
    /// One writer only: the kernel's heartbeat.
    Alone,
    /// Two writers: two nodes use the file system.
    SecondWriter {
        /// The content of one of them.
        one: MmpBlock,
        /// The content of the other.
        other: MmpBlock,
    },
    /// The block cannot be read, so it cannot be said.
    Unreadable(ReadError),
    /// Told to stop before it was known.
    Stopped,
}

/// Watches the block of a file system mounted here for a guard interval: is the kernel's heartbeat
/// the only writer?
///
/// A single writer counts up. Content that does not go on from what was there is somebody else's;
/// once it may be a late claim, whose writer sees the heartbeat and gives up; twice, with other
/// content, it is a second heartbeat. A block that says clean or fsck has been handed to a second
/// user already. The nodes' names are not relied on: clones share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Confirm {
    update_interval: u16,
    until: Instant,
    line: Option<MmpBlock>,
    /// Whether the heartbeat's first sequence, which is 1, was seen to follow the mount's own.
    started: bool,
    foreign: Option<MmpBlock>,
    retries: Retries,
}

impl Confirm {
    /// The superblock's update interval in seconds.
    pub fn new(update_interval: u16) -> Self {
        Confirm {
            update_interval,
            until: Instant(0),
            line: None,
            started: false,
            foreign: None,
            retries: Retries::default(),
        }
    }

    /// Whether `block` is what the writer of `line` writes next, having been looked away from for
    /// some of its writes.
    fn goes_on(&mut self, line: &MmpBlock, block: &MmpBlock) -> bool {
        let (before, after) = (line.sequence(), block.sequence());
        if after == Sequence::Active(1) && !self.started {
            self.started = true;
            return true;
        }
        block.names() == line.names() && (after > before || after == before.next())
    }

    fn look(&mut self, block: MmpBlock, now: Instant) -> Action<NeverWrites, Confirmation> {
        let line = self.line.clone();
        if !matches!(block.sequence(), Sequence::Active(_)) {
            let one = line.unwrap_or_else(|| block.clone());
            return Action::Done(Confirmation::SecondWriter { one, other: block });
        }
        let Some(line) = line else {
            self.until = now + guard_of(self.update_interval, &block);
            self.started = block.sequence() == Sequence::Active(1);
            self.line = Some(block);
            return Action::Wait(now + CONFIRM_POLL);
        };
        if block == line || self.foreign.as_ref() == Some(&block) {
            return Action::Wait(now + CONFIRM_POLL);
        }
        if self.goes_on(&line, &block) {
            self.line = Some(block);
        } else if self.foreign.is_some() {
            return Action::Done(Confirmation::SecondWriter { one: line, other: block });
        } else {
            self.until = now + guard_of(self.update_interval, &block);
            self.foreign = Some(block);
        }
        Action::Wait(now + CONFIRM_POLL)
    }
}

impl Machine for Confirm {
    type Write = NeverWrites;
    type Outcome = Confirmation;

    fn on(&mut self, event: Event, now: Now) -> Action<NeverWrites, Confirmation> {
        match event {
            Event::Stop => Action::Done(Confirmation::Stopped),
            Event::Read { submitted, result } => match self.retries.settle(result) {
                Ok(block) => {
                    let action = self.look(block, now.instant);
                    match action {
                        Action::Wait(_) if submitted >= self.until => {
                            Action::Done(Confirmation::Alone)
                        }
                        action => action,
                    }
                }
                Err(None) => Action::Wait(now.instant + Retries::PAUSE),
                Err(Some(error)) => Action::Done(Confirmation::Unreadable(error)),
            },
            _ => Action::Read,
        }
    }

    fn phase(&self) -> Phase<'_> {
        match &self.line {
            None => Phase::Reading,
            Some(_) => Phase::Verifying { until: self.until },
        }
    }
}
