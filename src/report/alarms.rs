//! What a sentinel's alarms are called, what they mean, and what to do.

use std::path::Path;

use super::metrics::{
    ALARM, CHECK_INTERVAL, GUARD_INTERVAL, HEARTBEAT_AGE, Metrics, SEQUENCE, STATE, UPDATE_INTERVAL,
};
use super::words::{Holder, invalid_word, seconds_text};
use crate::device::shown;
use crate::protocol::{Alarm, Cause, Change, Cleaned, Condition, Sentinel};

/// The word for what a watched device is in.
pub fn condition_word(condition: Condition) -> &'static str {
    match condition {
        Condition::Unread => "unread",
        Condition::Clean => "clean",
        Condition::Active => "active",
        Condition::InUse => "in use",
        Condition::Stale => "stale",
        Condition::Fsck => "fsck",
        Condition::Unknown => "unknown",
        Condition::Invalid(why) => invalid_word(&why),
        Condition::Unreadable => "unreadable",
    }
}

/// What an alarm means, in general.
pub fn alarm_meaning(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::SecondWriter => "two write the MMP block in turns: two machines use the file system",
        Alarm::CleanWhileMounted => {
            "the file system is mounted here, but its block says that nobody uses it: others will \
             mount it"
        }
        Alarm::ForeignHolder => {
            "the file system is mounted here, but another node holds its block and keeps writing it"
        }
        Alarm::Frozen => {
            "the file system is mounted here and frozen: its block stands still, and others will \
             take it once the guard interval is over"
        }
        Alarm::SequenceBack => {
            "the sequence went back: a write that came late, a second writer, or a disk that shows \
             old content"
        }
        Alarm::Stalled => {
            "the holder is silent: first for longer than the storage may hold it up, then for \
             longer than the guard interval, after which others may take the device"
        }
        Alarm::BadChecksum => {
            "the MMP block's checksum is wrong, in several reads one after another"
        }
        Alarm::BadMagic => "what stands where the MMP block should be is no MMP block",
        Alarm::Unreadable => "the device is gone, fails, or has not answered for 10 s",
        Alarm::FsckDead => {
            "the block says that e2fsck has the device, but it has not been renewed for 132 s: \
             e2fsck is dead, or waits at a question"
        }
        Alarm::FsckAlive => "e2fsck has the device, and lives",
        Alarm::ClockSkew => "the clocks of the holder and of this machine differ by more than 30 s",
    }
}

/// What to do about an alarm.
pub fn alarm_advice(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::SecondWriter => {
            "stop both at once, without unmounting where that can be (power off), then run \
             'e2fsck -f' on one"
        }
        Alarm::CleanWhileMounted => {
            "see the kernel's log; unmount it here before another node mounts it"
        }
        Alarm::ForeignHolder => "do not thaw or write; power this machine off or unmount by force",
        Alarm::Frozen => "thaw it with 'fsfreeze -u', unless another node has taken it meanwhile",
        Alarm::SequenceBack => {
            "find out what writes it; check the paths to the disk and its caches"
        }
        Alarm::Stalled => "see whether the node named and its paths to the disk are well",
        Alarm::BadChecksum | Alarm::BadMagic => "check the device, then run e2fsck",
        Alarm::Unreadable => "check the paths to the disk",
        Alarm::FsckDead => {
            "look on the node named whether e2fsck still runs, perhaps at a question; only if not, \
             free it with 'mmptune -f -E clear_mmp', then run 'e2fsck -f'"
        }
        Alarm::FsckAlive => "wait for it",
        Alarm::ClockSkew => "see whether both keep time by the same source",
    }
}

/// What was seen, in a sentence without the device's name.
pub fn describe_cause(cause: &Cause) -> String {
    match cause {
        Cause::SecondWriter { one, other } => format!(
            "{}, sequence {}, and {}, sequence {}, write it in turns",
            Holder(one),
            one.sequence(),
            Holder(other),
            other.sequence(),
        ),
        Cause::SequenceBack { from, to } => format!(
            "the sequence went from {} back to {}, by {}",
            from.sequence(),
            to.sequence(),
            Holder(to),
        ),
        Cause::Stalled { block, silent, was_alive: false, .. } => format!(
            "left in use by {}: not written for {} since it is watched",
            Holder(block),
            seconds_text(*silent),
        ),
        Cause::Stalled { block, silent, beyond_guard, was_alive: true } => {
            let than = if *beyond_guard {
                "the guard interval; others may take it"
            } else {
                "its own interval allows"
            };
            format!("{} is silent for {}, longer than {than}", Holder(block), seconds_text(*silent))
        }
        Cause::Frozen { silent, seen: true, .. } => format!(
            "mounted here, and not written for {}: the kernel waits for a thaw",
            seconds_text(*silent),
        ),
        Cause::Frozen { silent, seen: false, .. } => format!(
            "mounted here, and not written for {}: frozen, or its storage hangs",
            seconds_text(*silent),
        ),
        Cause::CleanWhileMounted { block, how } => {
            let how = match how {
                Cleaned::Emergency => "the kernel here has made it read-only and given it up",
                Cleaned::WrittenOver => "somebody else wrote that over the holder's sequence",
                Cleaned::Stands => "nobody here writes it any more",
            };
            format!("mounted here, but clean, by {}: {how}", Holder(block))
        }
        Cause::ForeignHolder { block } => format!("mounted here, but held by {}", Holder(block)),
        Cause::FsckDead { block, silent } => format!(
            "e2fsck by {} has given no sign of life for {}",
            Holder(block),
            seconds_text(*silent)
        ),
        Cause::FsckAlive { block } => format!("e2fsck is at work, by {}", Holder(block)),
        Cause::ClockSkew { block, ahead } => {
            let way = if *ahead > 0 { "ahead of" } else { "behind" };
            let node = block.nodename();
            format!("the clock of node '{node}' is {} s {way} ours", ahead.unsigned_abs())
        }
        Cause::Invalid { block, why } => format!("{why}; it reads as by {}", Holder(block)),
        Cause::Unreadable(fault) => format!("cannot read the MMP block: {fault}"),
        Cause::Hung { since } => {
            format!("the device has not answered for {}", seconds_text(*since))
        }
    }
}

/// An alarm that begins or ends, in one line.
pub fn describe_change(path: &Path, change: &Change) -> String {
    let device = shown(path);
    match change {
        Change::Raised(cause) => {
            let alarm = cause.alarm();
            let (seen, advice) = (describe_cause(cause), alarm_advice(alarm));
            format!("{device}: {}: {seen}; {advice}", alarm.name())
        }
        Change::Cleared(alarm) => format!("{device}: {}: cleared", alarm.name()),
    }
}

/// What is seen of watched devices: path, the superblock's update interval in seconds where it is
/// known, sentinel. Every alarm has a sample, 1 while it is raised.
pub fn alarm_metrics<'a>(
    devices: impl Iterator<Item = (&'a Path, Option<u16>, &'a Sentinel)>,
) -> Metrics {
    let mut metrics = Metrics::default();
    for (path, update_interval, sentinel) in devices {
        let device = shown(path).to_string();
        let device = ("device", device.as_str());
        let state = condition_word(sentinel.condition());
        metrics.set(STATE, &[device, ("state", state)], 1);
        for alarm in Alarm::ALL {
            let raised = sentinel.alarms().iter().any(|cause| cause.alarm() == alarm);
            metrics.set(ALARM, &[device, ("alarm", alarm.name())], u8::from(raised));
        }
        if let Some(seconds) = update_interval {
            metrics.set(UPDATE_INTERVAL, &[device], seconds);
        }
        if let (Some((block, silent)), Some(guard)) = (sentinel.block(), sentinel.guard_interval())
        {
            metrics.set(SEQUENCE, &[device], block.sequence().raw());
            metrics.set(CHECK_INTERVAL, &[device], block.check_interval());
            metrics.set(GUARD_INTERVAL, &[device], guard.as_secs_f64());
            metrics.set(HEARTBEAT_AGE, &[device], silent.as_secs_f64());
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/watching.md has one table of alarms, and it says what is said here.
    #[test]
    fn the_documented_alarms_are_these() {
        let text = include_str!("../../docs/watching.md");
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<_> = Alarm::ALL
            .iter()
            .map(|alarm| {
                let (meaning, advice) = (alarm_meaning(*alarm), alarm_advice(*alarm));
                format!("| `{}` | {meaning} | {advice} |", alarm.name())
            })
            .collect();
        assert_eq!(rows, expected);
    }
}
