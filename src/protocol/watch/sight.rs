//! What a sentinel is told, and what it answers.

use super::alarm::Change;
use crate::layout::Invalid;
use crate::protocol::Instant;
use crate::protocol::look::ReadResult;

/// How the file system on a device is mounted on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounted {
    /// Not, as far as is known.
    #[default]
    No,
    /// Read-only: nobody here writes the block.
    ReadOnly,
    /// Read-write.
    ReadWrite,
    /// Was mounted read-write, and made read-only by the kernel after an error or in an emergency.
    Emergency,
}

/// What the kernel thread does that writes the block while a file system is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kmmpd {
    /// It cannot be seen.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It sleeps until its next write, or writes.
    Running,
    /// It waits for the file system to be thawed.
    Frozen,
}

/// What is known of a device on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// How it is mounted.
    pub mounted: Mounted,
    /// Its writer.
    pub kmmpd: Kmmpd,
}

/// Something a sentinel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A look at the block ended.
    Read {
        /// When it was handed to the device: what it returned may be as old as this.
        submitted: Instant,
        /// What it returned.
        result: ReadResult,
    },
    /// A look that was handed to the device at this time has not ended yet.
    Waiting(Instant),
    /// The superblock's update interval, seconds, told again whenever it was read.
    UpdateInterval(u16),
    /// What is known on this machine, told again whenever it was looked at.
    Local(Local),
}

/// What a sentinel answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Alarms that begin or end.
    pub changes: Vec<Change>,
    /// When to look next, unless a look is under way.
    pub look: Instant,
}

/// What a device is seen to be in, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not read yet.
    Unread,
    /// Left in order.
    Clean,
    /// Somebody's sequence, not yet watched for long enough to say more.
    Active,
    /// Somebody rewrites it.
    InUse,
    /// Somebody's sequence, and nobody rewrites it.
    Stale,
    /// e2fsck has it, or had it when it was killed.
    Fsck,
    /// A sequence no known program writes.
    Unknown,
    /// No valid block.
    Invalid(Invalid),
    /// The device fails or does not answer.
    Unreadable,
}
