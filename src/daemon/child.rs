//! The command that runs while devices are held, and the one for a loss.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// A program to start.
#[derive(Debug, Default)]
pub struct Launch<'a> {
    /// The file, if it is not the first of the arguments.
    pub program: Option<&'a OsStr>,
    /// The arguments, from the program's name on.
    pub arguments: Vec<OsString>,
    /// Added to the environment.
    pub variables: Vec<(&'a str, &'a OsStr)>,
    /// Descriptors of ours under the numbers it has them by.
    pub descriptors: Vec<(BorrowedFd<'a>, RawFd)>,
}

impl Launch<'_> {
    /// Starts it in a process group of its own.
    ///
    /// Not by the standard library, which hands down our blocked signals: the command would be deaf
    /// to the SIGTERM that ends it.
    pub fn start(&self) -> io::Result<Pid> {
        let text = |text: &OsStr| CString::new(text.as_bytes());
        let arguments: Vec<CString> =
            self.arguments.iter().map(|a| text(a)).collect::<Result<_, _>>()?;
        let program = match self.program {
            Some(program) => text(program)?,
            None => arguments.first().ok_or(io::ErrorKind::InvalidInput)?.clone(),
        };
        let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        environment.extend(self.variables.iter().map(|(name, value)| (name.into(), value.into())));
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
        // Ignored here, the first of them in every Rust program.
        let ignored = [Signal::SIGPIPE, Signal::SIGXFSZ].into_iter().collect();
        attributes.set_sigdefault(&ignored)?;
        let mut actions = PosixSpawnFileActions::init()?;
        for (ours, theirs) in &self.descriptors {
            actions.add_dup2(ours.as_raw_fd(), *theirs)?;
        }
        Ok(posix_spawnp(&program, &actions, &attributes, &arguments, &environment)?)
    }
}

/// A command in a process group of its own, so that all it starts can be reached.
#[derive(Debug)]
pub struct Child {
    /// The command's process, and its group's leader.
    group: Pid,
    /// Who had the terminal, if it has been handed to the command.
    terminal: Option<Pid>,
}

impl Child {
    /// Starts it. Where we own the terminal, the command gets it.
    pub fn start(command: &[OsString]) -> io::Result<Self> {
        Self::start_for(getpgrp(), command)
    }

    /// The same where another process group may own the terminal, for which the command runs.
    pub fn start_for(owner: Pid, command: &[OsString]) -> io::Result<Self> {
        let group = Launch { arguments: command.to_vec(), ..Launch::default() }.start()?;
        let stdin = io::stdin();
        let handed = tcgetpgrp(&stdin) == Ok(owner) && tcsetpgrp(&stdin, group).is_ok();
        let child = Child { group, terminal: handed.then_some(owner) };
        if handed {
            // It may have been stopped for reading before the terminal was its own.
            child.signal(Signal::SIGCONT);
        }
        Ok(child)
    }

    /// The process group's number.
    pub fn group(&self) -> Pid {
        self.group
    }

    /// Whether the terminal was handed to it.
    pub(super) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Whether no process of the group is left.
    pub fn is_gone(&self) -> bool {
        kill(Pid::from_raw(-self.group.as_raw()), None) == Err(Errno::ESRCH)
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        // Fails when the group is gone, which is what a signal would have been for.
        let _ = kill(Pid::from_raw(-self.group.as_raw()), signal);
    }

    /// The exit code as a shell gives it, 128+N for signal N, once the command has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<u8>> {
        Ok(self.ended(waitpid(self.group, Some(WaitPidFlag::WNOHANG))?))
    }

    /// The same from the status of the command's process.
    pub(super) fn ended(&mut self, status: WaitStatus) -> Option<u8> {
        let code = match status {
            WaitStatus::Exited(_, code) => code,
            WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
            _ => return None,
        };
        if let Some(owner) = self.terminal.take() {
            let _ = tcsetpgrp(io::stdin(), owner);
        }
        Some(u8::try_from(code).unwrap_or(u8::MAX))
    }
}
