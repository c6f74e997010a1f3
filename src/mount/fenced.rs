//! The evidence that the node which a block names was fenced after it wrote it.

use std::fmt;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::daemon::now;
use crate::device::Plain;
use crate::layout::MmpBlock;
use crate::report::date;

/// What tells Pacemaker's fencing history.
const STONITH_ADMIN: &str = "/usr/sbin/stonith_admin";
/// How long it may take; it waits for a cluster that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Why a block is watched all the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoProof {
    /// The node's name is none that may be asked for.
    Name,
    /// The history could not be read.
    History(String),
    /// The cluster knows of no fencing of that node that succeeded.
    Never,
    /// It was fenced, but the block does not bear an earlier time, so that it may have come back, or
    /// the cluster's time is still to come.
    NotSince {
        /// When, by the cluster's clock, seconds since the epoch.
        fenced: u64,
    },
}

impl fmt::Display for NoProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoProof::Name => f.write_str("its name is none that a cluster can know"),
            NoProof::History(why) => write!(f, "cannot read the fencing history: {why}"),
            NoProof::Never => f.write_str("the cluster knows of no fencing of it"),
            NoProof::NotSince { fenced } => {
                let at = date(*fenced);
                write!(f, "it was fenced at {at}, which is not between its last write and now")
            }
        }
    }
}

/// When the writer of `block` was fenced, seconds since the epoch, if that was after it wrote it:
/// after the time in the block, which is the writer's, and before this moment, at which the block
/// has been read.
pub(super) fn fenced_since(block: &MmpBlock) -> Result<u64, NoProof> {
    let name = String::from_utf8(block.nodename().0.to_vec()).map_err(|_| NoProof::Name)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(is_plain) {
        return Err(NoProof::Name);
    }
    // Clusters know their nodes with the domain or without it.
    let short = name.split('.').next().unwrap_or_default().to_owned();
    let mut proof = history(&name);
    if proof == Err(NoProof::Never) && short != name {
        proof = history(&short);
    }
    judge(block.time(), proof?, now().wall)
}

/// Seconds since the epoch, all three.
fn judge(written: u64, fenced: u64, now: u64) -> Result<u64, NoProof> {
    if written < fenced && fenced <= now { Ok(fenced) } else { Err(NoProof::NotSince { fenced }) }
}

/// When a node was last fenced with success.
fn history(node: &str) -> Result<u64, NoProof> {
    let failed = |error: io::Error| NoProof::History(Plain(&error).to_string());
    let mut child = Command::new(STONITH_ADMIN)
        .args(["--history", node, "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let end = now().instant + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if now().instant < end => thread::sleep(POLL),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(NoProof::History("no answer (SIGKILL)".to_owned()));
            }
        }
    };
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(4096).read_to_string(&mut answer).map_err(failed)?;
    }
    if !status.success() {
        return Err(NoProof::History(status.to_string()));
    }
    // A line with the time, and one that counts the events that were not asked for.
    answer.lines().find_map(|line| line.trim().parse().ok()).ok_or(NoProof::Never)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{MMP_SIZE, Names};

    #[test]
    fn only_a_fencing_after_the_last_write_and_not_from_the_future_counts() {
        assert_eq!(judge(100, 101, 200), Ok(101));
        for (written, fenced, now) in [(100, 100, 200), (150, 101, 200), (100, 201, 200)] {
            assert_eq!(judge(written, fenced, now), Err(NoProof::NotSince { fenced }));
        }
    }

    #[test]
    fn a_name_from_the_disk_is_no_option() {
        for name in ["", "--cleanup", "a b", "a;b", "\u{e9}"] {
            let names = Names::new(name.as_bytes(), b"sdb");
            let block = MmpBlock::from_bytes([0; MMP_SIZE]).with_names(&names);
            assert_eq!(fenced_since(&block), Err(NoProof::Name), "{name}");
        }
    }
}
