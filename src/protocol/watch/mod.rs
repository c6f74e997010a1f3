//! Watch: what goes wrong on a device that somebody else holds. Reads only.
//!
//! A [`Sentinel`] is told every look at the block and what is known of the device on this machine,
//! and answers with the alarms that begin or end and with when to look again. It never settles
//! anything, and has no way to write.
//!
//! Silence is measured only between looks that succeeded, and starts afresh when the looks were too
//! far apart: a watcher that was itself stopped or suspended blames nobody.

mod alarm;
mod causes;
mod lines;
mod record;
mod sight;

use std::time::Duration;

pub use alarm::{Alarm, Cause, Change, Cleaned};
use record::Record;
pub use sight::{Condition, Kmmpd, Local, Mounted, Reaction, Sight};

use super::{Instant, Now};
use crate::layout::MmpBlock;

/// Watches one device.
#[derive(Clone, Debug)]
pub struct Sentinel {
    record: Record,
    raised: Vec<Cause>,
}

impl Sentinel {
    /// `update_interval` is the superblock's, in seconds; `node` this machine's name.
    pub fn new(update_interval: u16, node: &[u8]) -> Self {
        Sentinel { record: Record::new(update_interval, node), raised: Vec::new() }
    }

    /// Takes what was seen; tells which alarms begin or end.
    pub fn on(&mut self, sight: Sight, now: Now) -> Reaction {
        self.record.take(sight, now);
        Reaction { changes: self.compare(now.instant), look: self.record.next }
    }

    fn compare(&mut self, now: Instant) -> Vec<Change> {
        let causes = self.record.causes(&self.raised, now);
        let mut changes = Vec::new();
        self.raised.retain(|cause| {
            let alarm = cause.alarm();
            let lasts = causes.iter().any(|cause| cause.alarm() == alarm);
            if !lasts {
                changes.push(Change::Cleared(alarm));
            }
            lasts
        });
        for cause in causes {
            match self.raised.iter_mut().find(|raised| raised.alarm() == cause.alarm()) {
                Some(raised) if cause.worsens(raised) => {
                    *raised = cause.clone();
                    changes.push(Change::Raised(cause));
                }
                Some(_) => {}
                None => {
                    self.raised.push(cause.clone());
                    changes.push(Change::Raised(cause));
                }
            }
        }
        changes
    }

    /// The alarms that are raised, with what raised them.
    pub fn alarms(&self) -> &[Cause] {
        &self.raised
    }

    /// The block as last seen, and for how long it has been seen not to change.
    pub fn block(&self) -> Option<(&MmpBlock, Duration)> {
        let record = &self.record;
        record.standing.as_ref().map(|standing| (&standing.block, record.silence()))
    }

    /// What the device is in.
    pub fn condition(&self) -> Condition {
        self.record.condition()
    }

    /// How long a contender would watch the block as it stands.
    pub fn guard_interval(&self) -> Option<Duration> {
        let record = &self.record;
        record.standing.as_ref().map(|standing| record.guard(&standing.block))
    }

    /// The times between the last updates, latest first.
    pub fn intervals(&self) -> impl Iterator<Item = Duration> + '_ {
        self.record.intervals.iter().copied()
    }

    /// What was last told of this machine.
    pub fn local(&self) -> Local {
        self.record.local
    }
}
