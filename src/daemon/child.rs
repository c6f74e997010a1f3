//! The command that runs while devices are held.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// A command in a process group of its own, so that all it starts can be reached.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    group: Pid,
    /// Whether the terminal was ours and has been handed to the command.
    has_terminal: bool,
}

impl Child {
    /// Starts it. Where we own the terminal, the command gets it.
    pub fn start(command: &[OsString]) -> io::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let child = Command::new(program).args(arguments).process_group(0).spawn()?;
        let raw = i32::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidData)?;
        let group = Pid::from_raw(raw);
        let stdin = io::stdin();
        let has_terminal = tcgetpgrp(&stdin) == Ok(getpgrp()) && tcsetpgrp(&stdin, group).is_ok();
        if has_terminal {
            // It may have been stopped for reading before the terminal was its own.
            let _ = kill(Pid::from_raw(-raw), Signal::SIGCONT);
        }
        Ok(Child { child, group, has_terminal })
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        // Fails when the group is gone, which is what a signal would have been for.
        let _ = kill(Pid::from_raw(-self.group.as_raw()), signal);
    }

    /// The exit code as a shell gives it, 128+N for signal N, once the command has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<u8>> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(None);
        };
        if self.has_terminal {
            self.has_terminal = false;
            let _ = tcsetpgrp(io::stdin(), getpgrp());
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(Some(u8::try_from(code.unwrap_or(255)).unwrap_or(255)))
    }
}
