//! The JSON that every program speaks: the same fields for the same things.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::alarms::{alarm_advice, describe_cause};
use super::words::{block_word, date, describe_verdict, verdict_word};
use crate::device::shown;
use crate::layout::{MmpArea, MmpBlock, MmpChecksum};
use crate::protocol::{Change, Verdict, effective_interval, guard_interval};

/// The schema's version: it changes when a field's meaning does.
const VERSION: u32 = 1;

/// The outermost object.
#[derive(Debug, Serialize)]
pub struct Document<T> {
    version: u32,
    program: &'static str,
    devices: Vec<T>,
}

impl<T: Serialize> Document<T> {
    /// One entry a device.
    pub fn new(program: &'static str, devices: Vec<T>) -> Self {
        Document { version: VERSION, program, devices }
    }

    /// The text, ending in a newline.
    pub fn render(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Who wrote a block. Text is escaped as in messages.
#[derive(Debug, Serialize)]
pub struct HolderFields {
    node_name: String,
    device_name: String,
    /// Seconds since the epoch, by that node's clock.
    update_time: u64,
    update_date: String,
}

impl From<&MmpBlock> for HolderFields {
    fn from(block: &MmpBlock) -> Self {
        HolderFields {
            node_name: block.nodename().to_string(),
            device_name: block.bdevname().to_string(),
            update_time: block.time(),
            update_date: date(block.time()),
        }
    }
}

/// A decoded MMP block.
#[derive(Debug, Serialize)]
pub struct BlockFields {
    block_number: u64,
    magic: u32,
    sequence: u32,
    state: &'static str,
    check_interval_s: u16,
    update_interval_s: u16,
    /// Not of a block that is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    guard_interval_s: Option<u64>,
    checksum: u32,
    /// `valid`, `none` (the file system keeps none), or what is wrong.
    checksum_verdict: String,
    holder: HolderFields,
}

impl BlockFields {
    /// Decodes `block` as found at `area`.
    pub fn new(block: &MmpBlock, area: &MmpArea) -> Self {
        let c = effective_interval(area.update_interval, block.check_interval());
        let valid = block.verify(area.checksum).is_ok();
        BlockFields {
            block_number: area.block.0,
            magic: block.magic(),
            sequence: block.sequence().raw(),
            state: block_word(block, area.checksum),
            check_interval_s: block.check_interval(),
            update_interval_s: area.update_interval,
            guard_interval_s: valid.then(|| guard_interval(c).as_secs()),
            checksum: block.checksum(),
            checksum_verdict: checksum_verdict(block, area.checksum),
            holder: block.into(),
        }
    }

    /// `valid`, `none`, or what is wrong.
    pub fn checksum_verdict(&self) -> &str {
        &self.checksum_verdict
    }

    /// What the block says by itself, or what is wrong with it.
    pub fn state(&self) -> &'static str {
        self.state
    }

    /// How long a contender would watch the block, seconds; nobody would one that is not valid.
    pub fn guard_interval_s(&self) -> Option<u64> {
        self.guard_interval_s
    }
}

fn checksum_verdict(block: &MmpBlock, checksum: MmpChecksum) -> String {
    match (block.verify(checksum), checksum) {
        (Err(why), _) => why.to_string(),
        (Ok(()), MmpChecksum::None) => "none".to_owned(),
        (Ok(()), MmpChecksum::Crc32c { .. }) => "valid".to_owned(),
    }
}

/// What `mmpcheck` found out about one device.
#[derive(Debug, Serialize)]
pub struct VerdictFields {
    device: String,
    /// `clean`, `stale`, `in use`, `fsck`, `unknown`, `bad checksum`, `bad magic`, `unreadable`,
    /// `stopped`; `error` where the device could not be looked at, `hung` where it did not answer;
    /// of a survey also `no mmp`, and `active` where it was not watched to the end.
    state: &'static str,
    safe_to_mount: bool,
    exit_code: u8,
    /// The same in a sentence.
    message: String,
    /// How long the block was watched, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    watched_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mmp: Option<BlockFields>,
}

impl VerdictFields {
    /// A verdict on a device with MMP.
    pub fn new(path: &Path, area: &MmpArea, verdict: &Verdict, exit_code: u8) -> Self {
        let watched = match verdict {
            Verdict::Clean { watched, .. } | Verdict::Stale { watched, .. } => Some(*watched),
            Verdict::InUse { after, .. } => Some(*after),
            _ => None,
        };
        VerdictFields {
            device: shown(path).to_string(),
            state: verdict_word(verdict),
            safe_to_mount: verdict.is_safe(),
            exit_code,
            message: describe_verdict(path, area.block, verdict),
            watched_s: watched.as_ref().map(Duration::as_secs_f64),
            mmp: verdict.block().map(|block| BlockFields::new(block, area)),
        }
    }

    /// A device without a verdict, and its block where it was read.
    pub fn undecided(
        device: String,
        state: &'static str,
        message: String,
        exit_code: u8,
        mmp: Option<BlockFields>,
    ) -> Self {
        let (safe_to_mount, watched_s) = (false, None);
        VerdictFields { device, state, safe_to_mount, exit_code, message, watched_s, mmp }
    }
}

/// An alarm of `mmpd watch`: one line, an object of its own.
#[derive(Debug, Serialize)]
pub struct AlarmFields {
    version: u32,
    program: &'static str,
    device: String,
    alarm: &'static str,
    /// `raised` or `cleared`.
    state: &'static str,
    /// When it was noticed, seconds since the epoch.
    time: u64,
    /// What was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl AlarmFields {
    /// A change noticed at `time`, seconds since the epoch.
    pub fn new(program: &'static str, path: &Path, change: &Change, time: u64) -> Self {
        let (alarm, cause) = match change {
            Change::Raised(cause) => (cause.alarm(), Some(cause)),
            Change::Cleared(alarm) => (*alarm, None),
        };
        AlarmFields {
            version: VERSION,
            program,
            device: shown(path).to_string(),
            alarm: alarm.name(),
            state: if cause.is_some() { "raised" } else { "cleared" },
            time,
            reason: cause.map(describe_cause),
            advice: cause.map(|_| alarm_advice(alarm)),
        }
    }

    /// The text, ending in a newline.
    pub fn line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}
