//! The sanity check of a machine: looks at all its file systems side by side and judges what it
//! sees. Reads only.
//!
//! A device in use is told by the first change of its block, one left by a crash only after the
//! guard interval; so that is how long it takes. A device that does not answer holds up nobody: it
//! is named.

mod finding;
mod look;
#[cfg(test)]
mod tests;

pub use finding::{Finding, KINDS, Kind, Severity};
pub use look::{Limits, look_at_all};

use std::path::PathBuf;

use crate::device::{KernelWriter, MountPoint};
use crate::layout::{MmpArea, MmpBlock, Superblock};
use crate::protocol::{Mounted, Verdict};
use crate::report::verdict_word;

/// How far the look at a device got.
#[derive(Clone, Debug)]
pub enum State {
    /// It did not answer.
    Hung,
    /// It could not be looked at, or is damaged; why, in a sentence.
    Error {
        /// Whether reading it failed.
        unreadable: bool,
        /// The sentence, which names the device.
        message: String,
    },
    /// A file system without MMP.
    NoMmp,
    /// Not clean, and the time was over before it was known whether somebody uses it.
    Active(MmpBlock),
    /// The verdict of a check.
    Verdict(Verdict),
}

impl State {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            State::Hung => "hung",
            State::Error { unreadable: true, .. } => "unreadable",
            State::Error { unreadable: false, .. } => "error",
            State::NoMmp => "no mmp",
            State::Active(_) => "active",
            State::Verdict(verdict) => verdict_word(verdict),
        }
    }

    /// The MMP block as last read, if it is one.
    pub fn block(&self) -> Option<&MmpBlock> {
        match self {
            State::Active(block) => Some(block),
            State::Verdict(Verdict::Invalid { .. }) => None,
            State::Verdict(verdict) => verdict.block(),
            State::Hung | State::Error { .. } | State::NoMmp => None,
        }
    }
}

/// What is known of a file system besides its MMP block.
#[derive(Clone, Debug)]
pub struct FileSystem {
    /// Its superblock.
    pub superblock: Superblock,
    /// Where its MMP block is, if it has one.
    pub area: Option<MmpArea>,
    /// The kernel's name of the device.
    pub kernel_name: String,
    /// Whether the kernel lets nobody write the device.
    pub read_only: bool,
    /// Where it is mounted in this mount namespace, and was all the time.
    pub mounts: Vec<MountPoint>,
    /// What the kernel's own writer of its MMP block did all the time.
    pub writer: KernelWriter,
}

impl FileSystem {
    /// How it is mounted here, for all that can be seen: a Lustre target's mount, and one in another
    /// mount namespace, show by the kernel's writer alone.
    pub fn mounted(&self) -> Mounted {
        let written = matches!(self.writer, KernelWriter::Running | KernelWriter::Frozen);
        match self.mounts.as_slice() {
            mounts if written || mounts.iter().any(|mount| !mount.read_only) => Mounted::ReadWrite,
            [] => Mounted::No,
            mounts if mounts.iter().any(|mount| mount.emergency) => Mounted::Emergency,
            _ => Mounted::ReadOnly,
        }
    }
}

/// A device with a file system, or one of which that could not be told.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The device.
    pub path: PathBuf,
    /// What was learnt of the file system.
    pub filesystem: Option<FileSystem>,
    /// How far the look got.
    pub state: State,
    /// What is wrong.
    pub findings: Vec<Finding>,
}
