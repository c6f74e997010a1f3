//! Signals: as something to wait for among other things, as a wish to stop, or held back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::clock::Stop;

/// The signals that ask a program to end.
pub const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// A thread that waits for a signal needs little.
const STACK: usize = 64 * 1024;

/// From here on these signals do nothing, in this thread and those that it starts.
pub fn hold_back(signals: &[Signal]) -> io::Result<()> {
    let mask: SigSet = signals.iter().copied().collect();
    Ok(mask.thread_block()?)
}

/// Signals that come as something to read.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// From here on these signals come only so; call it before any other thread exists.
    pub(super) fn take(mask: &SigSet) -> io::Result<Self> {
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(SignalFd::with_flags(mask, flags)?))
    }

    /// The next that has come. Real-time signals, which come to who takes all, mean nothing here.
    pub(super) fn next(&self) -> io::Result<Option<Signal>> {
        while let Some(came) = self.0.read_signal()? {
            let number = i32::try_from(came.ssi_signo).unwrap_or_default();
            if let Ok(signal) = Signal::try_from(number) {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The signals that ask a program to end, turned into a wish to stop that only waiting heeds.
#[derive(Debug)]
pub struct Interrupt {
    stop: Stop,
}

impl Interrupt {
    /// From here on these signals do no more than that; call it before any other thread exists.
    pub fn catch() -> io::Result<Self> {
        let signals: SigSet = ENDING.into_iter().collect();
        signals.thread_block()?;
        let stop = Stop::new()?;
        let raised = stop.clone();
        let thread = thread::Builder::new().name("signals".to_owned()).stack_size(STACK);
        thread.spawn(move || {
            while signals.wait().is_ok() {
                raised.raise();
            }
        })?;
        Ok(Interrupt { stop })
    }

    /// The wish to stop.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}
