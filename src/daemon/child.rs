//! The command that runs while devices are held, and the one for a loss.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// Starts a command in a process group of its own, with `variables` added to the environment.
///
/// Not by the standard library, which hands down our blocked signals: the command would be deaf
/// to the SIGTERM that ends it.
pub fn spawn(command: &[OsString], variables: &[(&str, &OsStr)]) -> io::Result<Pid> {
    let arguments: Vec<CString> =
        command.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<_, _>>()?;
    let program = arguments.first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    environment.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
    let environment: Vec<CString> = environment
        .into_iter()
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_, _>>()?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    // Ignored in every Rust program.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    let actions = PosixSpawnFileActions::init()?;
    Ok(posix_spawnp(program, &actions, &attributes, &arguments, &environment)?)
}

/// A command in a process group of its own, so that all it starts can be reached.
#[derive(Debug)]
pub struct Child {
    /// The command's process, and its group's leader.
    group: Pid,
    /// Whether the terminal was ours and has been handed to the command.
    has_terminal: bool,
}

impl Child {
    /// Starts it. Where we own the terminal, the command gets it.
    pub fn start(command: &[OsString]) -> io::Result<Self> {
        let group = spawn(command, &[])?;
        let stdin = io::stdin();
        let has_terminal = tcgetpgrp(&stdin) == Ok(getpgrp()) && tcsetpgrp(&stdin, group).is_ok();
        let child = Child { group, has_terminal };
        if has_terminal {
            // It may have been stopped for reading before the terminal was its own.
            child.signal(Signal::SIGCONT);
        }
        Ok(child)
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        // Fails when the group is gone, which is what a signal would have been for.
        let _ = kill(Pid::from_raw(-self.group.as_raw()), signal);
    }

    /// The exit code as a shell gives it, 128+N for signal N, once the command has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<u8>> {
        let code = match waitpid(self.group, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => code,
            WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
            _ => return Ok(None),
        };
        if self.has_terminal {
            self.has_terminal = false;
            let _ = tcsetpgrp(io::stdin(), getpgrp());
        }
        Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)))
    }
}
