//! `mmpd status`: what the running `mmpd hold` see.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueHint};

use super::NAME;
use crate::daemon::{STATUS_DIR, Stage, ask_status};
use crate::device::shown;
use crate::report::exit::{DONE, REFUSED, TROUBLE};
use crate::report::{Document, complain, emit, status_metrics, status_table};

const EXIT_STATUS: &str = "\
Exit status:
  0  all are held or being claimed
  1  one was lost
  2  wrong usage, or none is held, or it could not be found out";

/// Shows the devices that mmpd holds on this machine: state, sequence, how long the last write
/// took and 99.9 % of all writes at most, how late 99.9 % of the heartbeats were at most, how long
/// the lease would still run, writes that failed, and foreign content found in the block.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(super) struct Arguments {
    /// For programs: JSON, with latencies and latenesses in buckets
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// For Prometheus: its text format
    #[arg(long)]
    prometheus: bool,
    /// Where the sockets of `mmpd hold` are
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, default_value = STATUS_DIR)]
    status_dir: PathBuf,
}

/// The command.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let dir = &arguments.status_dir;
    let (devices, silent) =
        ask_status(dir).with_context(|| format!("cannot ask in {}; only root may", shown(dir)))?;
    for socket in &silent {
        let advice = "its 'mmpd hold' does not answer. See whether the process of that number is \
                      stopped: its devices are lost once their leases run out";
        complain(NAME, format!("{}: {advice}", shown(socket)));
    }
    if devices.is_empty() && silent.is_empty() {
        bail!("no 'mmpd hold' runs on this machine");
    }
    let lost = devices.iter().any(|device| device.state == Stage::Lost.word());
    let text = match (arguments.json, arguments.prometheus) {
        (true, _) => Document::new(NAME, devices).render()?,
        (_, true) => status_metrics(&devices).to_string(),
        _ => status_table(&devices),
    };
    emit(&text).context("cannot write the result")?;
    Ok(match silent.as_slice() {
        [] if lost => REFUSED,
        [] => DONE,
        _ => TROUBLE,
    })
}
