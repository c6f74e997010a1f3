//! The guardian's own process.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::fence::{Armed, Fence};
use super::message::Message;
use super::{LINE, NAME};
use crate::daemon::child::Child;
use crate::daemon::clock::{Timer, now};
use crate::daemon::log::Log;
use crate::daemon::realtime::{Realtime, Spared};
use crate::daemon::signals::Signals;
use crate::daemon::wake::wait_for;
use crate::device::kernel;
use crate::protocol::{FEED, Instant, Ladder, Rung};
use crate::report::Progress;

/// How often it is looked whether a killed command is gone: one in the middle of I/O dies later.
const REAP: Duration = Duration::from_millis(20);

/// If this process was started as a guardian, does its work; `None` otherwise.
pub fn called() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name.as_bytes() != NAME.to_bytes()) {
        return None;
    }
    // Only what ps(1) shows.
    let _ = set_name(NAME);
    let line = kernel::inherited(LINE).ok()?;
    let served = Server::start(arguments, line).and_then(Server::serve);
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Our children, as the kernel lists them; `None` where it does not.
fn children() -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let list = fs::read_to_string(task.path().join("children")).ok()?;
        children.extend(list.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    Some(children.into_iter().map(Pid::from_raw).collect())
}

struct Server {
    line: OwnedFd,
    log: Log,
    signals: Signals,
    timer: Timer,
    spared: Spared,
    /// The process group that has the terminal while no command runs.
    owner: Pid,
    command: Vec<OsString>,
    child: Option<Child>,
    /// The command's exit code, once it has ended.
    code: Option<u8>,
    ladder: Ladder,
    fence: Option<Armed>,
    feed_at: Instant,
    /// Whether the holder is there and has not said that all is over.
    held_for: bool,
    released: bool,
}

impl Server {
    fn start(mut arguments: impl Iterator<Item = OsString>, line: OwnedFd) -> io::Result<Self> {
        // Whoever signals a whole group means the command; it is told by the holder.
        let signals = Signals::take(&SigSet::all())?;
        let mut next = || arguments.next().map(OsString::into_vec).map(String::from_utf8);
        let mut text = || next()?.ok();
        let (program, grace, owner) = (text(), text(), text());
        let (realtime, fence) = (text(), text());
        let program = match program.as_deref() {
            Some("mmpd") => "mmpd",
            _ => "mmprun",
        };
        let command: Vec<OsString> = arguments.collect();
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let grace = Duration::from_millis(number(grace).ok_or(io::ErrorKind::InvalidInput)?);
        let owner = number(owner).and_then(|owner| i32::try_from(owner).ok()).unwrap_or(0);
        let fence = fence.filter(|fence| !fence.is_empty()).map(|fence| fence.parse::<Fence>());
        let fence = match fence.transpose().and_then(|f| f.as_ref().map(Armed::new).transpose()) {
            Ok(fence) => fence,
            Err(why) => {
                Message::Unable(why.clone()).send(line.as_fd())?;
                return Err(io::Error::other(why));
            }
        };
        // What the command leaves behind is handed to us.
        set_child_subreaper(true)?;
        let spared = Spared::now();
        let log = Log::start(program, Progress::new(false))?;
        // What is refused here was refused to the holder, which tells it.
        let _ = Realtime::new(realtime.as_deref() == Some("true")).prepare();
        Message::Ready.send(line.as_fd())?;
        Ok(Server {
            line,
            log,
            signals,
            timer: Timer::new()?,
            spared,
            owner: Pid::from_raw(owner),
            ladder: Ladder::new(grace, command.is_empty()),
            command,
            child: None,
            code: None,
            fence,
            feed_at: now().instant,
            held_for: true,
            released: false,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            while let Some(message) = self.hear()? {
                self.take(message);
            }
            while self.signals.next()?.is_some() {}
            self.reap();
            self.feed();
            while let Some(rung) = self.ladder.act(now().instant) {
                self.climb(rung);
            }
            if !self.held_for && (self.ladder.is_harmless() || self.released) {
                if let Some(fence) = self.fence.take() {
                    fence.disarm();
                }
                return Ok(());
            }
            // A watchdog is never let go of: the kernel feeds it once more when it is closed.
            let watchdog = matches!(self.fence, Some(Armed::Watchdog(_)));
            let over = self.ladder.is_fenced() && self.child.is_none();
            if !self.held_for && over && !watchdog {
                return Ok(());
            }
            self.sleep()?;
        }
    }

    fn hear(&mut self) -> io::Result<Option<Message>> {
        if self.held_for { Message::receive(self.line.as_fd()) } else { Ok(None) }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Lease(end) => self.ladder.lease(end),
            Message::Start(end) => self.run(end),
            Message::Signal(number) => {
                if let (Some(child), Ok(signal)) = (&self.child, Signal::try_from(number)) {
                    child.signal(signal);
                }
            }
            Message::Lost => self.ladder.lost(now().instant),
            Message::Released => self.released = true,
            Message::Gone => {
                self.held_for = false;
                if !self.released && !self.ladder.is_harmless() {
                    self.log.say("the holder is gone");
                    self.ladder.lost(now().instant);
                }
            }
            _ => {}
        }
    }

    fn tell(&self, message: &Message) {
        // A holder that is stopped or gone need not know.
        let _ = message.send(self.line.as_fd());
    }

    fn run(&mut self, lease: Instant) {
        // A command is not spared when memory runs out.
        self.spared.give_up();
        let started = Child::start_for(self.owner, &self.command);
        self.spared.ask();
        match started {
            Ok(child) => {
                self.tell(&Message::Started(child.group().as_raw()));
                self.child = Some(child);
                self.ladder.started(lease);
            }
            Err(error) => self.tell(&Message::NotStarted(error.raw_os_error().unwrap_or(0))),
        }
    }

    /// The command is over when it has ended by itself, or when it was made to and nothing that it
    /// started is left.
    fn reap(&mut self) {
        let news = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        while let Ok(status) = waitpid(None, Some(news))
            && status != WaitStatus::StillAlive
        {
            let Some(child) = self.child.as_mut().filter(|c| status.pid() == Some(c.group()))
            else {
                continue;
            };
            match status {
                // Nobody could go on from the terminal: its shell waits for a holder that cannot
                // stop, for it would miss its heartbeats.
                WaitStatus::Stopped(_, Signal::SIGTSTP) if child.has_terminal() => {
                    child.signal(Signal::SIGCONT);
                    self.log.say("the command cannot be stopped from the terminal: it goes on");
                }
                WaitStatus::Stopped(group, signal) => self.log.say(format!(
                    "{signal} has stopped the command, and the devices stay held: 'kill -CONT \
                     -{group}' has it go on",
                )),
                _ => self.code = child.ended(status).or(self.code),
            }
        }
        let Some(code) = self.code.filter(|_| self.child.is_some()) else { return };
        let made = self.ladder.is_terminated();
        if made && !self.kill_all() {
            return;
        }
        self.ladder.gone();
        self.child = None;
        self.tell(&Message::Exited { code, made });
    }

    /// Kills the command and all that it has started, also what has left its process group: as that
    /// loses its parent, it becomes a child of ours. True if there was nothing left.
    fn kill_all(&self) -> bool {
        let Some(child) = &self.child else { return true };
        child.signal(Signal::SIGKILL);
        let shell = self.fence.as_ref().and_then(Armed::shell);
        match children() {
            Some(children) => {
                let mut left = 0;
                for process in children.into_iter().filter(|process| Some(*process) != shell) {
                    left += 1;
                    // Fails when it has just ended.
                    let _ = kill(process, Signal::SIGKILL);
                }
                left == 0
            }
            None => child.is_gone(),
        }
    }

    fn feed(&mut self) {
        let instant = now().instant;
        if let Some(fence) = &mut self.fence
            && instant >= self.feed_at
            && self.ladder.is_well(instant)
        {
            fence.feed();
            self.feed_at = instant + FEED;
        }
    }

    fn climb(&mut self, rung: Rung) {
        match (rung, &self.child, &mut self.fence) {
            (Rung::Terminate, Some(child), _) => {
                child.signal(Signal::SIGTERM);
                // A stopped command must be woken to see it.
                child.signal(Signal::SIGCONT);
                self.log.say("a lease is lost or about to end: SIGTERM to the command");
            }
            (Rung::Kill, Some(_), _) => {
                self.kill_all();
                self.log.say("the lease is over: SIGKILL to the command");
            }
            (Rung::Fence, _, Some(fence)) => {
                let set_off = fence.set_off();
                self.log.say(match set_off {
                    Ok(()) => "fencing this node".to_owned(),
                    Err(error) => format!("cannot fence this node: {error}"),
                });
            }
            (Rung::Fence, Some(_), None) => {
                self.log
                    .say("the command does not die; see to it that it does, or reset this node");
            }
            _ => {}
        }
    }

    fn sleep(&self) -> io::Result<()> {
        let instant = now().instant;
        let feed = self.fence.as_ref().filter(|_| self.ladder.is_well(instant));
        let reap = self.child.as_ref().filter(|_| self.ladder.is_terminated());
        let due = self.ladder.due().into_iter();
        let due = due.chain(feed.map(|_| self.feed_at)).chain(reap.map(|_| instant + REAP)).min();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(due) = due {
            self.timer.arm(due)?;
            fds.push(PollFd::new(self.timer.as_fd(), PollFlags::POLLIN));
        }
        if self.held_for {
            fds.push(PollFd::new(self.line.as_fd(), PollFlags::POLLIN));
        }
        wait_for(&mut fds, PollTimeout::NONE)
    }
}
