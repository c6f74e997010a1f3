//! Many holders, one place where things happen one after another.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;

use super::holder::{Holder, HolderOptions};
use super::news::{News, Teller};
use super::pool::Pool;
use super::vital::{Stage, Vital};
use crate::daemon::clock::{Timer, now};
use crate::daemon::guardian::{Guardian, Message};
use crate::daemon::limits::allow_devices;
use crate::daemon::realtime::Realtime;
use crate::daemon::signals::Signals;
use crate::daemon::wake::{Bell, wait_for};
use crate::protocol::Instant;
use crate::report::Progress;

/// How long a program waits at its end for a device that does not answer.
pub const LAST_WAIT: Duration = Duration::from_secs(5);
/// News that may lie unheard; made beforehand, so that telling some allocates nothing.
const NEWS: usize = 256;
/// How often the guardian is told of the leases.
const TELL: Duration = Duration::from_millis(250);
/// At most so long after the first claim the last one begins.
const SPREAD: Duration = Duration::from_secs(1);

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
    /// The guardian has told something.
    Guardian(Message),
    /// The time asked for has come.
    Timer,
}

/// Runs a holder for each device.
#[derive(Debug)]
pub struct Supervisor {
    pool: Pool,
    vitals: Vec<Arc<Vital>>,
    news: Receiver<(usize, News)>,
    wake: Arc<Bell>,
    timer: Timer,
    signals: Signals,
    running: usize,
    guardian: Option<Guardian>,
    /// When the guardian is told of the leases next.
    tell_at: Instant,
}

impl Supervisor {
    /// Starts claiming all devices, one after the other within one interval of heartbeats, so that
    /// these too are spread over it. From here on the given signals come as
    /// [`Happening::Signal`] only; call it before any other thread exists.
    pub fn start(
        devices: &[PathBuf],
        options: HolderOptions,
        signals: &[Signal],
        progress: &Progress,
        realtime: Realtime,
        guardian: Option<Guardian>,
    ) -> io::Result<Self> {
        allow_devices(devices.len());
        let signals = Signals::take(&signals.iter().copied().collect())?;
        let wake = Arc::new(Bell::new()?);
        let (sender, news) = sync_channel(NEWS);
        let pool = Pool::start(devices.len(), realtime)?;
        let first = now().instant;
        let count = u32::try_from(devices.len()).unwrap_or(u32::MAX).max(1);
        let apart = options.interval.min(SPREAD) / count;
        let mut vitals = Vec::with_capacity(devices.len());
        for (place, device) in (0u32..).zip(devices) {
            let index = vitals.len();
            let vital = Arc::new(Vital::default());
            let tell = Teller { index, news: sender.clone(), wake: Arc::clone(&wake) };
            let line = progress.line(device, index);
            let holder = Holder::new(device.clone(), options, Arc::clone(&vital), tell, line);
            vitals.push(vital);
            pool.add(first + apart * place, Box::new(holder));
        }
        let timer = Timer::new()?;
        Ok(Supervisor {
            pool,
            running: vitals.len(),
            vitals,
            news,
            wake,
            timer,
            signals,
            guardian,
            tell_at: first,
        })
    }

    /// How many holders have not ended.
    pub fn running(&self) -> usize {
        self.running
    }

    /// The devices' numbers, in the order of the devices.
    pub fn vitals(&self) -> &[Arc<Vital>] {
        &self.vitals
    }

    /// The guardian, while there is one.
    pub fn guardian(&mut self) -> Option<&mut Guardian> {
        self.guardian.as_mut()
    }

    /// Tells the guardian until when all leases last; nothing once one is lost.
    fn tell_guardian(&mut self, now: Instant) {
        let Some(guardian) = self.guardian.as_ref().filter(|_| self.tell_at <= now) else { return };
        self.tell_at = now + TELL;
        if let Some(end) = self.leases_end() {
            guardian.tell(&Message::Lease(end));
        }
    }

    /// When the first lease of all devices that are held ends; `None` where none is held, or one is
    /// lost.
    pub fn leases_end(&self) -> Option<Instant> {
        let ends = self.vitals.iter().filter_map(|vital| match vital.stage() {
            Stage::Held => Some(vital.lease_end()),
            Stage::Lost => Some(None),
            Stage::Claiming | Stage::Over => None,
        });
        ends.min().flatten()
    }

    /// Asks every holder to release its device.
    pub fn stop(&self) {
        self.pool.stop();
    }

    /// Waits for the next thing to happen, at most until `until`.
    pub fn next(&mut self, until: Option<Instant>) -> io::Result<Happening> {
        loop {
            if let Some(signal) = self.signals.next()? {
                return Ok(Happening::Signal(signal));
            }
            let instant = now().instant;
            for (index, vital) in self.vitals.iter().enumerate() {
                let over = vital.lease_end().filter(|end| *end <= instant);
                if over.is_some_and(|end| vital.lease.revoke(end)) {
                    vital.set_stage(Stage::Lost);
                    return Ok(Happening::Expired(index));
                }
            }
            self.tell_guardian(instant);
            if let Some(message) =
                self.guardian.as_mut().map(Guardian::heard).transpose()?.flatten()
            {
                if message == Message::Gone {
                    self.guardian = None;
                }
                return Ok(Happening::Guardian(message));
            }
            if let Ok((index, news)) = self.news.try_recv() {
                match news {
                    News::Ended(_) => self.running = self.running.saturating_sub(1),
                    News::Held => {
                        // Before anybody begins to rely on it.
                        self.tell_at = instant;
                        self.tell_guardian(instant);
                    }
                    News::Remark(_) | News::Notice(_) => {}
                }
                return Ok(Happening::News(index, news));
            }
            if until.is_some_and(|until| until <= instant) {
                return Ok(Happening::Timer);
            }
            let tell_at = self.guardian.as_ref().map(|_| self.tell_at);
            let ends = self.vitals.iter().filter_map(|vital| vital.lease_end());
            let due = ends.chain(until).chain(tell_at).min();
            self.sleep(due)?;
        }
    }

    fn sleep(&self, until: Option<Instant>) -> io::Result<()> {
        if let Some(until) = until {
            self.timer.arm(until)?;
        }
        // Nothing is allocated here; what there is not is another look at what there is.
        let wake = self.wake.as_fd();
        let timer = until.map_or(wake, |_| self.timer.as_fd());
        let guardian = self.guardian.as_ref().map_or(wake, AsFd::as_fd);
        let mut fds = [self.signals.as_fd(), wake, timer, guardian]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        wait_for(&mut fds, PollTimeout::NONE)?;
        self.wake.quiet()
    }
}
