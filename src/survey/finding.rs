//! What is wrong with a file system, or will be: each with a stable name, a sentence, and what to
//! do.

use std::path::Path;
use std::time::Duration;

use super::{FileSystem, State, Surveyed};
use crate::device::{KernelWriter, shown};
use crate::layout::{Invalid, MmpArea, MmpBlock, Sequence};
use crate::protocol::{
    DEFAULT_CHECK_INTERVAL, FSCK_SILENT, MAX_CHECK_INTERVAL, Mounted, Verdict, effective_interval,
    guard_interval,
};
use crate::report::{Holder, describe_hung, describe_verdict, seconds_text};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Will be a problem when something else happens.
    Warning,
    /// Could not be told.
    Unknown,
    /// Is a problem now.
    Critical,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Unknown => "unknown",
            Severity::Critical => "critical",
        }
    }
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name, which stays the same for ever.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
}

const fn critical(name: &'static str) -> Kind {
    Kind { name, severity: Severity::Critical }
}

const fn warning(name: &'static str) -> Kind {
    Kind { name, severity: Severity::Warning }
}

const FOREIGN_HOLDER: Kind = critical("foreign-holder");
const CLEAN_WHILE_MOUNTED: Kind = critical("clean-while-mounted");
const FSCK_WHILE_MOUNTED: Kind = critical("fsck-while-mounted");
const STALLED: Kind = critical("stalled");
const FROZEN: Kind = critical("frozen");
const READ_ONLY_WHILE_IN_USE: Kind = critical("read-only-while-in-use");
const HUNG: Kind = critical("hung");
const UNREADABLE: Kind = critical("unreadable");
const BAD_CHECKSUM: Kind = critical("bad-checksum");
const BAD_MAGIC: Kind = critical("bad-magic");
const UNKNOWN: Kind = critical("unknown");
const ERROR: Kind = Kind { name: "error", severity: Severity::Unknown };
const STALE: Kind = warning("stale");
const FSCK_DEAD: Kind = warning("fsck-dead");
const NO_MMP: Kind = warning("no-mmp");
const SLOW_FAILOVER: Kind = warning("slow-failover");
const INTERVALS_AT_ODDS: Kind = warning("intervals-at-odds");
const SAME_UUID: Kind = warning("same-uuid");

/// All kinds.
pub const KINDS: [Kind; 18] = [
    FOREIGN_HOLDER,
    CLEAN_WHILE_MOUNTED,
    FSCK_WHILE_MOUNTED,
    STALLED,
    FROZEN,
    READ_ONLY_WHILE_IN_USE,
    HUNG,
    UNREADABLE,
    BAD_CHECKSUM,
    BAD_MAGIC,
    UNKNOWN,
    ERROR,
    STALE,
    FSCK_DEAD,
    NO_MMP,
    SLOW_FAILOVER,
    INTERVALS_AT_ODDS,
    SAME_UUID,
];

/// What a mount may take: the time-out that the cluster managers' Filesystem agent gives a start.
const MOUNT_LIMIT: Duration = Duration::from_secs(60);

/// Something found about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The same in a sentence that names the device, with what to do.
    pub sentence: String,
}

/// Adds to each device what is to be found about it. `node` is this machine's name, `wall` the
/// time of day in seconds since the epoch.
pub(super) fn judge(surveyed: &mut [Surveyed], node: &[u8], wall: u64) {
    let twins: Vec<_> = (0..surveyed.len()).map(|index| twin(surveyed, index)).collect();
    for (device, twin) in surveyed.iter_mut().zip(twins) {
        let mut findings = Vec::from_iter(of_state(device, wall));
        if let Some(filesystem) = &device.filesystem {
            findings.extend(of_mount(&device.path, &device.state, filesystem, node));
            findings.extend(of_settings(&device.path, &device.state, filesystem));
        }
        findings.extend(twin);
        device.findings = findings;
    }
}

fn finding(kind: Kind, path: &Path, text: &str) -> Finding {
    Finding { kind, sentence: format!("{}: {}: {text}", shown(path), kind.name) }
}

/// Another device with the same file system.
fn twin(surveyed: &[Surveyed], index: usize) -> Option<Finding> {
    let uuid = |s: &Surveyed| s.filesystem.as_ref().map(|f| f.superblock.uuid());
    let mine = uuid(&surveyed[index]).filter(|uuid| *uuid != [0; 16])?;
    let mut others = surveyed.iter().enumerate().filter(|(i, _)| *i != index);
    let (_, other) = others.find(|(_, other)| uuid(other) == Some(mine))?;
    let text = format!(
        "{} has the same UUID: two paths to one disk that nothing joins, or a copy. Set up \
         multipath, or give the copy a UUID of its own; never mount both",
        shown(&other.path),
    );
    Some(finding(SAME_UUID, &surveyed[index].path, &text))
}

/// What the block, or its absence, says by itself.
fn of_state(device: &Surveyed, wall: u64) -> Option<Finding> {
    let path = &device.path;
    let area = device.filesystem.as_ref().and_then(|f| f.area);
    let verdict = match &device.state {
        State::Hung => return Some(Finding { kind: HUNG, sentence: describe_hung(path) }),
        State::Error { unreadable, message } => {
            let kind = if *unreadable { UNREADABLE } else { ERROR };
            return Some(Finding { kind, sentence: message.clone() });
        }
        State::NoMmp | State::Active(_) => return None,
        State::Verdict(verdict) => verdict,
    };
    let kind = match verdict {
        Verdict::Invalid { why: Invalid::Checksum { .. }, .. } => BAD_CHECKSUM,
        Verdict::Invalid { why: Invalid::Magic { .. }, .. } => BAD_MAGIC,
        Verdict::Unknown { .. } => UNKNOWN,
        Verdict::Unreadable(_) => UNREADABLE,
        Verdict::Fsck { block } => {
            // Both machines' clocks go into this.
            let silent = Duration::from_secs(wall.saturating_sub(block.time()));
            return (silent >= FSCK_SILENT && !is_mounted(device)).then(|| {
                let text = format!(
                    "{} began e2fsck or a change, and has shown no sign of life for {}, if both \
                     clocks are right. Look on that node whether it still runs, perhaps at a \
                     question; only if not, free it with 'mmptune -f -E clear_mmp {}'",
                    Holder(block),
                    seconds_text(silent),
                    shown(path),
                );
                finding(FSCK_DEAD, path, &text)
            });
        }
        Verdict::Stale { block, watched } if !is_mounted(device) => {
            let text = format!(
                "nobody has it: {} is gone without unmounting, and nothing was written for {}. \
                 Mount it where it belongs",
                Holder(block),
                seconds_text(*watched),
            );
            return Some(finding(STALE, path, &text));
        }
        _ => return None,
    };
    let number = area.map(|area| area.block)?;
    Some(Finding { kind, sentence: describe_verdict(path, number, verdict) })
}

fn is_mounted(device: &Surveyed) -> bool {
    let mounted = device.filesystem.as_ref().map(FileSystem::mounted);
    matches!(mounted, Some(Mounted::ReadWrite | Mounted::Emergency))
}

/// Whether a mount on this machine and the block agree.
fn of_mount(path: &Path, state: &State, filesystem: &FileSystem, node: &[u8]) -> Option<Finding> {
    let State::Verdict(verdict) = state else { return None };
    let place = match filesystem.mounts.first() {
        Some(mount) => format!("on {}", shown(&mount.dir)),
        None => "where this process does not see it".to_owned(),
    };
    let (kind, text) = match (filesystem.mounted(), verdict) {
        (Mounted::ReadOnly | Mounted::Emergency, Verdict::InUse { block, .. }) => {
            let text = format!(
                "mounted read-only {place} while {} writes to it: what is read here may be wrong. \
                 Unmount it here",
                Holder(block),
            );
            (READ_ONLY_WHILE_IN_USE, text)
        }
        (Mounted::ReadWrite, Verdict::InUse { block, .. }) if !is_ours(block, filesystem, node) => {
            let text = format!(
                "mounted {place}, but it is {} that writes the MMP block: two may be using this \
                 file system. Stop both, then run 'e2fsck -f'",
                Holder(block),
            );
            (FOREIGN_HOLDER, text)
        }
        (Mounted::ReadWrite | Mounted::Emergency, Verdict::Clean { block, .. }) => {
            let text = format!(
                "mounted {place}, but the MMP block says clean, written by {}: any node may mount \
                 it. See the kernel's log; unmount it here before another node mounts it",
                Holder(block),
            );
            (CLEAN_WHILE_MOUNTED, text)
        }
        (Mounted::ReadWrite, Verdict::Fsck { block }) => {
            let text = format!(
                "mounted {place}, but e2fsck has it: {}. Stop that at once",
                Holder(block),
            );
            (FSCK_WHILE_MOUNTED, text)
        }
        (Mounted::ReadWrite, Verdict::Stale { watched, .. }) => {
            let frozen = filesystem.writer == KernelWriter::Frozen;
            let (kind, why) = match frozen {
                true => (FROZEN, "it is frozen; thaw it with 'fsfreeze -u', unless another has it"),
                false => (STALLED, "see whether its disk hangs, and the kernel's log"),
            };
            let text = format!(
                "mounted {place}, but nothing was written for {}, so that any node may take it: \
                 {why}",
                seconds_text(*watched),
            );
            (kind, text)
        }
        _ => return None,
    };
    Some(finding(kind, path, &text))
}

/// Whether the block bears this machine's name and this device's.
fn is_ours(block: &MmpBlock, filesystem: &FileSystem, node: &[u8]) -> bool {
    block.has_nodename(node) && block.has_bdevname(filesystem.kernel_name.as_bytes())
}

/// Whether it is set up for the day of a failover.
fn of_settings(path: &Path, state: &State, filesystem: &FileSystem) -> Vec<Finding> {
    let mut findings = Vec::new();
    if matches!(state, State::NoMmp) && is_lustre_target(filesystem.superblock.volume_name().0) {
        let text = format!(
            "a Lustre target without MMP: two servers can mount it at once. While it is not \
             mounted, turn MMP on with 'mmptune -O mmp {}'",
            shown(path),
        );
        findings.push(finding(NO_MMP, path, &text));
    }
    let (Some(area), Some(block)) = (&filesystem.area, state.block()) else { return findings };
    let (update, check) = (area.update_interval, block.check_interval());
    let normal = update.max(DEFAULT_CHECK_INTERVAL).saturating_mul(2).min(MAX_CHECK_INTERVAL);
    let in_force = !matches!(block.sequence(), Sequence::Clean);
    if update > MAX_CHECK_INTERVAL || check > MAX_CHECK_INTERVAL || (in_force && check > normal) {
        let text = format!(
            "the superblock's update interval is {update} s, the MMP block's check interval \
             {check} s, where at most {normal} s is usual and {MAX_CHECK_INTERVAL} s possible: \
             the disk is slow, or the interval was changed. See the disk's latency",
        );
        findings.push(finding(INTERVALS_AT_ODDS, path, &text));
    }
    let takes = mount_time(area, if in_force { check } else { 0 });
    if takes > MOUNT_LIMIT {
        let text = format!(
            "after a crash a mount takes {} (update interval {update} s, check interval {check} \
             s), more than the {} that cluster managers give it. Raise their time-out, or lower \
             the interval while it is not mounted: 'mmptune -E mmp_update_interval=5 {}'",
            seconds_text(takes),
            seconds_text(MOUNT_LIMIT),
            shown(path),
        );
        findings.push(finding(SLOW_FAILOVER, path, &text));
    }
    findings
}

/// How long the kernel takes to mount what a crashed kernel left behind: two guard intervals, by a
/// check interval of twice the update interval or of what stands in the block, whichever is more.
fn mount_time(area: &MmpArea, check_interval: u16) -> Duration {
    let update = area.update_interval.max(DEFAULT_CHECK_INTERVAL);
    let kernel = update.saturating_mul(2).min(MAX_CHECK_INTERVAL);
    2 * guard_interval(effective_interval(update, kernel.max(check_interval)))
}

/// Whether a label is a Lustre server's: `MGS`, or a file system's name, a separator that says
/// whether the target has registered (`-` yes, `:` never, `=` is to write its configuration anew),
/// `OST` or `MDT`, and four hexadecimal digits.
fn is_lustre_target(label: &[u8]) -> bool {
    if label == b"MGS" {
        return true;
    }
    let Some((fsname, target)) = label.len().checked_sub(8).map(|at| label.split_at(at)) else {
        return false;
    };
    let named = fsname.iter().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    let (separator, rest) = (target[0], &target[1..]);
    let typed = [b"OST", b"MDT"].iter().any(|kind| rest.starts_with(*kind));
    let numbered = rest[3..].iter().all(u8::is_ascii_hexdigit);
    !fsname.is_empty() && named && b"-:=".contains(&separator) && typed && numbered
}
