//! Many file systems at once: which, how long, and in which form they are reported.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;

use super::{Arguments, NAME, health, json, nagios, prometheus, table};
use crate::cli::common::resolve_all;
use crate::device::{LocalView, block_devices, mounted_among, shown};
use crate::protocol::Verdict;
use crate::report::exit::{DONE, REFUSED, TROUBLE};
use crate::report::{Document, emit, replace};
use crate::survey::{Limits, State, Surveyed, look_at_all};

const NO_LIST: &str = "cannot tell which block devices this machine has";

/// Surveys and reports; the exit code.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let named = !arguments.devices.is_empty();
    let paths = match named {
        true => resolve_all(&arguments.devices)?,
        false => discover(arguments.mounted).context(NO_LIST)?,
    };
    let limits = Limits { timeout: arguments.timeout, skip_others: !named };
    let devices = look_at_all(&paths, limits).context("cannot look")?;
    let (text, code) = match () {
        () if arguments.nagios => nagios::line(&devices),
        () if arguments.health => {
            health::text(&devices, named, arguments.lustre_health.as_deref())?
        }
        () if arguments.prometheus => (prometheus::metrics(&devices).to_string(), DONE),
        () if arguments.json => {
            let entries = devices.iter().map(|device| json::fields(device, exit_code(device)));
            (Document::new(NAME, entries.collect()).render()?, worst(&devices))
        }
        () => (table::text(&devices, arguments.quiet, columns()), worst(&devices)),
    };
    match &arguments.output {
        Some(path) => {
            replace(path, &text).with_context(|| format!("{}: cannot write", shown(path)))?
        }
        None => emit(&text).context("cannot write the result")?,
    }
    Ok(code)
}

/// All devices, or those that are mounted here.
fn discover(mounted: bool) -> io::Result<Vec<PathBuf>> {
    let devices = block_devices()?;
    Ok(if mounted { mounted_among(devices, &LocalView::take()?) } else { devices })
}

/// The width of the terminal that standard output is, if it is one.
fn columns() -> Option<usize> {
    let size = io::stdout().is_terminal().then(ratatui::crossterm::terminal::size)?;
    size.ok().map(|(columns, _)| columns.into()).filter(|columns| *columns > 0)
}

fn worst(devices: &[Surveyed]) -> u8 {
    devices.iter().map(exit_code).max().unwrap_or(DONE)
}

/// As for a device that is named: could not tell, not well, well.
fn exit_code(device: &Surveyed) -> u8 {
    match &device.state {
        State::Hung | State::Error { .. } => TROUBLE,
        State::Verdict(Verdict::Unreadable(_)) => TROUBLE,
        _ if device.findings.is_empty() => DONE,
        _ => REFUSED,
    }
}
