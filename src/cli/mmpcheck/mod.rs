//! `mmpcheck`: may this be mounted, and is all well with what is on this machine?

mod health;
mod json;
mod nagios;
mod prometheus;
mod survey;
mod table;

use std::convert::Infallible;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Parser};

use super::common::{duration, message, run};
use crate::daemon::{Alarm, Stop, allow_devices, drive, now, survive};
use crate::device::{DeviceError, MmpDevice, Reader, resolve, shown};
use crate::layout::{MmpArea, MmpBlock};
use crate::protocol::{Check, Machine, Verdict};
use crate::report::exit::{DONE, NAGIOS_UNKNOWN, REFUSED, TROUBLE};
use crate::report::{
    Document, Narrator, Progress, ProgressLine, VerdictFields, complain, describe_verdict, emit,
    mmp_lines,
};

const NAME: &str = "mmpcheck";
/// A checker needs little stack, and there may be a thousand.
const STACK: usize = 256 * 1024;

/// Tells whether devices may be mounted: reads the MMP block and, unless it is clean, watches for
/// the guard interval whether somebody rewrites it. With --all tells what is wrong with the ext4
/// and ldiskfs file systems of this machine. Never writes to a device.
///
/// Exit status: 0 safe to mount, or all is well; 1 in use, not safe, or something was found; 2
/// could not tell. Of several devices the worst counts. With --nagios: 0 OK; 1 warning; 2 critical;
/// 3 unknown. With --prometheus: 0 once the metrics are written.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
#[command(group(ArgGroup::new("survey").multiple(true).args(["all", "mounted", "nagios", "prometheus", "health"])))]
#[command(group(ArgGroup::new("form").args(["info", "json", "nagios", "prometheus", "health"])))]
pub struct Arguments {
    /// Check every ext4 file system on this machine's block devices
    #[arg(long, conflicts_with = "devices")]
    all: bool,
    /// Check those of them that are mounted here
    #[arg(long, conflicts_with = "devices")]
    mounted: bool,
    /// Show the MMP block as e2mmpstatus -i does, and check nothing
    #[arg(short, long, conflicts_with = "survey")]
    info: bool,
    /// Watch for the guard interval even if the block is clean
    #[arg(long, conflicts_with = "survey")]
    guard: bool,
    /// Wait so long for a device in use to be released
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0", conflicts_with = "survey")]
    wait: Duration,
    /// Watch no longer than this; what is not clean and not known to be in use then is active
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "survey")]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print one line as a Nagios plugin
    #[arg(long)]
    nagios: bool,
    /// Print metrics for Prometheus
    #[arg(long)]
    prometheus: bool,
    /// Write the metrics to a file, all at once
    #[arg(short, long, value_name = "FILE", requires = "prometheus")]
    output: Option<PathBuf>,
    /// Say `healthy` or `NOT HEALTHY` as Lustre's health_check does, and heed that file
    #[arg(long)]
    health: bool,
    /// Where Lustre's health_check is
    #[arg(long, value_name = "FILE", requires = "health")]
    lustre_health: Option<PathBuf>,
    /// Print only what is not safe to mount, or what is wrong
    #[arg(short, long, conflicts_with = "form")]
    quiet: bool,
    /// Explain each step on standard error
    #[arg(short, long, conflicts_with = "survey")]
    verbose: bool,
    /// Block devices, images, LABEL=… or UUID=…
    #[arg(required_unless_present_any = ["all", "mounted", "health"], value_name = "DEVICE")]
    devices: Vec<OsString>,
}

impl Arguments {
    fn is_survey(&self) -> bool {
        self.all || self.mounted || self.nagios || self.prometheus || self.health
    }
}

/// The program.
pub fn main() -> ExitCode {
    // Nagios takes 2 for critical, also from a command line that is wrong.
    let nagios = std::env::args_os().any(|argument| argument == "--nagios");
    let trouble = if nagios { NAGIOS_UNKNOWN } else { TROUBLE };
    run(NAME, trouble, |arguments: Arguments| match () {
        () if arguments.is_survey() => Ok(survive(|| survey::run(&arguments))),
        () if arguments.info => info(&arguments),
        () => check(&arguments),
    })
}

fn info(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut worst = DONE;
    for spec in &arguments.devices {
        match read(spec) {
            Ok((area, block)) => {
                let number = area.block;
                emit(&format!("{}    mmp_block_number: {number}\n", mmp_lines(&block)))
                    .context("cannot write the result")?;
            }
            Err(error) => {
                complain(NAME, error);
                worst = TROUBLE;
            }
        }
    }
    Ok(worst)
}

fn read(spec: &OsString) -> Result<(MmpArea, MmpBlock), DeviceError> {
    let mut device = open(&resolve(spec)?)?;
    let block = device.read().map_err(|source| DeviceError::Read {
        path: device.device().path().into(),
        what: format!("MMP block {}", device.area().block),
        offset: device.area().offset,
        source,
    })?;
    Ok((*device.area(), block))
}

fn open(path: &Path) -> Result<MmpDevice<Reader>, DeviceError> {
    MmpDevice::new(Reader::open(path)?)
}

/// What one device came to.
enum Found {
    Verdict { path: PathBuf, area: MmpArea, verdict: Verdict },
    Error(String),
}

impl Found {
    fn exit_code(&self) -> u8 {
        match self {
            Found::Verdict { verdict: Verdict::Unreadable(_) | Verdict::Stopped, .. } => TROUBLE,
            Found::Verdict { verdict: Verdict::Invalid { why, .. }, .. } => match why {
                crate::layout::Invalid::Magic { .. } => TROUBLE,
                crate::layout::Invalid::Checksum { .. } => REFUSED,
            },
            Found::Verdict { verdict, .. } if verdict.is_safe() => DONE,
            Found::Verdict { .. } => REFUSED,
            Found::Error(_) => TROUBLE,
        }
    }

    fn message(&self) -> String {
        match self {
            Found::Verdict { path, area, verdict } => describe_verdict(path, area.block, verdict),
            Found::Error(message) => message.clone(),
        }
    }
}

fn check(arguments: &Arguments) -> anyhow::Result<u8> {
    allow_devices(arguments.devices.len());
    let progress = Progress::new(!arguments.quiet);
    let stop = Stop::new().context("cannot make an eventfd")?;
    thread::scope(|scope| {
        let spawn = |(index, spec)| {
            let (progress, stop) = (&progress, &stop);
            let builder = thread::Builder::new().stack_size(STACK);
            let thread = builder.spawn_scoped(scope, move || {
                check_one(arguments, spec, progress, index, stop)
                    .unwrap_or_else(|error| Found::Error(message(&error)))
            });
            thread.context("cannot start a thread")
        };
        let threads: Vec<_> = arguments.devices.iter().enumerate().map(spawn).collect();
        let mut worst = DONE;
        let mut entries = Vec::new();
        for (thread, spec) in threads.into_iter().zip(&arguments.devices) {
            let found = thread?.join().unwrap_or_else(|_| Found::Error("failed".to_owned()));
            let code = found.exit_code();
            worst = worst.max(code);
            if arguments.json {
                entries.push(fields(spec, &found, code));
            } else if code == TROUBLE {
                complain(NAME, found.message());
            } else if code != DONE || !arguments.quiet {
                emit(&format!("{NAME}: {}\n", found.message()))
                    .context("cannot write the result")?;
            }
        }
        if arguments.json {
            let text = Document::new(NAME, entries).render()?;
            emit(&text).context("cannot write the result")?;
        }
        Ok(worst)
    })
}

fn fields(spec: &OsString, found: &Found, code: u8) -> VerdictFields {
    match found {
        Found::Verdict { path, area, verdict } => VerdictFields::new(path, area, verdict, code),
        Found::Error(message) => {
            VerdictFields::error(shown(spec).to_string(), message.clone(), code)
        }
    }
}

fn check_one(
    arguments: &Arguments,
    spec: &OsString,
    progress: &Progress,
    index: usize,
    stop: &Stop,
) -> anyhow::Result<Found> {
    let path = resolve(spec)?;
    let mut device = open(&path)?;
    let area = *device.area();
    let patience = now().instant + arguments.wait;
    let mut machine = Check::new(area.update_interval, arguments.guard, patience);
    let alarm = Alarm::new(stop).context("cannot make a timer")?;
    let line = progress.line(&path, index);
    let mut narrator = Narrator::default();
    let ControlFlow::Continue(verdict) = drive(&mut machine, &mut device, &alarm, |machine| {
        show(arguments.verbose, &path, &line, &mut narrator, machine);
        ControlFlow::<Infallible>::Continue(())
    })
    .context("cannot wait")?;
    Ok(Found::Verdict { path, area, verdict })
}

fn show(
    verbose: bool,
    path: &Path,
    line: &ProgressLine,
    narrator: &mut Narrator,
    machine: &impl Machine,
) {
    let instant = now().instant;
    line.show(machine.phase(), instant);
    if verbose && let Some(sentence) = narrator.line(machine.phase(), instant) {
        complain(NAME, format!("{}: {sentence}", shown(path)));
    }
}
