//! What people and programs are told: words, JSON, metrics, progress, exit codes.
//!
//! One state has one word, in every program, message and field.

mod alarms;
pub mod exit;
mod header;
mod json;
pub mod metrics;
mod output;
mod progress;
mod status;
mod words;

pub use alarms::{
    alarm_advice, alarm_meaning, alarm_metrics, condition_word, describe_cause, describe_change,
};
pub use header::header;
pub use json::{AlarmFields, BlockFields, Document, HolderFields, VerdictFields};
pub use output::{complain, emit, replace};
pub use progress::{Narrator, Progress, ProgressLine};
pub use status::{DurationsFields, StatusFields, status_metrics, status_table};
pub use words::{
    Holder, date, describe_expired, describe_found, describe_hung, describe_left, describe_loss,
    describe_notice, describe_refusal, describe_verdict, mmp_lines, seconds_text, state_word,
    verdict_word,
};
