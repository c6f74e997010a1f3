//! The kernel's clocks, and waiting that can be cut short.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};

use super::wake::{Bell, wait_for};
use crate::protocol::{Instant, Now};

fn read_clock(clock: ClockId) -> u128 {
    // Linux has had both clocks since 2.6.39; with a valid number the call cannot fail.
    let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    time.as_nanos()
}

/// The time by the clock that decides (`CLOCK_BOOTTIME`) and by the one for people.
pub fn now() -> Now {
    let instant = u64::try_from(read_clock(ClockId::CLOCK_BOOTTIME)).unwrap_or(u64::MAX);
    let wall = read_clock(ClockId::CLOCK_REALTIME) / 1_000_000_000;
    Now { instant: Instant(instant), wall: u64::try_from(wall).unwrap_or(u64::MAX) }
}

/// How long this machine has run (`CLOCK_MONOTONIC`), without the time it was suspended: in that no
/// kernel writes either.
pub fn uptime() -> Duration {
    Duration::from_nanos(u64::try_from(read_clock(ClockId::CLOCK_MONOTONIC)).unwrap_or(u64::MAX))
}

/// The wish to stop, shared by all threads. Once raised it stays.
#[derive(Clone, Debug)]
pub struct Stop(Arc<(AtomicBool, Bell)>);

impl Stop {
    /// A wish not yet made.
    pub fn new() -> io::Result<Self> {
        Ok(Stop(Arc::new((AtomicBool::new(false), Bell::new()?))))
    }

    /// Wakes everybody who waits on it.
    pub fn raise(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.ring();
    }

    /// Whether it was raised.
    fn is_raised(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Timer,
    Stop,
}

/// A descriptor that is readable from a time of `CLOCK_BOOTTIME` on; time the machine was suspended
/// counts.
#[derive(Debug)]
pub(crate) struct Timer(TimerFd);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Timer(TimerFd::new(TimerClock::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC)?))
    }

    /// Sets the time, in place of the one before.
    pub(crate) fn arm(&self, until: Instant) -> io::Result<()> {
        // Zero would disarm the timer.
        let at = TimeSpec::from_duration(std::time::Duration::from_nanos(until.0.max(1)));
        Ok(self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until a time of `CLOCK_BOOTTIME`; time the machine was suspended counts.
#[derive(Debug)]
pub struct Sleeper {
    timer: Timer,
    stop: Stop,
}

impl Sleeper {
    /// A sleeper that `stop` cuts short.
    pub fn new(stop: &Stop) -> io::Result<Self> {
        Ok(Sleeper { timer: Timer::new()?, stop: stop.clone() })
    }

    /// Another sleeper that the same stop cuts short.
    pub fn again(&self) -> io::Result<Self> {
        Self::new(&self.stop)
    }

    /// Whether the stop was raised.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_raised()
    }

    /// Waits until `until`; with `heed_stop`, at most until the stop is raised.
    pub(crate) fn wait(&self, until: Instant, heed_stop: bool) -> io::Result<Woken> {
        self.timer.arm(until)?;
        let mut fds = [
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.0.1.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            let watched = if heed_stop { &mut fds[..] } else { &mut fds[..1] };
            wait_for(watched, PollTimeout::NONE)?;
            if heed_stop && self.stop.is_raised() {
                return Ok(Woken::Stop);
            }
            if now().instant >= until {
                return Ok(Woken::Timer);
            }
        }
    }
}
