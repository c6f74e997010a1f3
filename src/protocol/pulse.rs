//! Pulse: does the heartbeat of a file system that is mounted here advance, and is it ours?
//!
//! For a monitor that asks again and again: where the block says by itself that all is well, one
//! look is enough. Reads only. It tells what is seen, not that nobody else can be writing.

use std::time::Duration;

use super::look::{ReadError, Retries};
use super::timing::{POLL, effective_interval};
use super::{Action, Event, Instant, Machine, NeverWrites, Now, Phase};
use crate::layout::{MmpBlock, Names, Sequence};

/// What is expected of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PulseRequest {
    /// The superblock's update interval, seconds.
    pub update_interval: u16,
    /// The names this machine's kernel writes.
    pub names: Names,
    /// See the block change, whatever it says.
    pub thorough: bool,
}

/// What a heartbeat came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pulse {
    /// It is ours, and it advances.
    Beating {
        /// The block as last read.
        block: MmpBlock,
    },
    /// It is ours, and stands still for longer than it promises.
    Still {
        /// The block as last read.
        block: MmpBlock,
        /// How long it was watched.
        watched: Duration,
    },
    /// Somebody else writes the block, or has it for good.
    Foreign {
        /// What he wrote.
        block: MmpBlock,
    },
    /// The block stays clean, as if nobody used the file system.
    Released {
        /// The block as last read.
        block: MmpBlock,
    },
    /// The block cannot be read, or is damaged.
    Unreadable(ReadError),
    /// Told to stop before the answer was known.
    Stopped,
}

/// Watches a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PulseWatch {
    request: PulseRequest,
    retries: Retries,
    seen: Option<Seen>,
    /// What somebody else wrote, the last of it.
    foreign: Option<MmpBlock>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    block: MmpBlock,
    since: Instant,
    until: Instant,
}

impl PulseWatch {
    /// A watch not yet begun.
    pub fn new(request: PulseRequest) -> Self {
        PulseWatch { request, retries: Retries::default(), seen: None, foreign: None }
    }

    fn is_ours(&self, block: &MmpBlock) -> bool {
        matches!(block.sequence(), Sequence::Active(_)) && block.is_by(&self.request.names)
    }

    /// Whether the block alone shows life: written by this machine's own clock within its update
    /// interval and a second. A clock that was set makes that look wrong, and then it is watched.
    fn is_fresh(&self, block: &MmpBlock, wall: u64) -> bool {
        let interval = effective_interval(self.request.update_interval, 0);
        let age = wall.checked_sub(block.time());
        age.is_some_and(|age| age <= u64::from(interval) + 1)
    }

    fn look(&mut self, block: MmpBlock, now: Now) -> Action<NeverWrites, Pulse> {
        let ours = self.is_ours(&block);
        match &self.seen {
            None if ours && !self.request.thorough && self.is_fresh(&block, now.wall) => {
                return Action::Done(Pulse::Beating { block });
            }
            Some(seen) if seen.block == block => {
                if now.instant < seen.until {
                    return Action::Wait(now.instant + POLL);
                }
                let watched = now.instant.since(seen.since);
                return Action::Done(match block.sequence() {
                    _ if ours => Pulse::Still { block, watched },
                    Sequence::Clean => Pulse::Released { block },
                    _ => Pulse::Foreign { block },
                });
            }
            // One foreign write may be a late or rude one, over which ours goes on; two are a
            // second writer.
            _ if !ours => {
                if self.foreign.as_ref().is_some_and(|first| *first != block) {
                    return Action::Done(Pulse::Foreign { block });
                }
                self.foreign = Some(block.clone());
            }
            Some(seen) if self.is_ours(&seen.block) => {
                return Action::Done(Pulse::Beating { block });
            }
            None | Some(_) => {}
        }
        let told = if ours { block.check_interval() } else { 0 };
        let interval = effective_interval(self.request.update_interval, told);
        let until = now.instant + Duration::from_secs(interval.into());
        self.seen = Some(Seen { block, since: now.instant, until });
        Action::Wait(now.instant + POLL)
    }
}

impl Machine for PulseWatch {
    type Write = NeverWrites;
    type Outcome = Pulse;

    fn on(&mut self, event: Event, now: Now) -> Action<NeverWrites, Pulse> {
        match event {
            Event::Begin | Event::Timer | Event::Wrote { .. } => Action::Read,
            Event::Stop => Action::Done(Pulse::Stopped),
            Event::Read { result, .. } => match self.retries.settle(result) {
                Ok(block) => self.look(block, now),
                Err(None) => Action::Wait(now.instant + Retries::PAUSE),
                Err(Some(error)) => Action::Done(Pulse::Unreadable(error)),
            },
        }
    }

    fn phase(&self) -> Phase<'_> {
        match &self.seen {
            None => Phase::Reading,
            Some(seen) => Phase::Watching { until: seen.until, seen: &seen.block, in_use: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{MMP_MAGIC, MMP_SIZE};
    use crate::protocol::{IoFault, ReadResult};

    fn block(node: &str, sequence: Sequence, time: u64) -> MmpBlock {
        let mut raw = [0; MMP_SIZE];
        raw[..4].copy_from_slice(&MMP_MAGIC.to_le_bytes());
        MmpBlock::from_bytes(raw)
            .with_names(&Names::new(node.as_bytes(), b"sdb"))
            .with_sequence(sequence)
            .with_time(time)
            .with_check_interval(10)
    }

    /// Runs against the block that `at` gives for each second from 1000 on; what came of it, and
    /// after how many seconds.
    fn run(thorough: bool, at: impl Fn(u64) -> ReadResult) -> (Pulse, u64) {
        let names = Names::new(b"here", b"sdb");
        let mut watch = PulseWatch::new(PulseRequest { update_interval: 5, names, thorough });
        let mut instant = Instant(1_000_000_000_000);
        let mut event = Event::Begin;
        loop {
            let wall = instant.0 / 1_000_000_000;
            match watch.on(event, Now { instant, wall }) {
                Action::Read => event = Event::Read { submitted: instant, result: at(wall) },
                Action::Wait(until) => {
                    instant = until;
                    event = Event::Timer;
                }
                Action::Write(never) => match never {},
                Action::Done(pulse) => return (pulse, wall - 1000),
            }
        }
    }

    fn ours(second: u64) -> MmpBlock {
        let tick = u32::try_from(second / 5).expect("small");
        block("here", Sequence::Active(tick), second / 5 * 5)
    }

    #[test]
    fn one_look_is_enough_where_the_block_says_so() {
        assert!(matches!(run(false, |s| Ok(ours(s))), (Pulse::Beating { .. }, 0)));
        let (pulse, took) = run(true, |s| Ok(ours(s)));
        assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
        assert_eq!(took, 5);
    }

    #[test]
    fn a_clock_that_was_set_costs_time_only() {
        for skew in [-500i64, 500] {
            let skewed = |s: u64| ours(s).with_time(ours(s).time().saturating_add_signed(skew));
            let (pulse, took) = run(false, |s| Ok(skewed(s)));
            assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
            assert_eq!(took, 5);
        }
    }

    #[test]
    fn a_heartbeat_that_stops_is_still_after_the_interval_it_promises() {
        let (pulse, took) = run(false, |_| Ok(block("here", Sequence::Active(7), 900)));
        assert!(matches!(pulse, Pulse::Still { .. }), "{pulse:?}");
        assert_eq!(took, 10);
    }

    #[test]
    fn a_second_writer_is_seen_and_a_single_foreign_write_is_not_one() {
        let alternating = |s: u64| match s % 5 {
            0..=2 => ours(s),
            _ => block("there", Sequence::Active(u32::try_from(s / 5).expect("small")), s),
        };
        let (pulse, took) = run(true, |s| Ok(alternating(s)));
        assert!(matches!(pulse, Pulse::Foreign { .. }), "{pulse:?}");
        assert!(took <= 10, "{took}");
        let once = |s: u64| if s < 1002 { block("there", Sequence::Active(9), s) } else { ours(s) };
        let first = block("there", Sequence::Active(9), 999);
        let (pulse, _) = run(false, |s| Ok(if s < 1002 { first.clone() } else { once(s) }));
        assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
    }

    #[test]
    fn a_block_that_is_somebody_elses_or_clean_for_good() {
        let (pulse, took) = run(false, |_| Ok(block("there", Sequence::Active(9), 999)));
        assert!(matches!(pulse, Pulse::Foreign { .. }), "{pulse:?}");
        assert_eq!(took, 5);
        let (pulse, _) = run(false, |_| Ok(block("here", Sequence::Clean, 999)));
        assert!(matches!(pulse, Pulse::Released { .. }), "{pulse:?}");
        let (pulse, _) = run(false, |_| Err(ReadError::Io(IoFault(5))));
        assert_eq!(pulse, Pulse::Unreadable(ReadError::Io(IoFault(5))));
    }
}
