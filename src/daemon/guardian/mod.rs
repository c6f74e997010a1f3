//! A process that acts on the end of a lease by itself.
//!
//! It is started by the holder before anything else, runs the command, and feeds the watchdog. Four
//! times a second it is told until when the leases last. When they end, or the holder does, it does
//! what [`crate::protocol::Ladder`] says; that the holder is stopped, hangs or was killed changes
//! nothing about it.

mod fence;
mod message;
mod server;

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, getpgrp};

pub use fence::Fence;
pub use message::Message;
pub use server::called;

use super::child::Launch;
use super::realtime::Realtime;

/// The name it is called by.
const NAME: &CStr = c"mmp-guardian";
/// The descriptor it has its end of the line by.
const LINE: i32 = 3;
/// Milliseconds it is given to get ready.
const START: u16 = 10_000;

/// What a guardian is for.
#[derive(Debug)]
pub struct Guard<'a> {
    /// The program it works for, for its messages.
    pub program: &'a str,
    /// How long a command has between being asked to end and being killed.
    pub grace: Duration,
    /// How to fence the node.
    pub fence: Option<&'a Fence>,
    /// The command to run; none where others use the devices.
    pub command: &'a [OsString],
    /// Whether to run in real time.
    pub realtime: Realtime,
}

/// The holder's end of the line to its guardian.
#[derive(Debug)]
pub struct Guardian {
    line: OwnedFd,
    group: Option<Pid>,
}

impl Guardian {
    /// Starts it and waits until it is ready; called before memory is locked.
    pub fn start(guard: &Guard<'_>) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let fence = guard.fence.map(Fence::to_argument).unwrap_or_default();
        let mut arguments: Vec<OsString> = vec![
            NAME.to_string_lossy().into_owned().into(),
            guard.program.into(),
            guard.grace.as_millis().to_string().into(),
            getpgrp().to_string().into(),
            guard.realtime.is_wanted().to_string().into(),
            fence,
        ];
        arguments.extend_from_slice(guard.command);
        let program = Some(OsStr::new("/proc/self/exe"));
        let descriptors = vec![(theirs.as_fd(), LINE)];
        Launch { program, arguments, descriptors, ..Launch::default() }.start()?;
        drop(theirs);
        let guardian = Guardian { line: ours, group: None };
        let mut fds = [PollFd::new(guardian.line.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(START))?;
        match Message::receive(guardian.line.as_fd())? {
            Some(Message::Ready) => Ok(guardian),
            Some(Message::Unable(why)) => Err(io::Error::other(why)),
            _ => Err(io::Error::other("the guardian does not start")),
        }
    }

    /// Tells it something. A guardian that is gone tells by [`Guardian::heard`].
    pub fn tell(&self, message: &Message) {
        let _ = message.send(self.line.as_fd());
    }

    /// What it has told, if anything.
    pub fn heard(&mut self) -> io::Result<Option<Message>> {
        let message = Message::receive(self.line.as_fd())?;
        match &message {
            Some(Message::Started(group)) => self.group = Some(Pid::from_raw(*group)),
            Some(Message::Exited { .. }) => self.group = None,
            // It can no longer do this itself.
            Some(Message::Gone) => self.kill_command(),
            _ => {}
        }
        Ok(message)
    }

    /// Kills the command, whatever the guardian does.
    pub fn kill_command(&mut self) {
        if let Some(group) = self.group.take() {
            // Fails when it is gone, which is what this is for.
            let _ = kill(Pid::from_raw(-group.as_raw()), Signal::SIGKILL);
        }
    }
}

impl AsFd for Guardian {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}
