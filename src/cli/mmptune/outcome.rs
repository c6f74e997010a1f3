//! What was done, in words and in JSON.

use serde::Serialize;

use crate::layout::Superblock;
use crate::tune::{Change, Plan, Step};

/// A change that was carried out, or, with a plan, that would be.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was asked for.
    pub(super) change: Change,
    /// The superblock before.
    pub(super) before: Superblock,
    /// The superblock after; `None` where there was nothing to do.
    pub(super) after: Option<Superblock>,
    /// The plan, where it was only to be shown.
    pub(super) plan: Option<Plan>,
}

impl Outcome {
    /// Whether the device was changed.
    pub(super) fn is_made(&self) -> bool {
        self.after.is_some() && self.plan.is_none()
    }

    /// One or more whole lines; none where tune2fs says nothing either.
    pub(super) fn message(&self) -> String {
        let Some(after) = &self.after else {
            let state = if self.before.features().mmp() { "on" } else { "off" };
            return format!("MMP is {state} already; nothing changed.\n");
        };
        if let Some(plan) = &self.plan {
            let lines = plan.steps().enumerate();
            return lines.map(|(i, step)| format!("{:3}. {step}\n", i + 1)).collect();
        }
        let mut text = String::new();
        let interval = after.mmp_update_interval();
        if self.change.turns(&self.before) == Some(true) {
            text += &format!(
                "Multiple mount protection has been enabled with update interval {interval}s.\n"
            );
        }
        if self.change.interval.is_some() {
            let plural = if interval == 1 { "" } else { "s" };
            text += &format!(
                "Setting multiple mount protection update interval to {interval} second{plural}\n"
            );
        }
        text
    }
}

/// One step of a plan.
#[derive(Debug, Serialize)]
struct StepFields {
    /// `look`, `write` or `flush`.
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_number: Option<u64>,
    /// Bytes from the start of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl From<Step> for StepFields {
    fn from(step: Step) -> Self {
        let bare = |step| StepFields {
            step,
            what: None,
            block_number: None,
            offset_bytes: None,
            length_bytes: None,
            why: None,
        };
        match step {
            Step::Look => bare("look"),
            Step::Flush => bare("flush"),
            Step::Write(write) => StepFields {
                step: "write",
                what: Some(write.what.to_string()),
                block_number: Some(write.block.0),
                offset_bytes: Some(write.offset.0),
                length_bytes: Some(write.bytes.len()),
                why: Some(write.why.into_owned()),
            },
        }
    }
}

/// What became of the device.
#[derive(Debug, Serialize)]
pub(super) struct TuneFields {
    device: String,
    exit_code: u8,
    /// The same in words.
    message: String,
    /// Whether anything was changed, or with a plan would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    /// Whether MMP is on afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    mmp_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_interval_s: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Vec<StepFields>>,
}

impl TuneFields {
    pub(super) fn new(
        device: String,
        exit_code: u8,
        message: String,
        outcome: Option<Outcome>,
    ) -> Self {
        let last = outcome.as_ref().map(|o| o.after.as_ref().unwrap_or(&o.before));
        let on = last.map(|superblock| superblock.features().mmp());
        let block_number = last.filter(|_| on == Some(true)).map(|s| s.mmp_block().0);
        let update_interval_s = last.map(Superblock::mmp_update_interval);
        let plan = outcome.as_ref().and_then(|o| o.plan.as_ref());
        TuneFields {
            device,
            exit_code,
            message: message.trim_end().to_owned(),
            changed: outcome.as_ref().map(|o| o.after.is_some()),
            mmp_enabled: on,
            block_number,
            update_interval_s,
            plan: plan.map(|plan| plan.steps().map(StepFields::from).collect()),
        }
    }
}
