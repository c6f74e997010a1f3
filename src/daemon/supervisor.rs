//! Many holders, one place where things happen one after another.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::clock::{Stop, now};
use super::holder::{HolderOptions, Lease, News, hold};
use super::limits::allow_devices;
use crate::protocol::Instant;
use crate::report::{Progress, ProgressLine};

/// A holder needs little: some blocks of 1 KiB on the stack.
const STACK: usize = 256 * 1024;

/// Something the program must react to.
#[derive(Debug)]
pub enum Happening {
    /// A signal came.
    Signal(Signal),
    /// A holder, by its place in the list, has something to tell.
    News(usize, News),
    /// A holder's lease ran out and it has not said so itself: its device does not answer. From
    /// here on it will not write.
    Expired(usize),
    /// The time asked for has come.
    Timer,
}

/// Runs a holder for each device.
#[derive(Debug)]
pub struct Supervisor {
    stop: Stop,
    leases: Vec<Arc<Lease>>,
    news: Receiver<(usize, News)>,
    wake: Arc<EventFd>,
    signals: SignalFd,
    running: usize,
}

impl Supervisor {
    /// Starts claiming all devices at once. From here on the given signals come as
    /// [`Happening::Signal`] only; call it before any other thread exists.
    pub fn start(
        devices: &[PathBuf],
        options: HolderOptions,
        signals: &[Signal],
        progress: &Progress,
    ) -> io::Result<Self> {
        allow_devices(devices.len());
        let mask: SigSet = signals.iter().copied().collect();
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (sender, news) = channel();
        let mut supervisor =
            Supervisor { stop: Stop::new()?, leases: Vec::new(), news, wake, signals, running: 0 };
        for (index, device) in devices.iter().enumerate() {
            let line = progress.line(device, index);
            supervisor.spawn(device.clone(), options, line, sender.clone())?;
        }
        Ok(supervisor)
    }

    fn spawn(
        &mut self,
        device: PathBuf,
        options: HolderOptions,
        line: ProgressLine,
        sender: Sender<(usize, News)>,
    ) -> io::Result<()> {
        let index = self.leases.len();
        let lease = Arc::new(Lease::default());
        let (stop, wake) = (self.stop.clone(), Arc::clone(&self.wake));
        self.leases.push(Arc::clone(&lease));
        thread::Builder::new().name(format!("hold-{index}")).stack_size(STACK).spawn(
            move || {
                let tell = |news| {
                    // Both fail only when nobody listens any more.
                    let _ = sender.send((index, news));
                    let _ = wake.write(1);
                };
                let ending = hold(&device, options, &stop, &lease, line, &tell);
                tell(News::Ended(ending));
            },
        )?;
        self.running += 1;
        Ok(())
    }

    /// How many holders have not ended.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Asks every holder to release its device.
    pub fn stop(&self) {
        self.stop.raise();
    }

    /// Waits for the next thing to happen, at most until `until`.
    pub fn next(&mut self, until: Option<Instant>) -> io::Result<Happening> {
        loop {
            if let Some(signal) = self.signals.read_signal()? {
                let number = i32::try_from(signal.ssi_signo).map_err(|_| Errno::EINVAL)?;
                return Ok(Happening::Signal(Signal::try_from(number)?));
            }
            if let Ok((index, news)) = self.news.try_recv() {
                if matches!(news, News::Ended(_)) {
                    self.running = self.running.saturating_sub(1);
                }
                return Ok(Happening::News(index, news));
            }
            let instant = now().instant;
            let ends = || self.leases.iter().enumerate().filter_map(|(i, l)| Some((i, l.end()?)));
            for (index, end) in ends().filter(|(_, end)| *end <= instant) {
                if self.leases[index].revoke(end) {
                    return Ok(Happening::Expired(index));
                }
            }
            if until.is_some_and(|until| until <= instant) {
                return Ok(Happening::Timer);
            }
            let due = ends().map(|(_, end)| end).chain(until).min();
            self.sleep(due.map(|due| due.since(instant)))?;
        }
    }

    fn sleep(&self, at_most: Option<std::time::Duration>) -> io::Result<()> {
        // Rounded up, and looked at again at least once a minute: the timeout does not count the
        // time the machine is suspended.
        let millis = at_most.map_or(60_000, |d| d.as_millis().saturating_add(1).min(60_000));
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        match self.wake.read() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
