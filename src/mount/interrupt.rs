//! Signals that ask the helper to stop.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::daemon::Stop;

/// SIGTERM, SIGINT and SIGHUP, turned into a wish to stop.
#[derive(Debug)]
pub struct Interrupt {
    stop: Stop,
}

impl Interrupt {
    /// From here on these signals do no more than that; call it before any other thread exists.
    pub fn catch() -> io::Result<Self> {
        let signals: SigSet =
            [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        signals.thread_block()?;
        let stop = Stop::new()?;
        let raised = stop.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
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
