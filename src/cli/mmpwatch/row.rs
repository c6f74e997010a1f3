//! What is shown of one device.

use std::path::Path;
use std::time::Duration;

use crate::daemon::WatchedDevice;
use crate::device::{DeviceError, shown};
use crate::layout::Escaped;
use crate::protocol::{Cause, Change, Condition, Mounted, Sentinel};
use crate::report::{condition_word, describe_change, seconds_text};

/// How good a state is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Busy,
    Doubtful,
    Bad,
}

/// A line about a device, in text that is safe to show: path, a word that stands out, the rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Note {
    pub(super) text: String,
    /// Where the word begins and ends.
    pub(super) word: (usize, usize),
}

impl Note {
    /// An alarm, in the words of `mmpd watch`.
    fn alarm(path: &Path, cause: &Cause) -> Self {
        let text = describe_change(path, &Change::Raised(cause.clone()));
        Note::new(path, cause.alarm().name(), text)
    }

    /// Why a device cannot be read.
    fn reason(path: &Path, why: &str) -> Self {
        let word = condition_word(Condition::Unreadable);
        Note::new(path, word, format!("{}: {word}: {why}", shown(path)))
    }

    /// The word stands after the path.
    pub(super) fn new(path: &Path, word: &str, text: String) -> Self {
        let begin = shown(path).to_string().len() + 2;
        Note { text, word: (begin, begin + word.len()) }
    }
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
    pub(super) alarms: Vec<Note>,
    /// Why it cannot be read, where no alarm says so.
    pub(super) reason: Option<Note>,
}

impl Row {
    /// `nothing` tells why there was nothing to watch when it was last looked for.
    pub(super) fn of(device: &WatchedDevice, nothing: Option<&DeviceError>) -> Self {
        let path = device.path();
        let label = Escaped(device.label());
        let name = shown(path).to_string();
        let name = if label.is_empty() { name } else { format!("{name} {label}") };
        let sentinel = device.sentinel();
        let mut row = Self::new(name, sentinel);
        row.alarms = sentinel.alarms().iter().map(|cause| Note::alarm(path, cause)).collect();
        if sentinel.condition() == Condition::Unread {
            let why = nothing.map_or("it has not answered yet".to_owned(), ToString::to_string);
            let why = why.strip_prefix(&format!("{}: ", shown(path))).unwrap_or(&why);
            row.reason = Some(Note::reason(path, why));
        }
        row
    }

    pub(super) fn new(device: String, sentinel: &Sentinel) -> Self {
        // What has given nothing so far cannot be read, for whatever reason.
        let condition = match sentinel.condition() {
            Condition::Unread => Condition::Unreadable,
            condition => condition,
        };
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
            reason: None,
        }
    }
}

fn mood(condition: Condition) -> Mood {
    match condition {
        Condition::Clean => Mood::Good,
        Condition::InUse | Condition::Active => Mood::Busy,
        Condition::Stale | Condition::Fsck => Mood::Doubtful,
        Condition::Unknown | Condition::Invalid(_) => Mood::Bad,
        Condition::Unread | Condition::Unreadable => Mood::Bad,
    }
}
