//! A table for people, and a sentence for each finding.

use std::fmt::Write as _;

use nix::errno::Errno;

use super::NAME;
use crate::daemon::now;
use crate::device::shown;
use crate::protocol::Mounted;
use crate::survey::{State, Surveyed};

/// More of a cell would break the line; the sentences below the table say it whole.
const WIDEST: usize = 32;
const HEAD: [&str; 9] =
    ["DEVICE", "LABEL", "MMP", "STATE", "HOLDER", "AGE", "INTERVAL", "MOUNTED", "FINDINGS"];

/// The table and the findings; only the latter if `quiet`. On a terminal of so many `columns` the
/// findings are broken between words.
pub(super) fn text(devices: &[Surveyed], quiet: bool, columns: Option<usize>) -> String {
    let mut text = String::new();
    if !quiet {
        let rows: Vec<_> = devices.iter().map(row).collect();
        text += &aligned(&rows);
        if devices.is_empty() {
            text = format!("{NAME}: no ext4 file system\n");
        }
    }
    for sentence in sentences(devices, quiet) {
        let line = format!("{NAME}: {sentence}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", columns.map_or(line.clone(), |columns| wrap(&line, columns)));
    }
    text
}

/// A sentence for each finding. Why devices could not be looked at is told once for all that have
/// the reason in common; which these are, the table tells where there is one.
fn sentences(devices: &[Surveyed], quiet: bool) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for device in devices {
        let name = shown(&device.path).to_string();
        for sentence in device.findings.iter().map(|finding| finding.sentence.as_str()) {
            let reason = sentence.strip_prefix(&name).and_then(|rest| rest.strip_prefix(": "));
            match (&device.state, reason) {
                (State::Error { message, .. }, Some(reason)) if message == sentence => {
                    match reasons.iter_mut().find(|(known, _)| *known == reason) {
                        Some((_, names)) => names.push(name.clone()),
                        None => reasons.push((reason, vec![name.clone()])),
                    }
                }
                _ => sentences.push(sentence.to_owned()),
            }
        }
    }
    let only = reasons.len() == 1;
    let told = reasons.into_iter().map(|(reason, names)| {
        let whom = match names.len() {
            1 => names.concat(),
            count if only && !quiet => format!("{count} devices"),
            _ => names.join(", "),
        };
        let advice = if reason.ends_with(Errno::EACCES.desc()) { "; run this as root" } else { "" };
        format!("{whom}: {reason}{advice}")
    });
    sentences.extend(told);
    sentences
}

/// Breaks a line between words. What stands in quotation marks, a command to copy, is not broken
/// if it fits on a line; a terminal would break it anywhere.
fn wrap(line: &str, columns: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let word = &rest[..word_end(rest)];
        let length = word.chars().count();
        if used > 0 {
            let fits = used + 1 + length <= columns;
            text.push(if fits { ' ' } else { '\n' });
            used = if fits { used + 1 } else { 0 };
        }
        text += word;
        used += length;
        rest = rest[word.len()..].trim_start_matches(' ');
    }
    text
}

/// Where the first word ends, in bytes: at a blank, or behind a closing quotation mark.
fn word_end(text: &str) -> usize {
    let blank = |from: usize| text[from..].find(' ').map_or(text.len(), |at| from + at);
    let closed = text.strip_prefix('\'').and_then(|quoted| quoted.find('\''));
    blank(closed.map_or(0, |at| at + 2))
}

fn row(device: &Surveyed) -> [String; HEAD.len()] {
    let none = || "-".to_owned();
    let filesystem = device.filesystem.as_ref();
    let label = filesystem.map(|f| f.superblock.volume_name().to_string());
    let mmp = filesystem.map(|f| if f.superblock.features().mmp() { "on" } else { "off" });
    let block = device.state.block();
    let holder = block.map(|block| {
        let (node, device) = (block.nodename(), block.bdevname());
        format!("{node} ({device})")
    });
    let intervals = block
        .zip(filesystem.and_then(|f| f.area))
        .map(|(block, area)| format!("{}/{} s", area.update_interval, block.check_interval()));
    let mounts = filesystem.map(|f| f.mounts.as_slice()).unwrap_or_default();
    let unseen = filesystem.is_some_and(|f| f.mounted() == Mounted::ReadWrite);
    let unseen = || if unseen { "yes".to_owned() } else { none() };
    let mounted = mounts.first().map(|mount| {
        let read_only = if mount.read_only { " (ro)" } else { "" };
        let more = if mounts.len() > 1 { format!(" +{}", mounts.len() - 1) } else { String::new() };
        format!("{}{read_only}{more}", shown(&mount.dir))
    });
    let findings: Vec<_> = device.findings.iter().map(|finding| finding.kind.name).collect();
    [
        shown(&device.path).to_string(),
        label.filter(|label| !label.is_empty()).unwrap_or_else(none),
        mmp.unwrap_or("?").to_owned(),
        device.state.word().to_owned(),
        holder.map_or_else(none, clip),
        block.map_or_else(none, |block| age(now().wall.saturating_sub(block.time()))),
        intervals.unwrap_or_else(none),
        mounted.map_or_else(unseen, clip),
        if findings.is_empty() { none() } else { findings.join(",") },
    ]
}

fn clip(cell: String) -> String {
    match cell.char_indices().nth(WIDEST) {
        Some((end, _)) => cell[..end].to_owned() + "…",
        None => cell,
    }
}

/// A time span of the size of its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

fn aligned(rows: &[[String; HEAD.len()]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let head = HEAD.map(str::to_owned);
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::survey::{Finding, KINDS};

    /// A device that could not be looked at.
    fn failed(name: &str, why: &str) -> Surveyed {
        let message = format!("{name}: {why}");
        let kind = *KINDS.iter().find(|kind| kind.name == "error").expect("a kind");
        let findings = vec![Finding { kind, sentence: message.clone() }];
        let state = State::Error { unreadable: false, message };
        Surveyed { path: PathBuf::from(name), filesystem: None, state, findings }
    }

    #[test]
    fn one_reason_is_told_once() {
        let denied = "cannot open: Permission denied";
        let mut devices = vec![failed("/dev/sda", denied)];
        let alone = "/dev/sda: cannot open: Permission denied; run this as root";
        assert_eq!(sentences(&devices, false), [alone]);
        devices.push(failed("/dev/sdb", denied));
        let both = "2 devices: cannot open: Permission denied; run this as root";
        assert_eq!(sentences(&devices, false), [both]);
        let named = "/dev/sda, /dev/sdb: cannot open: Permission denied; run this as root";
        assert_eq!(sentences(&devices, true), [named]);
        // The table alone would not tell which.
        devices.push(failed("/dev/sdc", "is odd"));
        assert_eq!(sentences(&devices, false), [named, "/dev/sdc: is odd"]);
        assert_eq!(text(&devices, false, None).lines().count(), 1 + 3 + 2);
    }

    #[test]
    fn lines_break_between_words_and_not_within_a_command() {
        let line = "a: lower it: 'mmptune -E x=5 /dev/sda'. Then 'b c' it's done";
        assert_eq!(wrap(line, 200), line);
        let broken = "a: lower it:\n'mmptune -E x=5 /dev/sda'.\nThen 'b c' it's done";
        assert_eq!(wrap(line, 30), broken);
        assert_eq!(wrap("a 'b c", 3), "a\n'b\nc");
        assert_eq!(wrap("", 3), "");
    }
}
