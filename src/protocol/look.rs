//! Looking at the block: reads that are tried again, and watching for a change.

use std::time::Duration;

use super::timing::{EAGER, EAGER_POLL, POLL, READ_RETRIES};
use super::{Instant, IoFault};
use crate::layout::{Invalid, MmpBlock};

/// Why a read gave no valid block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadError {
    /// The device failed.
    Io(IoFault),
    /// The device returned something that is no valid MMP block.
    Invalid {
        /// What it returned.
        block: Box<MmpBlock>,
        /// What is wrong with it.
        why: Invalid,
    },
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Io(fault) => fault.fmt(f),
            ReadError::Invalid { why, .. } => why.fmt(f),
        }
    }
}

/// A valid block, or why there is none.
pub type ReadResult = Result<MmpBlock, ReadError>;

/// Reads that fail are repeated: a read can meet a write half way, and one error is no verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Retries {
    failed: u8,
}

impl Retries {
    /// The block, or the error if it has come too often; `Err(None)` means read again.
    pub(super) fn settle(&mut self, result: ReadResult) -> Result<MmpBlock, Option<ReadError>> {
        match result {
            Ok(block) => {
                self.failed = 0;
                Ok(block)
            }
            Err(_) if self.failed < READ_RETRIES => {
                self.failed += 1;
                Err(None)
            }
            Err(error) => {
                self.failed = 0;
                Err(Some(error))
            }
        }
    }

    /// How long to wait before reading again: longer than one write of the block takes.
    pub(super) const PAUSE: Duration = Duration::from_millis(50);
}

/// Watches a block for its guard interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watch {
    pub(super) block: MmpBlock,
    pub(super) started: Instant,
    pub(super) until: Instant,
}

/// What one more look at a watched block told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    /// As it was; the interval is not over.
    Unchanged,
    /// As it was, in a read that began after the interval was over.
    Elapsed,
    /// Somebody wrote it.
    Changed(MmpBlock),
}

impl Watch {
    /// Starts at `now`, the end of the read or write that made `block` known.
    pub(super) fn new(block: MmpBlock, length: Duration, now: Instant) -> Self {
        Watch { block, started: now, until: now + length }
    }

    /// Compares what a read submitted at `submitted` returned.
    pub(super) fn look(&self, block: MmpBlock, submitted: Instant) -> Seen {
        if block != self.block {
            Seen::Changed(block)
        } else if submitted >= self.until {
            Seen::Elapsed
        } else {
            Seen::Unchanged
        }
    }

    /// When to look again.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        let pace = if now.since(self.started) < EAGER { EAGER_POLL } else { POLL };
        (now + pace).min(self.until.max(now))
    }
}
