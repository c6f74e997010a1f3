//! The rules of multiple-mount protection, as state machines.
//!
//! A machine gets an [`Event`] and the time and answers with one [`Action`]: read the block, write
//! it, wait, or be done. Whoever drives it carries the action out and reports back. Nothing in
//! here does I/O, looks at a clock or draws a random number: those are arguments, so that the code
//! that guards real disks is the code that tests and models run, in virtual time.
//!
//! | machine | what it settles | can it write? |
//! | --- | --- | --- |
//! | [`Check`] | may this be mounted? | no, by its type |
//! | [`Still`] | does anybody write the block, whatever it says? | no, by its type |
//! | [`Claim`] | become the holder, or learn who is | yes |
//! | [`Hold`] | stay the holder, release, notice a loss | yes |
//! | [`Handover`] | give a device to a mount by the kernel | yes |
//! | [`Lookout`] | is a device in use that the kernel waits for? | no, by its type |
//! | [`Confirm`] | is the kernel that mounted it the only writer? | no, by its type |
//! | [`Sentinel`] | what goes wrong on a device that somebody else holds? | no, by its type |
//! | [`PulseWatch`] | does the heartbeat of a mount here advance, and is it ours? | no, by its type |

mod check;
mod claim;
mod handover;
mod hold;
mod ladder;
mod look;
mod pulse;
mod still;
mod time;
mod timing;
mod watch;

pub use check::{Check, Verdict};
pub use claim::{Claim, ClaimOutcome, ClaimRequest, Claimed, Refusal};
pub use handover::{
    Confirm, Confirmation, Handed, Handover, HandoverMode, HandoverOutcome, Lookout, LookoutOutcome,
};
pub use hold::{Hold, HoldOutcome, HoldRequest, Loss, Notice};
pub use ladder::{FEED, FENCE_DELAY, Ladder, Rung, WATCHDOG};
pub use look::{ReadError, ReadResult};
pub use pulse::{Beat, Pulse, PulseRequest, PulseWatch};
pub use still::{FSCK_SILENT, Still, Stillness};
pub use time::{Instant, Now};
pub use timing::{
    DEFAULT_CHECK_INTERVAL, MAX_CHECK_INTERVAL, POLL, READ_RETRIES, SETTLE, effective_interval,
    guard_interval, lease_interval,
};
pub use watch::{
    Alarm, Cause, Change, Cleaned, Condition, Kmmpd, Local, Mounted, Reaction, Sentinel, Sight,
};

use nix::errno::Errno;

use crate::layout::MmpBlock;

/// An operating system's error number, as I/O reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IoFault(pub i32);

impl std::fmt::Display for IoFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errno = Errno::from_raw(self.0);
        f.write_str(errno.desc())?;
        f.write_str(match errno {
            Errno::ENODEV | Errno::ENXIO | Errno::ENOENT => ", it is gone from this machine",
            _ => "",
        })
    }
}

/// What happened, told to a machine together with the time at which it was known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin; the first event of every machine, once.
    Begin,
    /// A read ended.
    Read {
        /// When the read was handed to the device: what it returned may be as old as this.
        submitted: Instant,
        /// What it returned.
        result: ReadResult,
    },
    /// A write ended.
    Wrote {
        /// When the write was handed to the device: it may have landed as early as this.
        submitted: Instant,
        /// Whether the device took it.
        result: Result<(), IoFault>,
    },
    /// The time waited for has come.
    Timer,
    /// The user wants to stop. Told in place of [`Event::Timer`], never during I/O.
    Stop,
}

/// What to do next; a machine has at most one thing under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<W, O> {
    /// Read the block, not from any cache.
    Read,
    /// Write the block.
    Write(W),
    /// Wait until then, or until told to stop.
    Wait(Instant),
    /// The matter is settled. The machine must not be asked again.
    Done(O),
}

/// A write of the MMP block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// What to write.
    pub block: MmpBlock,
    /// Whether the device's own cache must be flushed after it.
    pub flush: bool,
}

/// The type of writes of a machine that never writes.
pub type NeverWrites = std::convert::Infallible;

/// A set of rules that settles one question.
pub trait Machine {
    /// [`Write`], or [`NeverWrites`].
    type Write;
    /// What it settles.
    type Outcome;

    /// Takes an event and tells what to do next.
    fn on(&mut self, event: Event, now: Now) -> Action<Self::Write, Self::Outcome>;

    /// What a waiting user should be told.
    fn phase(&self) -> Phase<'_>;
}

/// What a machine is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase<'a> {
    /// Has not read the block yet.
    Reading,
    /// Watches whether somebody else advances the block.
    Watching {
        /// When the answer is due if nothing changes.
        until: Instant,
        /// The block as last seen.
        seen: &'a MmpBlock,
        /// Whether it was seen to change.
        in_use: bool,
    },
    /// Has written its claim, and watches whether it stays.
    Verifying {
        /// When the claim stands if nothing changes.
        until: Instant,
    },
    /// Holds the block.
    Holding {
        /// The sequence last written.
        block: &'a MmpBlock,
        /// When the lease runs out if no write succeeds before.
        lease: Instant,
    },
    /// Puts things back before it ends.
    Leaving,
}
