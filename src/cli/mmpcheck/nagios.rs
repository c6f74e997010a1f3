//! One line for Nagios and what understands its plugins: status, text, performance data.
//!
//! The line's grammar is the plugin API's: text up to `|`, then `label=value;warn;crit;min`. No
//! text of a disk goes into the performance data.

use std::fmt::Write as _;

use crate::device::shown;
use crate::protocol::Verdict;
use crate::report::exit::{DONE, NAGIOS_CRITICAL, NAGIOS_UNKNOWN, NAGIOS_WARNING};
use crate::survey::{Severity, State, Surveyed};

/// More names would not be read.
const NAMED: usize = 5;

/// The line and the exit code.
pub(super) fn line(devices: &[Surveyed]) -> (String, u8) {
    let findings = || devices.iter().flat_map(|d| d.findings.iter().map(move |f| (d, f)));
    let count = |wanted| findings().filter(|(_, f)| f.kind.severity == wanted).count();
    let worst = findings().max_by_key(|(_, f)| f.kind.severity);
    let (word, code) = match worst.map(|(_, finding)| finding.kind.severity) {
        None => ("OK", DONE),
        Some(Severity::Warning) => ("WARNING", NAGIOS_WARNING),
        Some(Severity::Critical) => ("CRITICAL", NAGIOS_CRITICAL),
        Some(Severity::Unknown) => ("UNKNOWN", NAGIOS_UNKNOWN),
    };
    let mut text = match worst {
        None => format!("{} ext4 file systems, nothing found", devices.len()),
        Some((_, finding)) => finding.sentence.clone(),
    };
    let mut others = findings().filter(|(_, f)| worst.is_none_or(|(_, w)| !std::ptr::eq(*f, w)));
    for (device, finding) in others.by_ref().take(NAMED) {
        // Writing to a String cannot fail.
        let _ = write!(text, "; {}: {}", shown(&device.path), finding.kind.name);
    }
    match others.count() {
        0 => {}
        more => text += &format!("; and {more} more"),
    }
    let states = |wanted: fn(&State) -> bool| devices.iter().filter(|d| wanted(&d.state)).count();
    let in_use = states(|state| matches!(state, State::Verdict(Verdict::InUse { .. })));
    let stale = states(|state| matches!(state, State::Verdict(Verdict::Stale { .. })));
    let hung = states(|state| matches!(state, State::Hung));
    let data = format!(
        "file_systems={};;;0 in_use={in_use};;;0 stale={stale};;;0 hung={hung};;;0 \
         warnings={};0;;0 unknown={};0;;0 criticals={};;0;0",
        devices.len(),
        count(Severity::Warning),
        count(Severity::Unknown),
        count(Severity::Critical),
    );
    (format!("MMP {word} - {} | {data}\n", plain(&text)), code)
}

/// The line where there is nothing to report but that.
pub(super) fn trouble(message: &str) -> String {
    format!("MMP UNKNOWN - {}\n", plain(message))
}

/// A bar would begin the performance data.
fn plain(text: &str) -> String {
    text.replace('|', "\\x7c").replace('\n', " ")
}
