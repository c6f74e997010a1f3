//! What the service manager is told, where there is one.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::protocol::Instant;

/// systemd's notification socket; without one, every call does nothing.
#[derive(Debug)]
pub struct ServiceManager {
    /// How often to show that we live: half of `WatchdogSec=`.
    every: Option<Duration>,
    due: Instant,
}

impl ServiceManager {
    /// Looks at the environment that systemd set.
    pub fn new(now: Instant) -> Self {
        let every = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
        ServiceManager { every, due: now }
    }

    /// `READY=1`.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// `STATUS=`.
    pub fn status(&self, text: &str) {
        tell(&[NotifyState::Status(text)]);
    }

    /// `STOPPING=1`.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// `WATCHDOG=1` when it is due; tells when it is due next.
    pub fn alive(&mut self, now: Instant) -> Option<Instant> {
        let every = self.every?;
        if now >= self.due {
            tell(&[NotifyState::Watchdog]);
            self.due = now + every;
        }
        Some(self.due)
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // A service manager that does not listen must not stop the heartbeat.
    let _ = sd_notify::notify(states);
}
