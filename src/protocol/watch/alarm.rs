//! What a sentinel can be alarmed by.

use std::time::Duration;

use crate::layout::{Invalid, MmpBlock};
use crate::protocol::IoFault;

/// A kind of alarm. Each is raised once, and cleared once when its cause is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Two write the block in turns.
    SecondWriter,
    /// The sequence went back, once.
    SequenceBack,
    /// The holder is silent: first for longer than it said it could be, then for longer than others
    /// wait.
    Stalled,
    /// The file system is mounted here, and frozen: nobody writes its block.
    Frozen,
    /// The file system is mounted here, and its block says that nobody uses it.
    CleanWhileMounted,
    /// The file system is mounted here, and another node holds its block.
    ForeignHolder,
    /// The block says that e2fsck has the device, and no e2fsck gives a sign of life.
    FsckDead,
    /// e2fsck has the device, and lives.
    FsckAlive,
    /// The clocks of the holder and of this machine differ.
    ClockSkew,
    /// The block's checksum is wrong.
    BadChecksum,
    /// There is no MMP block where one should be.
    BadMagic,
    /// The device fails, is gone, or does not answer.
    Unreadable,
}

impl Alarm {
    /// All of them, worst first.
    pub const ALL: [Alarm; 12] = [
        Alarm::SecondWriter,
        Alarm::CleanWhileMounted,
        Alarm::ForeignHolder,
        Alarm::Frozen,
        Alarm::SequenceBack,
        Alarm::Stalled,
        Alarm::BadChecksum,
        Alarm::BadMagic,
        Alarm::Unreadable,
        Alarm::FsckDead,
        Alarm::FsckAlive,
        Alarm::ClockSkew,
    ];

    /// The name that programs and metrics know it by; it does not change.
    pub fn name(self) -> &'static str {
        match self {
            Alarm::SecondWriter => "second-writer",
            Alarm::SequenceBack => "sequence-back",
            Alarm::Stalled => "stalled",
            Alarm::Frozen => "frozen",
            Alarm::CleanWhileMounted => "clean-while-mounted",
            Alarm::ForeignHolder => "foreign-holder",
            Alarm::FsckDead => "fsck-dead",
            Alarm::FsckAlive => "fsck-alive",
            Alarm::ClockSkew => "clock-skew",
            Alarm::BadChecksum => "bad-checksum",
            Alarm::BadMagic => "bad-magic",
            Alarm::Unreadable => "unreadable",
        }
    }
}

/// What was seen that raised an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// One writer went on after the other had begun.
    SecondWriter {
        /// What stood there before.
        one: MmpBlock,
        /// What stands there now.
        other: MmpBlock,
    },
    /// The sequence went back under the same names.
    SequenceBack {
        /// What stood there before.
        from: MmpBlock,
        /// What stands there now.
        to: MmpBlock,
    },
    /// The block does not change.
    Stalled {
        /// The block as it stands.
        block: MmpBlock,
        /// For how long it has been seen not to change.
        silent: Duration,
        /// Whether that is longer than others wait before they take the device.
        beyond_guard: bool,
        /// Whether the holder was seen alive before.
        was_alive: bool,
    },
    /// Nothing is written, and the kernel's writer waits for a thaw.
    Frozen {
        /// The block as it stands.
        block: MmpBlock,
        /// For how long it has been seen not to change.
        silent: Duration,
        /// Whether the kernel's writer was seen to wait; else it is concluded from the silence.
        seen: bool,
    },
    /// The block says clean.
    CleanWhileMounted {
        /// The block that says so.
        block: MmpBlock,
        /// What happened, as far as it shows.
        how: Cleaned,
    },
    /// The block names another node.
    ForeignHolder {
        /// The block as it stands.
        block: MmpBlock,
    },
    /// No sign of life from e2fsck.
    FsckDead {
        /// The block as it stands.
        block: MmpBlock,
        /// For how long it has been seen not to change.
        silent: Duration,
    },
    /// e2fsck renewed the block.
    FsckAlive {
        /// The block as it stands.
        block: MmpBlock,
    },
    /// The time in a fresh block is not ours.
    ClockSkew {
        /// The block.
        block: MmpBlock,
        /// Its time less ours, seconds.
        ahead: i64,
    },
    /// What stands there is no valid block.
    Invalid {
        /// What stands there.
        block: MmpBlock,
        /// What is wrong with it.
        why: Invalid,
    },
    /// Reading fails.
    Unreadable(IoFault),
    /// Reading does not end.
    Hung {
        /// For how long.
        since: Duration,
    },
}

/// How the block of a mounted file system came to say clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// The kernel here has made the file system read-only, after an error or in an emergency.
    Emergency,
    /// Somebody else wrote it, and the holder has gone on since.
    WrittenOver,
    /// It stands there, and the holder has not gone on.
    Stands,
}

impl Cause {
    /// The alarm it raises.
    pub fn alarm(&self) -> Alarm {
        match self {
            Cause::SecondWriter { .. } => Alarm::SecondWriter,
            Cause::SequenceBack { .. } => Alarm::SequenceBack,
            Cause::Stalled { .. } => Alarm::Stalled,
            Cause::Frozen { .. } => Alarm::Frozen,
            Cause::CleanWhileMounted { .. } => Alarm::CleanWhileMounted,
            Cause::ForeignHolder { .. } => Alarm::ForeignHolder,
            Cause::FsckDead { .. } => Alarm::FsckDead,
            Cause::FsckAlive { .. } => Alarm::FsckAlive,
            Cause::ClockSkew { .. } => Alarm::ClockSkew,
            Cause::Invalid { why: Invalid::Checksum { .. }, .. } => Alarm::BadChecksum,
            Cause::Invalid { why: Invalid::Magic { .. }, .. } => Alarm::BadMagic,
            Cause::Unreadable(_) | Cause::Hung { .. } => Alarm::Unreadable,
        }
    }

    /// Whether it is told although an alarm of its kind is raised already: a holder that is silent
    /// beyond the guard interval, of which so far only its own interval was over.
    pub(super) fn worsens(&self, raised: &Cause) -> bool {
        matches!(
            (raised, self),
            (Cause::Stalled { beyond_guard: false, .. }, Cause::Stalled { beyond_guard: true, .. })
        )
    }
}

/// An alarm begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins; or, of [`Alarm::Stalled`], it gets worse.
    Raised(Cause),
    /// Its cause is gone.
    Cleared(Alarm),
}
