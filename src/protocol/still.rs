//! Still: does anybody write the block, whatever it says?
//!
//! For clearing a block that no check would pass: one left at FSCK, with an unknown sequence, or
//! damaged; and for a fence, which asks whether one node has stopped writing. Reads only. It cannot
//! tell that nobody uses the device, only that nobody wrote the block while it looked.

use std::time::Duration;

use super::look::ReadError;
use super::timing::{POLL, effective_interval, guard_interval};
use super::{Action, Event, Instant, IoFault, Machine, NeverWrites, Now, Phase};
use crate::layout::{MmpBlock, Names, Sequence};

/// e2fsck writes the block about once in 60 s while it works (measured, e2fsprogs 1.47): watching
/// for less shows nothing.
const FSCK_LIFE_SIGN: Duration = Duration::from_secs(66);

/// An e2fsck that has not written the block for so long is dead, or waits at a question.
pub const FSCK_SILENT: Duration = FSCK_LIFE_SIGN.saturating_mul(2);

/// What watching showed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stillness {
    /// Nobody wrote the block.
    Unchanged {
        /// The block, valid or not.
        block: MmpBlock,
    },
    /// Somebody wrote it.
    Changed {
        /// What stands there now.
        block: MmpBlock,
        /// How long it took to see.
        after: Duration,
    },
    /// The device failed.
    Unreadable(IoFault),
    /// Told to stop before the time was over.
    Stopped,
}

/// Watches the block for the guard interval; where it says FSCK, at least until an e2fsck that
/// lives has written it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Still {
    update_interval: u16,
    /// Whose writes count; everybody's if none. A machine that calls itself by the same name is not
    /// meant where it is ours.
    node: Option<(Vec<u8>, Names)>,
    watch: Option<(MmpBlock, Instant, Instant)>,
}

impl Still {
    /// `update_interval` is the superblock's, in seconds.
    pub fn new(update_interval: u16) -> Self {
        Still { update_interval, node: None, watch: None }
    }

    /// The same, but only what this node writes counts as a change, and never what we ourselves
    /// write under `ours`.
    pub fn of_node(update_interval: u16, node: &[u8], ours: Names) -> Self {
        Still { update_interval, node: Some((node.to_owned(), ours)), watch: None }
    }

    fn counts(&self, block: &MmpBlock) -> bool {
        let node = self.node.as_ref();
        node.is_none_or(|(node, ours)| block.is_by_node(node) && !block.is_by(ours))
    }

    fn look(
        &mut self,
        block: MmpBlock,
        valid: bool,
        submitted: Instant,
        now: Instant,
    ) -> Action<NeverWrites, Stillness> {
        let counts = self.counts(&block);
        match &mut self.watch {
            None => {
                // What a damaged block says of intervals is not to be waited for.
                let told = if valid { block.check_interval() } else { 0 };
                let guard = guard_interval(effective_interval(self.update_interval, told));
                let time = match block.sequence() {
                    Sequence::Fsck => guard.max(FSCK_LIFE_SIGN),
                    _ => guard,
                };
                self.watch = Some((block, now, now + time));
            }
            Some((last, began, _)) if *last != block => {
                if counts {
                    let after = now.since(*began);
                    return Action::Done(Stillness::Changed { block, after });
                }
                *last = block;
            }
            Some((.., until)) if submitted >= *until => {
                return Action::Done(Stillness::Unchanged { block });
            }
            Some(_) => {}
        }
        Action::Wait(now + POLL)
    }
}

impl Machine for Still {
    type Write = NeverWrites;
    type Outcome = Stillness;

    fn on(&mut self, event: Event, now: Now) -> Action<NeverWrites, Stillness> {
        match event {
            Event::Begin | Event::Timer | Event::Wrote { .. } => Action::Read,
            Event::Stop => Action::Done(Stillness::Stopped),
            Event::Read { submitted, result } => match result {
                Ok(block) => self.look(block, true, submitted, now.instant),
                Err(ReadError::Invalid { block, .. }) => {
                    self.look(*block, false, submitted, now.instant)
                }
                Err(ReadError::Io(fault)) => Action::Done(Stillness::Unreadable(fault)),
            },
        }
    }

    fn phase(&self) -> Phase<'_> {
        match &self.watch {
            None => Phase::Reading,
            Some((block, _, until)) => {
                Phase::Watching { until: *until, seen: block, in_use: false }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Invalid, MMP_MAGIC, MMP_SIZE};
    use crate::protocol::ReadResult;

    fn block(sequence: Sequence, check_interval: u16) -> MmpBlock {
        let mut raw = [0; MMP_SIZE];
        raw[..4].copy_from_slice(&MMP_MAGIC.to_le_bytes());
        MmpBlock::from_bytes(raw).with_sequence(sequence).with_check_interval(check_interval)
    }

    /// Runs against a block that `at` gives for each second; tells what came out, and when.
    fn run(at: impl Fn(u64) -> ReadResult) -> (Stillness, u64) {
        run_on(Still::new(5), at)
    }

    fn run_on(mut still: Still, at: impl Fn(u64) -> ReadResult) -> (Stillness, u64) {
        let mut instant = Instant(1_000_000_000);
        let mut event = Event::Begin;
        loop {
            match still.on(event, Now { instant, wall: 0 }) {
                Action::Read => {
                    let result = at(instant.0 / 1_000_000_000);
                    event = Event::Read { submitted: instant, result };
                }
                Action::Wait(until) => {
                    instant = until;
                    event = Event::Timer;
                }
                Action::Write(never) => match never {},
                Action::Done(outcome) => return (outcome, instant.0 / 1_000_000_000 - 1),
            }
        }
    }

    #[test]
    fn an_unchanged_block_takes_as_long_as_its_writer_could_be_silent() {
        for (sequence, seconds) in [
            (Sequence::Clean, 21),
            (Sequence::Active(7), 21),
            (Sequence::Unknown(0xF000_0000), 21),
            (Sequence::Fsck, 66),
        ] {
            let (outcome, took) = run(|_| Ok(block(sequence, 10)));
            assert!(matches!(outcome, Stillness::Unchanged { .. }), "{outcome:?}");
            assert_eq!(took, seconds);
        }
    }

    #[test]
    fn a_change_is_seen_at_once_whatever_the_block_says() {
        let fsck = block(Sequence::Fsck, 5);
        let (outcome, took) = run(|s| Ok(fsck.clone().with_time(s / 60)));
        assert!(matches!(outcome, Stillness::Changed { .. }), "{outcome:?}");
        assert_eq!(took, 59);
    }

    #[test]
    fn only_the_writes_of_the_node_asked_about_count() {
        let by = |node: &str, draw: u64| {
            let draw = u32::try_from(draw).expect("small");
            block(Sequence::Active(draw), 5).with_names(&Names::new(node.as_bytes(), b"sdb"))
        };
        let ours = Names::new(b"oss2", b"sdc");
        let still = || Still::of_node(5, b"oss2", ours);
        let (outcome, took) = run_on(still(), |s| Ok(by("oss1", s)));
        assert!(matches!(outcome, Stillness::Unchanged { .. }), "{outcome:?}");
        assert_eq!(took, 11);
        let node = |s| if s < 6 { "oss1" } else { "oss2" };
        let (outcome, took) = run_on(still(), |s| Ok(by(node(s), s)));
        assert!(matches!(outcome, Stillness::Changed { .. }), "{outcome:?}");
        assert_eq!(took, 5);
        let (outcome, _) = run_on(still(), |s| Ok(by("oss2", s).with_names(&ours)));
        assert!(matches!(outcome, Stillness::Unchanged { .. }), "{outcome:?}");
    }

    #[test]
    fn a_damaged_block_does_not_say_how_long_to_wait() {
        let why = Invalid::Magic { found: 0 };
        let bad = || Err(ReadError::Invalid { block: Box::new(block(Sequence::Clean, !0)), why });
        assert_eq!(run(|_| bad()).1, 11);
        let (outcome, _) = run(|s| if s < 5 { bad() } else { Err(ReadError::Io(IoFault(5))) });
        assert_eq!(outcome, Stillness::Unreadable(IoFault(5)));
    }
}
