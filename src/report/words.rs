//! The words for every state, and the sentences made of them.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Datelike, Local};

use crate::device::shown;
use crate::layout::{BlockNumber, Invalid, MmpBlock, MmpChecksum, Sequence};
use crate::protocol::{Loss, Notice, Refusal, Verdict};

/// A time of the disk, as ctime(3) writes it in local time; one that no calendar has, as a number.
pub fn date(seconds: u64) -> String {
    let utc = i64::try_from(seconds).ok().and_then(|s| DateTime::from_timestamp(s, 0));
    match utc {
        Some(utc) => {
            let local = utc.with_timezone(&Local);
            // %Y would put a sign before a year of five digits.
            format!("{} {}", local.format("%a %b %e %H:%M:%S"), local.year())
        }
        None => format!("second {seconds} of the epoch"),
    }
}

/// A time span for people: whole seconds from ten on, tenths below.
pub fn seconds_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// Who last wrote a block, and when by that node's clock.
pub struct Holder<'a>(pub &'a MmpBlock);

impl Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, device, at) = (self.0.nodename(), self.0.bdevname(), date(self.0.time()));
        write!(f, "node '{node}' device '{device}' at {at}")
    }
}

/// The word for what a block says by itself, before anybody watches it.
pub fn state_word(sequence: Sequence) -> &'static str {
    match sequence {
        Sequence::Clean => "clean",
        Sequence::Fsck => "fsck",
        Sequence::Active(_) => "active",
        Sequence::Unknown(_) => "unknown",
    }
}

/// The same for a block that may be none.
pub(super) fn block_word(block: &MmpBlock, checksum: MmpChecksum) -> &'static str {
    match block.verify(checksum) {
        Ok(()) => state_word(block.sequence()),
        Err(why) => invalid_word(&why),
    }
}

/// The word for a block that is none.
pub(super) fn invalid_word(why: &Invalid) -> &'static str {
    match why {
        Invalid::Magic { .. } => "bad magic",
        Invalid::Checksum { .. } => "bad checksum",
    }
}

/// The word for a verdict.
pub fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Clean { .. } => "clean",
        Verdict::Stale { .. } => "stale",
        Verdict::InUse { .. } => "in use",
        Verdict::Fsck { .. } => "fsck",
        Verdict::Unknown { .. } => "unknown",
        Verdict::Invalid { why, .. } => invalid_word(why),
        Verdict::Unreadable(_) => "unreadable",
        Verdict::Stopped => "stopped",
    }
}

/// A verdict in a sentence, with what to do next. Safe verdicts keep e2mmpstatus's words.
pub fn describe_verdict(path: &Path, mmp_block: BlockNumber, verdict: &Verdict) -> String {
    let device = shown(path);
    match verdict {
        Verdict::Clean { watched, .. } if watched.is_zero() => {
            format!("it is safe to mount '{device}', MMP is clean")
        }
        Verdict::Clean { watched, .. } => {
            let watched = seconds_text(*watched);
            format!("it is safe to mount '{device}', MMP is clean and stayed so for {watched}")
        }
        Verdict::Stale { block, watched } => format!(
            "it is safe to mount '{device}', MMP is stale: unchanged for {}, last written by {}",
            seconds_text(*watched),
            Holder(block),
        ),
        Verdict::InUse { block, after } => format!(
            "{device}: in use by {}: the MMP block changed within {}. Do not mount it here; \
             unmount or stop it there first",
            Holder(block),
            seconds_text(*after),
        ),
        Verdict::Fsck { block } => format!(
            "{device}: fsck: not safe to mount; {} began e2fsck or a change. Look on that node \
             whether it still runs, perhaps at a question; only if not, free it with \
             'mmptune -f -E clear_mmp {device}', then run 'e2fsck -f'",
            Holder(block),
        ),
        Verdict::Unknown { block } => format!(
            "{device}: unknown: not safe to mount; the MMP sequence {:#010x} by {} is none that \
             this program knows. Find out what wrote it before anything else",
            block.sequence().raw(),
            Holder(block),
        ),
        Verdict::Invalid { block, why } => {
            // What is no MMP block has no names either.
            let why = match why {
                Invalid::Magic { .. } => why.to_string(),
                Invalid::Checksum { .. } => format!("{why}, update by {}", Holder(block)),
            };
            format!(
                "{device}: {}: not safe to mount; MMP block {mmp_block}: {why}. Check the \
                 device, then run e2fsck",
                verdict_word(verdict),
            )
        }
        Verdict::Unreadable(fault) => {
            format!("{device}: cannot read MMP block {mmp_block}: {fault}")
        }
        Verdict::Stopped => format!("{device}: stopped before the answer was known"),
    }
}

/// A device that does not answer, by the name it was asked for by.
pub fn describe_hung(name: &(impl AsRef<OsStr> + ?Sized)) -> String {
    format!(
        "{}: hung: has not answered; nothing can be said of it. See its paths and the kernel's \
         log; what uses it hangs too",
        shown(name),
    )
}

/// Why a claim was refused.
pub fn describe_refusal(path: &Path, mmp_block: BlockNumber, why: &Refusal) -> String {
    let device = shown(path);
    match why {
        Refusal::NotSafe(verdict) => describe_verdict(path, mmp_block, verdict),
        Refusal::LostRace { by } => {
            format!(
                "{device}: in use by {}, which claimed it at the same moment. Stop it there first",
                Holder(by)
            )
        }
        Refusal::Unwritable(fault) => {
            format!("{device}: cannot write MMP block {mmp_block}: {fault}")
        }
        Refusal::Unverified(error) => {
            format!("{device}: claim given up: cannot read MMP block {mmp_block}: {error}")
        }
        Refusal::Expired => format!(
            "{device}: the claim ran out before it could be used; this machine or the device was \
             too slow. Try again"
        ),
        Refusal::Stopped => format!("{device}: stopped before it was claimed"),
    }
}

/// What a holder saw and dealt with.
pub fn describe_notice(path: &Path, notice: &Notice) -> String {
    let device = shown(path);
    match notice {
        Notice::Defended { found } => format!(
            "{device}: somebody else wrote the MMP block: {}, sequence {}. It is ours; \
             written again. Find out what runs there",
            Holder(found),
            found.sequence(),
        ),
        Notice::ReadFailed(error) => {
            format!("{device}: cannot read the MMP block: {error}; trying again")
        }
        Notice::WriteFailed(fault) => {
            format!("{device}: cannot write the MMP block: {fault}; trying again")
        }
    }
}

/// How a loss came about.
pub fn describe_loss(path: &Path, loss: &Loss) -> String {
    let device = shown(path);
    match loss {
        Loss::SecondWriter { found } => format!(
            "{device}: lost: {} goes on writing the MMP block; two nodes may be using this file \
             system: stop both and run 'e2fsck -f'",
            Holder(found),
        ),
        Loss::Gone { why } => format!(
            "{device}: lost: the MMP block was overwritten by something else ({why}); nothing more \
             is written. Find out who made a file system or turned MMP off there",
        ),
        Loss::Expired { last_write, lease, found, fault } => {
            let mut text = format!(
                "{device}: lost: no heartbeat reached the disk within {} of the last one",
                seconds_text(lease.since(*last_write)),
            );
            if let Some(fault) = fault {
                text += &format!(" ({fault})");
            }
            text + "; " + &describe_found(found.as_ref())
        }
    }
}

/// A loss that the device itself has not told: it does not answer.
pub fn describe_expired(path: &Path) -> String {
    format!("{}: lost: no heartbeat has ended and the lease has run out", shown(path))
}

/// A device whose holder ends without it.
pub fn describe_left(path: &Path) -> String {
    format!("{}: does not answer; left as it is", shown(path))
}

/// Who is seen to have a lost device; `found` is the block where it is not ours.
pub fn describe_found(found: Option<&MmpBlock>) -> String {
    match found {
        Some(block) => format!("the MMP block now is by {}", Holder(block)),
        None => "nobody is seen to have taken it yet".to_owned(),
    }
}

/// The MMP block as `e2mmpstatus -i` and `dumpe2fs` print it, without the block's number.
pub fn mmp_lines(block: &MmpBlock) -> String {
    format!(
        "MMP_block:\n    mmp_magic: {:#x}\n    mmp_check_interval: {}\n    mmp_sequence: {}\n    \
         mmp_update_date: {}\n    mmp_update_time: {}\n    mmp_node_name: {}\n    \
         mmp_device_name: {}\n",
        block.magic(),
        block.check_interval(),
        match block.sequence().raw() {
            // As C's %#08x has it.
            0 => "00000000".to_owned(),
            raw => format!("{raw:#08x}"),
        },
        date(block.time()),
        block.time(),
        block.nodename(),
        block.bdevname(),
    )
}
