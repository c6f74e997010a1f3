//! Telling writers apart: by their names, and by their lines of sequence numbers.
//!
//! Whoever holds a device counts up. Whoever begins writes 1 (kmmpd) or a random number (a claim).
//! So a line of numbers that goes on after something else stood in the block belongs to a writer
//! that has not ended, whatever the names say.

use std::time::Duration;

use crate::layout::{MmpBlock, Sequence};
use crate::protocol::Instant;

/// More writers than this at once are not told apart.
const REMEMBERED: usize = 8;
/// A sequence that is less by no more than this is the same line gone back; a claim's random number
/// falls into it once in four million times.
const NEAR: u32 = 1000;
/// kmmpd begins here.
const FIRST: u32 = 1;
/// The fastest that `mmpd hold` counts.
const FASTEST: Duration = Duration::from_millis(100);
/// The fastest that a kernel counts: two writers that take turns are kernels.
const FASTEST_KERNEL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    last: MmpBlock,
    number: u32,
    seen: Instant,
}

/// What a new content of the block means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A state that is no sequence: clean, fsck, unknown.
    NoSequence,
    /// Somebody begins.
    Begins,
    /// Who wrote last wrote again.
    GoesOn,
    /// What stood there before stands there again, to the byte: a claim was taken back.
    PutBack,
    /// Who wrote before something else stood there goes on, or counts in step with another.
    TakesTurns,
    /// The last line went back to there.
    WentBack,
}

/// The lines of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// In the order in which they were last seen.
    lines: Vec<Line>,
    /// Whether the last of them is what stands in the block.
    standing: bool,
}

impl Lines {
    /// Takes a new content of the block; lines that have not gone on for `memory` are forgotten.
    pub(super) fn see(&mut self, block: &MmpBlock, memory: Duration, now: Instant) -> Step {
        let Sequence::Active(number) = block.sequence() else {
            self.standing = false;
            return Step::NoSequence;
        };
        let keeps_last = self.standing;
        let last = self.lines.len().saturating_sub(1);
        let mut index = 0;
        self.lines.retain(|line| {
            index += 1;
            now.since(line.seen) <= memory || (keeps_last && index > last)
        });
        let (step, line) = self.place(block, number, now);
        if let Some(index) = line {
            self.lines.remove(index);
        } else if self.lines.len() == REMEMBERED {
            self.lines.remove(0);
        }
        self.lines.push(Line { last: block.clone(), number, seen: now });
        self.standing = true;
        step
    }

    /// What the content means, and the line it goes on.
    fn place(&self, block: &MmpBlock, number: u32, now: Instant) -> (Step, Option<usize>) {
        if let Some(index) = self.lines.iter().position(|line| line.last == *block) {
            return (Step::PutBack, Some(index));
        }
        let current = self.standing.then(|| self.lines.len().saturating_sub(1));
        let names = block.names();
        let same = || self.lines.iter().enumerate().filter(|(_, line)| line.last.names() == names);
        let ahead = same().filter_map(|(index, line)| {
            let is_current = current == Some(index);
            let by = number.checked_sub(line.number).filter(|by| *by > 0)?;
            let fastest = if is_current { FASTEST } else { FASTEST_KERNEL };
            let steps = now.since(line.seen).as_nanos() / fastest.as_nanos() + 2;
            // The next number of the line that stands there is that line's.
            (u128::from(by) <= steps).then_some((by, !is_current, index))
        });
        if let Some((_, another, index)) = ahead.min() {
            let step = if another { Step::TakesTurns } else { Step::GoesOn };
            return (step, Some(index));
        }
        if number == FIRST {
            return (Step::Begins, None);
        }
        if let Some((index, _)) = same().find(|(_, line)| line.number == number) {
            return (Step::TakesTurns, Some(index));
        }
        let back = same().any(|(_, line)| line.number.wrapping_sub(number) <= NEAR);
        (if back { Step::WentBack } else { Step::Begins }, None)
    }

    /// Forgets everything: too much may have happened unseen.
    pub(super) fn forget(&mut self) {
        *self = Lines::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_something_else_each_time_takes_no_memory() {
        let mut lines = Lines::default();
        for number in 1..1000u32 {
            let sequence = Sequence::active(number.wrapping_mul(0x0123_4567));
            let block = MmpBlock::from_bytes([0; 1024]).with_sequence(sequence);
            lines.see(&block, Duration::from_secs(20), Instant(number.into()));
            assert!(lines.lines.len() <= REMEMBERED);
        }
    }
}
