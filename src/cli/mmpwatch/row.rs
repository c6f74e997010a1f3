//! What is shown of one device.

use std::time::Duration;

use crate::daemon::WatchedDevice;
use crate::device::shown;
use crate::layout::Escaped;
use crate::protocol::{Condition, Mounted, Sentinel};
use crate::report::{condition_word, describe_change, seconds_text};

/// How good a state is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Busy,
    Doubtful,
    Bad,
}

/// One device, in text that is safe to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) device: String,
    pub(super) state: &'static str,
    pub(super) mood: Mood,
    pub(super) holder: String,
    pub(super) sequence: String,
    /// How long ago the block was seen written, in words and as a part of the guard interval.
    pub(super) age: Option<(String, f64)>,
    /// Times between updates, latest first, as parts of the longest that is in order.
    pub(super) intervals: Vec<f64>,
    /// A line for each alarm.
    pub(super) alarms: Vec<String>,
}

impl Row {
    pub(super) fn of(device: &WatchedDevice) -> Self {
        let label = Escaped(device.label());
        let path = shown(device.path());
        let name = if label.is_empty() { path.to_string() } else { format!("{path} {label}") };
        let mut row = Self::new(name, device.sentinel());
        row.alarms = (device.sentinel().alarms().iter())
            .map(|cause| {
                describe_change(device.path(), &crate::protocol::Change::Raised(cause.clone()))
            })
            .collect();
        row
    }

    pub(super) fn new(device: String, sentinel: &Sentinel) -> Self {
        let condition = sentinel.condition();
        let block = sentinel.block();
        let guard = sentinel.guard_interval().unwrap_or(Duration::MAX).as_secs_f64();
        let holder = block.map(|(block, _)| {
            let here = match sentinel.local().mounted {
                Mounted::No => "",
                Mounted::ReadOnly => " (ro here)",
                Mounted::ReadWrite => " (here)",
                Mounted::Emergency => " (ro by error)",
            };
            format!("{} {}{here}", block.nodename(), block.bdevname())
        });
        let own = block.map_or(1.0, |(block, _)| f64::from(block.check_interval()).max(5.0));
        Row {
            device,
            state: condition_word(condition),
            mood: mood(condition),
            holder: holder.unwrap_or_default(),
            sequence: block.map_or_else(String::new, |(block, _)| block.sequence().to_string()),
            age: block.map(|(_, silent)| (seconds_text(silent), silent.as_secs_f64() / guard)),
            intervals: sentinel.intervals().map(|interval| interval.as_secs_f64() / own).collect(),
            alarms: Vec::new(),
        }
    }
}

fn mood(condition: Condition) -> Mood {
    match condition {
        Condition::Clean => Mood::Good,
        Condition::InUse | Condition::Active | Condition::Unread => Mood::Busy,
        Condition::Stale | Condition::Fsck => Mood::Doubtful,
        Condition::Unknown | Condition::Invalid(_) | Condition::Unreadable => Mood::Bad,
    }
}
