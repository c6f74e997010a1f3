//! Stopping a target: unmounted, and seen to be clean.

use std::io;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::processes::signal_users;
use super::{LEAVE, Target};
use crate::daemon::now;
use crate::device::{DeviceError, MmpDevice, Plain, Reader, shown};
use crate::layout::{MmpBlock, Sequence};
use crate::report::{Holder, complain};

const UMOUNT: &str = "/bin/umount";
/// How often what is in the way is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often users of the file system are asked to leave before they are killed.
const ASKED: u32 = 3;

/// How a target is to be stopped.
#[derive(Clone, Debug)]
pub struct StopRequest {
    /// The time it has.
    pub timeout: Duration,
    /// Leave processes alone that use the file system.
    pub keep_users: bool,
    /// Whose name stands before messages.
    pub program: &'static str,
}

/// Why a target could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// It is still mounted.
    #[error("{dir}: cannot be unmounted ({users} processes use it); see 'fuser -vm {dir}'")]
    StillMounted {
        /// The directory, safe to print.
        dir: String,
        /// How many processes were found to use it.
        users: usize,
    },
    /// The kernel does not tell what is mounted.
    #[error("{dir}: cannot tell whether it is mounted: {}", Plain(.why))]
    CannotTell {
        /// The directory, safe to print.
        dir: String,
        /// Why not.
        why: io::Error,
    },
    /// umount(8) could not be run.
    #[error("cannot run umount: {}", Plain(.0))]
    CannotRun(io::Error),
    /// It was unmounted here and its block still says that this machine uses it.
    #[error(
        "{device}: unmounted, but its MMP block is still by {}: it may be mounted in another \
         mount namespace of this machine; see 'grep {device} /proc/*/mountinfo'", Holder(.block)
    )]
    NotReleased {
        /// The device, safe to print.
        device: String,
        /// The block as last read.
        block: MmpBlock,
    },
}

/// Unmounts a target, if it is mounted, and sees that its block is clean, or somebody else's by
/// now; tells whether it had to.
pub fn stop(target: &Target, stop: &StopRequest) -> Result<bool, StopError> {
    let end = now().instant + stop.timeout.saturating_sub(LEAVE);
    let mut tries = 0;
    let cannot_tell = |why| StopError::CannotTell { dir: shown(&target.dir).to_string(), why };
    while let Some(mount) = target.mounted().map_err(cannot_tell)? {
        let status = Command::new(UMOUNT).arg("--").arg(&mount.dir).status();
        if status.map_err(StopError::CannotRun)?.success() {
            tries = 1;
            continue;
        }
        tries += 1;
        let signal = match tries {
            _ if stop.keep_users => None,
            1..=ASKED => Some(Signal::SIGTERM),
            _ => Some(Signal::SIGKILL),
        };
        let users = signal_users(&mount.dir, signal);
        if now().instant + PAUSE > end {
            return Err(StopError::StillMounted { dir: shown(&mount.dir).to_string(), users });
        }
        if let (Some(signal), 1..) = (signal, users) {
            let dir = shown(&mount.dir);
            complain(stop.program, format!("{dir}: in use; {signal} sent to {users} processes"));
        }
        sleep(PAUSE);
    }
    if tries == 0 {
        return Ok(false);
    }
    loop {
        match left_behind(target) {
            Ok(Some(block)) if now().instant + PAUSE > end => {
                let device = shown(&target.device).to_string();
                return Err(StopError::NotReleased { device, block });
            }
            Ok(Some(_)) => sleep(PAUSE),
            Ok(None) => return Ok(true),
            Err(error) => {
                // What is unmounted is not written: a device that is gone is no reason to fence.
                complain(stop.program, format!("unmounted, but not seen to be clean: {error}"));
                return Ok(true);
            }
        }
    }
}

/// The block, where it still says that this machine has the file system.
fn left_behind(target: &Target) -> Result<Option<MmpBlock>, DeviceError> {
    let path = target.path()?;
    let mut device = match MmpDevice::new(Reader::open(&path)?) {
        Err(error) if error.is_no_mmp() => return Ok(None),
        device => device?,
    };
    let block = device.block()?;
    let ours = matches!(block.sequence(), Sequence::Active(_)) && block.is_by(&target.names(&path));
    Ok(ours.then_some(block))
}
