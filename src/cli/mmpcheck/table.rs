//! A table for people, and a sentence for each finding.

use std::fmt::Write as _;

use super::NAME;
use crate::daemon::now;
use crate::device::shown;
use crate::survey::{Mounted, Surveyed};

/// More of a cell would break the line; the sentences below the table say it whole.
const WIDEST: usize = 32;
const HEAD: [&str; 9] =
    ["DEVICE", "LABEL", "MMP", "STATE", "HOLDER", "AGE", "INTERVAL", "MOUNTED", "FINDINGS"];

/// The table and the findings; only the latter if `quiet`.
pub(super) fn text(devices: &[Surveyed], quiet: bool) -> String {
    let mut text = String::new();
    if !quiet {
        let rows: Vec<_> = devices.iter().map(row).collect();
        text += &aligned(&rows);
        if devices.is_empty() {
            text = format!("{NAME}: no ext4 file system\n");
        }
    }
    for finding in devices.iter().flat_map(|device| &device.findings) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{NAME}: {}", finding.sentence);
    }
    text
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
