//! The commands for a loss, run by shells that were started beforehand.
//!
//! When a device is lost, disks may not answer, and this process cannot fork: its memory is locked.
//! A shell that waits in `read` needs neither of us. What the command itself calls should not lie on
//! a disk that can be lost.

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::daemon::child::Launch;

/// Reads "number reason", and runs its first argument with the device of that number.
const SCRIPT: &str = "while read -r n MMP_REASON; do eval \"MMP_DEVICE=\\${$n}\"; \
                      export MMP_DEVICE MMP_REASON; (eval \"$1\") </dev/null & done; wait";
/// The argument after which the devices come.
const BEFORE: usize = 2;

/// A shell that waits for losses.
#[derive(Debug)]
pub struct OnLoss(PipeWriter);

impl OnLoss {
    /// Starts a shell that will run `command` for any of `devices`.
    pub fn start(command: &OsStr, devices: &[PathBuf]) -> io::Result<Self> {
        let (heard, told) = io::pipe()?;
        fcntl(&told, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut arguments: Vec<OsString> = ["sh", "-c", SCRIPT, "sh"].map(Into::into).into();
        arguments.push(command.to_owned());
        arguments.extend(devices.iter().map(OsString::from));
        let program = Some(OsStr::new("/bin/sh"));
        let descriptors = vec![(heard.as_fd(), 0)];
        Launch { program, arguments, descriptors, ..Launch::default() }.start()?;
        Ok(OnLoss(told))
    }

    /// Has the command run for the device at `index`, without waiting for it. The reason is one
    /// line.
    pub fn run(&mut self, index: usize, reason: &str) -> io::Result<()> {
        self.0.write_all(format!("{} {reason}\n", index + BEFORE).as_bytes())
    }
}
