//! Pulse: does the heartbeat of a file system that is mounted here advance, and is it ours?
//!
//! Seen from this machine, whose kernel writes the block every update interval: each watch sees it
//! change, so that one that begins after the heartbeat has stopped is never deceived by how lately
//! that was. What the watch before it saw tells that within a second, where nothing was written since.
//! Reads only. It tells what is seen, not that nobody else can be writing.

use std::time::Duration;

use super::look::{ReadError, Retries};
use super::timing::{POLL, effective_interval};
use super::{Action, Event, Instant, Machine, NeverWrites, Now, Phase};
use crate::layout::{MmpBlock, Names, Sequence};

/// How late a beat may be: its write takes a while.
const LATE: Duration = Duration::from_secs(1);

/// What is expected of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PulseRequest {
    /// The superblock's update interval, seconds.
    pub update_interval: u16,
    /// The names this machine's kernel writes.
    pub names: Names,
    /// How long this may take. Where that is too short to see the block change, its own word is
    /// taken for when it was written.
    pub patience: Option<Duration>,
    /// What an earlier watch of the same mount ended with.
    pub last: Option<Beat>,
}

/// One write of our heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Beat {
    /// `mmp_seq`.
    pub sequence: u32,
    /// When it was first seen.
    pub seen: Instant,
}

/// What a heartbeat came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pulse {
    /// It is ours, and it advances.
    Beating {
        /// The block as last read.
        block: MmpBlock,
        /// Its write, for the next watch.
        beat: Beat,
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
    /// When patience ends.
    end: Option<Instant>,
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
        let (retries, end, seen, foreign) = Default::default();
        PulseWatch { request, retries, end, seen, foreign }
    }

    /// The sequence of a block of ours.
    fn ours(&self, block: &MmpBlock) -> Option<u32> {
        match block.sequence() {
            Sequence::Active(sequence) if block.is_by(&self.request.names) => Some(sequence),
            _ => None,
        }
    }

    /// How long ago a block of ours was written, by this machine's own clock; none where that was
    /// set back since.
    fn age(&self, block: &MmpBlock, now: Now) -> Option<Duration> {
        self.ours(block)?;
        now.wall.checked_sub(block.time()).map(Duration::from_secs)
    }

    /// When the block was first seen as it is.
    fn since(&self, block: &MmpBlock, now: Now) -> Instant {
        match (self.request.last, self.ours(block)) {
            (Some(Beat { sequence, seen }), Some(ours)) if sequence == ours => {
                seen.min(now.instant)
            }
            _ => now.instant,
        }
    }

    /// Until when the block may stay as it is. What a kernel promises is the check interval, from
    /// the write on, and what it does is a write every update interval, or every half check interval
    /// where its writes are slow. The first counts by a clock that may have been set meanwhile; so
    /// the second is always waited for, `since` the block was first seen. That an earlier watch saw it
    /// is not enough: a disk that hung until now may give what was read before what was written.
    fn allowed(&self, block: &MmpBlock, since: Instant, now: Now) -> Instant {
        let told = self.ours(block).map_or(0, |_| block.check_interval());
        let check = effective_interval(self.request.update_interval, told);
        let beat = self.request.update_interval.max(check.div_ceil(2));
        let left = seconds(check).saturating_sub(self.age(block, now).unwrap_or_default());
        (now.instant + left.max(LATE)).max(since + (seconds(beat) + LATE))
    }

    /// Another look at the same content, asked for at `submitted`: a read may return what was there
    /// then.
    fn unchanged(&self, seen: &Seen, submitted: Instant, now: Now) -> Action<NeverWrites, Pulse> {
        let given_up = self.end.is_some_and(|end| now.instant >= end);
        if submitted < seen.until && !given_up {
            return Action::Wait(now.instant + POLL);
        }
        let (block, watched) = (seen.block.clone(), submitted.since(seen.since));
        let interval = seconds(effective_interval(self.request.update_interval, 0));
        let fresh = self.age(&block, now).is_some_and(|age| age <= interval + LATE);
        Action::Done(match (self.ours(&block), block.sequence()) {
            (Some(sequence), _) if given_up && fresh => {
                Pulse::Beating { block, beat: Beat { sequence, seen: seen.since } }
            }
            (Some(_), _) => Pulse::Still { block, watched },
            (None, Sequence::Clean) => Pulse::Released { block },
            (None, _) => Pulse::Foreign { block },
        })
    }

    fn look(
        &mut self,
        block: MmpBlock,
        submitted: Instant,
        now: Now,
    ) -> Action<NeverWrites, Pulse> {
        let ours = self.ours(&block);
        match (&self.seen, ours) {
            (Some(seen), _) if seen.block == block => return self.unchanged(seen, submitted, now),
            // One foreign write may be a late or rude one, over which ours goes on; two are a
            // second writer.
            (_, None) => {
                if self.foreign.as_ref().is_some_and(|first| *first != block) {
                    return Action::Done(Pulse::Foreign { block });
                }
                self.foreign = Some(block.clone());
            }
            (Some(seen), Some(sequence)) if self.ours(&seen.block).is_some() => {
                let beat = Beat { sequence, seen: now.instant };
                return Action::Done(Pulse::Beating { block, beat });
            }
            _ => {}
        }
        let since = self.since(&block, now);
        let until = self.allowed(&block, since, now);
        let seen = self.seen.insert(Seen { block, since, until }).clone();
        self.unchanged(&seen, submitted, now)
    }
}

fn seconds(count: u16) -> Duration {
    Duration::from_secs(count.into())
}

impl Machine for PulseWatch {
    type Write = NeverWrites;
    type Outcome = Pulse;

    fn on(&mut self, event: Event, now: Now) -> Action<NeverWrites, Pulse> {
        match event {
            Event::Begin => {
                self.end = self.request.patience.map(|patience| now.instant + patience);
                Action::Read
            }
            Event::Timer | Event::Wrote { .. } => Action::Read,
            Event::Stop => Action::Done(Pulse::Stopped),
            Event::Read { submitted, result } => match self.retries.settle(result) {
                Ok(block) => self.look(block, submitted, now),
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

    /// Runs against the block that `at` gives for each second from 1000 on, with a wall clock that
    /// is `skew` seconds fast; what came of it, and after how many seconds.
    fn run(patience: Option<u64>, skew: i64, at: impl Fn(u64) -> ReadResult) -> (Pulse, u64) {
        run_after(None, patience, skew, at)
    }

    /// The same after a watch that ended with `last`.
    fn run_after(
        last: Option<Beat>,
        patience: Option<u64>,
        skew: i64,
        at: impl Fn(u64) -> ReadResult,
    ) -> (Pulse, u64) {
        let patience = patience.map(Duration::from_secs);
        let mut watch = PulseWatch::new(PulseRequest { patience, last, ..request() });
        let mut instant = Instant(1_000_000_000_000);
        let mut event = Event::Begin;
        loop {
            let second = instant.0 / 1_000_000_000;
            let wall = second.saturating_add_signed(skew);
            match watch.on(event, Now { instant, wall }) {
                Action::Read => event = Event::Read { submitted: instant, result: at(second) },
                Action::Wait(until) => {
                    instant = until;
                    event = Event::Timer;
                }
                Action::Write(never) => match never {},
                Action::Done(pulse) => return (pulse, second - 1000),
            }
        }
    }

    fn beat(sequence: u32, second: u64) -> Option<Beat> {
        Some(Beat { sequence, seen: Instant(second * 1_000_000_000) })
    }

    /// What the next watch is told of this one.
    fn told(pulse: &Pulse) -> Option<Beat> {
        match pulse {
            Pulse::Beating { beat, .. } => Some(*beat),
            _ => None,
        }
    }

    fn request() -> PulseRequest {
        let names = Names::new(b"here", b"sdb");
        PulseRequest { update_interval: 5, names, patience: None, last: None }
    }

    fn ours(second: u64) -> MmpBlock {
        let tick = u32::try_from(second / 5).expect("small");
        block("here", Sequence::Active(tick), second / 5 * 5)
    }

    #[test]
    fn a_heartbeat_is_seen_to_advance_whatever_the_clock_says() {
        for skew in [-500, 0, 500] {
            let (pulse, took) = run(None, skew, |s| Ok(ours(s)));
            assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
            assert_eq!(took, 5);
        }
        // As slow as it says that it is.
        let slow = |s: u64| ours(s / 9 * 5).with_check_interval(18).with_time(s / 9 * 9);
        let (pulse, _) = run(None, 0, |s| Ok(slow(s)));
        assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
    }

    #[test]
    fn a_heartbeat_that_has_stopped_is_still_after_one_beat_or_what_is_left_of_its_promise() {
        for (written, skew, seconds) in [
            (1000, 0, 10),
            (998, 0, 8),
            (996, 0, 6),
            (900, 0, 6),
            // The clock was set: forward, and nothing is believed of it; back, and nothing known.
            (1000, 500, 6),
            (1000, -500, 10),
        ] {
            let (pulse, took) = run(None, skew, |_| Ok(still(written)));
            assert!(matches!(pulse, Pulse::Still { .. }), "{pulse:?}");
            assert_eq!(took, seconds, "{written} {skew}");
        }
    }

    #[test]
    fn a_read_that_hung_shows_nothing_of_the_time_in_which_it_did() {
        let mut watch = PulseWatch::new(request());
        let mut on = |event, second: u64| {
            let instant = Instant(second * 1_000_000_000);
            watch.on(event, Now { instant, wall: second })
        };
        let result = || Ok(block("here", Sequence::Active(7), 900));
        let read = |second: u64| Event::Read {
            submitted: Instant(second * 1_000_000_000),
            result: result(),
        };
        assert_eq!(on(Event::Begin, 1000), Action::Read);
        assert!(matches!(on(read(1000), 1000), Action::Wait(_)));
        assert!(matches!(on(read(1001), 1060), Action::Wait(_)));
        assert!(matches!(on(read(1061), 1061), Action::Done(Pulse::Still { .. })));
    }

    fn still(written: u64) -> MmpBlock {
        block("here", Sequence::Active(7), written)
    }

    #[test]
    fn what_stands_still_since_an_earlier_watch_is_not_waited_for_again() {
        for (last, written, skew, seconds) in [
            (beat(7, 990), 990, 0, 1),
            (beat(7, 996), 996, 0, 6),
            (beat(7, 997), 990, 0, 3),
            // The clock was set back, and nothing is known of the promise.
            (beat(7, 990), 990, -500, 10),
            // Another mount's, whose sequence has come again.
            (beat(7, 100), 1000, 0, 10),
            (beat(7, 100), 998, 0, 8),
            // Another mount's, or another boot's.
            (beat(6, 990), 990, 0, 6),
            (beat(7, 2000), 990, 0, 6),
        ] {
            let (pulse, took) = run_after(last, None, skew, |_| Ok(still(written)));
            assert!(matches!(pulse, Pulse::Still { .. }), "{pulse:?}");
            assert_eq!(took, seconds, "{last:?} {written} {skew}");
        }
        // The disk hung, for the kernel too, and is well again: its write comes at once.
        let (pulse, took) =
            run_after(beat(7, 990), None, 0, |s| Ok(if s < 1001 { still(990) } else { ours(s) }));
        assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
        assert_eq!(took, 1);
        // What is somebody else's is not known from before.
        let (pulse, took) =
            run_after(beat(7, 990), None, 0, |_| Ok(block("there", Sequence::Active(7), 990)));
        assert!(matches!(pulse, Pulse::Foreign { .. }), "{pulse:?}");
        assert_eq!(took, 6);
        // It went on since: one that is seen now is what the next watch is told.
        let (pulse, _) = run_after(beat(199, 995), None, 0, |s| Ok(ours(s)));
        assert_eq!(told(&pulse), beat(201, 1005));
        // Not seen to change, in too little time: its first sight still counts.
        let (pulse, _) = run_after(beat(200, 998), Some(1), 0, |s| Ok(ours(s)));
        assert_eq!(told(&pulse), beat(200, 998));
    }

    #[test]
    fn with_less_patience_than_a_beat_takes_its_own_word_counts() {
        for (written, beats) in [(1000, true), (996, true), (995, false), (900, false)] {
            let (pulse, took) =
                run(Some(2), 0, |_| Ok(block("here", Sequence::Active(7), written)));
            assert_eq!(matches!(pulse, Pulse::Beating { .. }), beats, "{written}: {pulse:?}");
            assert_eq!(took, 2);
        }
        let (pulse, took) = run(Some(30), 0, |_| Ok(block("here", Sequence::Active(7), 1000)));
        assert!(matches!(pulse, Pulse::Still { .. }), "{pulse:?}");
        assert_eq!(took, 10);
    }

    #[test]
    fn a_second_writer_is_seen_and_a_single_foreign_write_is_not_one() {
        let alternating = |s: u64| match s % 5 {
            0..=2 => ours(s),
            _ => block("there", Sequence::Active(u32::try_from(s / 5).expect("small")), s),
        };
        let (pulse, took) = run(None, 0, |s| Ok(alternating(s)));
        assert!(matches!(pulse, Pulse::Foreign { .. }), "{pulse:?}");
        assert!(took <= 10, "{took}");
        let once = |s: u64| if s < 1002 { block("there", Sequence::Active(9), s) } else { ours(s) };
        let first = block("there", Sequence::Active(9), 999);
        let (pulse, _) = run(None, 0, |s| Ok(if s < 1002 { first.clone() } else { once(s) }));
        assert!(matches!(pulse, Pulse::Beating { .. }), "{pulse:?}");
    }

    #[test]
    fn a_block_that_is_somebody_elses_or_clean_for_good() {
        let (pulse, took) = run(None, 0, |_| Ok(block("there", Sequence::Active(9), 999)));
        assert!(matches!(pulse, Pulse::Foreign { .. }), "{pulse:?}");
        assert_eq!(took, 6);
        let (pulse, _) = run(None, 0, |_| Ok(block("here", Sequence::Clean, 999)));
        assert!(matches!(pulse, Pulse::Released { .. }), "{pulse:?}");
        let (pulse, _) = run(None, 0, |_| Err(ReadError::Io(IoFault(5))));
        assert_eq!(pulse, Pulse::Unreadable(ReadError::Io(IoFault(5))));
    }
}
