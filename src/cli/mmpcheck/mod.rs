//! `mmpcheck`: may this be mounted, and is all well with what is on this machine?

mod health;
mod json;
mod nagios;
mod prometheus;
mod survey;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Parser, ValueHint};

use super::common::{duration, message, run, settled};
use crate::daemon::{Answer, Asked, Due, Sleeper, Stop, ask_all, drive, now, survive};
use crate::device::{DeviceError, MmpDevice, Reader, resolve, shown};
use crate::layout::{Invalid, MmpArea, MmpBlock};
use crate::protocol::{Check, Machine, Phase, Verdict};
use crate::report::exit::{DONE, NAGIOS_UNKNOWN, REFUSED, TROUBLE};
use crate::report::{
    Document, Narrator, Progress, ProgressLine, VerdictFields, complain, describe_hung,
    describe_verdict, emit, mmp_lines,
};

const NAME: &str = "mmpcheck";

const EXIT_STATUS: &str = "\
Exit status:
  0  safe to mount, or nothing was found; with --nagios: OK
  1  in use or not safe, or something was found; with --nagios: warning
  2  could not tell, or wrong usage; with --nagios: critical
  3  with --nagios only: unknown
Of several devices the worst counts. With --health only what is critical counts,
and 2 is that nothing can be told of a device that was named, or of any; with
--prometheus only whether the metrics could be written.";

/// Tells whether devices may be mounted: reads the MMP block and, unless it is clean, watches for
/// the guard interval whether somebody rewrites it.
///
/// With --all tells what is wrong with the ext4 and ldiskfs file systems of this machine. A device
/// that does not answer for 10 s is called hung, and holds up nothing. Never writes to a device.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_long_help = EXIT_STATUS)]
#[command(group(ArgGroup::new("survey").multiple(true).args(["all", "mounted", "nagios", "prometheus", "health"])))]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["devices", "all", "mounted", "health"])))]
#[command(group(ArgGroup::new("form").args(["info", "json", "nagios", "prometheus", "health"])))]
pub struct Arguments {
    /// Check every ext4 file system on this machine's block devices
    #[arg(long, conflicts_with = "devices")]
    all: bool,
    /// Check those of them that are mounted here
    #[arg(long, conflicts_with_all = ["devices", "all"])]
    mounted: bool,
    /// Show the MMP block as e2mmpstatus -i does, and check nothing
    #[arg(short, long, conflicts_with = "survey")]
    info: bool,
    /// Watch for the guard interval even if the block is clean
    #[arg(long, conflicts_with = "survey")]
    guard: bool,
    /// Wait so long (30, 90s, 5min) for a device in use to be released
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0", conflicts_with = "survey")]
    wait: Duration,
    /// With --all, --mounted, --nagios, --prometheus or --health: watch no longer than this; what is
    /// not clean and not known to be in use then is active
    #[arg(long, value_name = "DURATION", value_parser = duration)]
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
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "prometheus")]
    output: Option<PathBuf>,
    /// Say `healthy` or `NOT HEALTHY` as Lustre's health_check does, and heed that file
    #[arg(long)]
    health: bool,
    /// Where Lustre's health_check is
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "health")]
    lustre_health: Option<PathBuf>,
    /// Print only what is not safe to mount, or what is wrong
    #[arg(short, long, conflicts_with = "form")]
    quiet: bool,
    /// Explain each step on standard error
    #[arg(short, long, conflicts_with = "survey")]
    verbose: bool,
    /// Block devices, images, LABEL=… or UUID=…
    #[arg(value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
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
    run(NAME, trouble, |arguments: Arguments| Ok(survive(|| work(arguments))))
}

fn work(arguments: Arguments) -> u8 {
    let nagios = arguments.nagios;
    let done = match () {
        () if arguments.is_survey() => survey::run(&arguments),
        () if arguments.timeout.is_some() => Err(anyhow::anyhow!(
            "--timeout goes with --all, --mounted, --nagios, --prometheus or --health only; see --help"
        )),
        () if arguments.info => info(&arguments),
        () => check(arguments),
    };
    done.unwrap_or_else(|error| {
        if nagios {
            // Nagios reads standard output only.
            let _ = emit(&nagios::trouble(&message(&error)));
            return NAGIOS_UNKNOWN;
        }
        complain(NAME, message(&error));
        TROUBLE
    })
}

fn info(arguments: &Arguments) -> anyhow::Result<u8> {
    let specs = arguments.devices.clone();
    let answers = ask_all(specs.len(), None, move |index, _| read(&specs[index]));
    let mut answers: Vec<_> = answers.context("cannot look")?.collect();
    // What is printed of a device does not name it.
    answers.sort_by_key(|(index, _)| *index);
    let mut worst = DONE;
    for (index, answer) in answers {
        match answer {
            Answer::Is(Ok((path, area, block))) => {
                let number = area.block;
                emit(&format!("{}    mmp_block_number: {number}\n", mmp_lines(&block)))
                    .context("cannot write the result")?;
                if let Err(why) = block.verify(area.checksum) {
                    // As e2mmpstatus: said, and no reason for another exit status.
                    let verdict = Verdict::Invalid { block, why };
                    complain(NAME, describe_verdict(&path, number, &verdict));
                }
                continue;
            }
            Answer::Is(Err(error)) => complain(NAME, error),
            Answer::Hung | Answer::Late => {
                complain(NAME, describe_hung(&arguments.devices[index]));
            }
        }
        worst = TROUBLE;
    }
    Ok(worst)
}

fn read(spec: &OsString) -> Result<(PathBuf, MmpArea, MmpBlock), DeviceError> {
    let path = resolve(spec)?;
    let mut device = open(&path)?;
    let block = settled(&mut device)?;
    Ok((path, *device.area(), block))
}

fn open(path: &Path) -> Result<MmpDevice<Reader>, DeviceError> {
    MmpDevice::new(Reader::open(path)?)
}

/// What one device came to.
enum Found {
    Verdict { path: PathBuf, area: MmpArea, verdict: Verdict },
    Error(String),
    Hung { name: OsString },
}

impl Found {
    fn exit_code(&self) -> u8 {
        match self {
            Found::Verdict { verdict: Verdict::Unreadable(_) | Verdict::Stopped, .. } => TROUBLE,
            Found::Verdict { verdict: Verdict::Invalid { why, .. }, .. } => match why {
                Invalid::Magic { .. } => TROUBLE,
                Invalid::Checksum { .. } => REFUSED,
            },
            Found::Verdict { verdict, .. } if verdict.is_safe() => DONE,
            Found::Verdict { .. } => REFUSED,
            Found::Error(_) | Found::Hung { .. } => TROUBLE,
        }
    }

    fn message(&self) -> String {
        match self {
            Found::Verdict { path, area, verdict } => describe_verdict(path, area.block, verdict),
            Found::Error(message) => message.clone(),
            Found::Hung { name } => describe_hung(name),
        }
    }
}

/// Says what a device came to as soon as that is known; in JSON, of all together.
fn check(arguments: Arguments) -> anyhow::Result<u8> {
    let arguments = Arc::new(arguments);
    let progress = Progress::new(!arguments.quiet);
    let stop = Stop::new().context("cannot make an eventfd")?;
    let (theirs, bars) = (Arc::clone(&arguments), progress.clone());
    let answers = ask_all(arguments.devices.len(), None, move |index, due| {
        check_one(&theirs, index, &bars, &stop, due)
            .unwrap_or_else(|error| Found::Error(message(&error)))
    });
    let mut worst = DONE;
    let mut entries: Vec<_> = arguments.devices.iter().map(|_| None).collect();
    for (index, answer) in answers.context("cannot look")? {
        let spec = &arguments.devices[index];
        let found = match answer {
            Answer::Is(found) => found,
            Answer::Hung | Answer::Late => Found::Hung { name: spec.clone() },
        };
        let code = found.exit_code();
        worst = worst.max(code);
        if arguments.json {
            entries[index] = Some(fields(spec, &found, code));
        } else if code == TROUBLE {
            progress.aside(|| complain(NAME, found.message()));
        } else if code != DONE || !arguments.quiet {
            progress
                .aside(|| emit(&format!("{NAME}: {}\n", found.message())))
                .context("cannot write the result")?;
        }
    }
    progress.clear();
    if arguments.json {
        let text = Document::new(NAME, entries.into_iter().flatten().collect()).render()?;
        emit(&text).context("cannot write the result")?;
    }
    Ok(worst)
}

fn fields(spec: &OsString, found: &Found, code: u8) -> VerdictFields {
    let undecided = |state| {
        let name = shown(spec).to_string();
        VerdictFields::undecided(name, state, found.message(), code, None)
    };
    match found {
        Found::Verdict { path, area, verdict } => VerdictFields::new(path, area, verdict, code),
        Found::Error(_) => undecided("error"),
        Found::Hung { .. } => undecided("hung"),
    }
}

fn check_one(
    arguments: &Arguments,
    index: usize,
    progress: &Progress,
    stop: &Stop,
    due: &Due,
) -> anyhow::Result<Found> {
    let path = resolve(&arguments.devices[index])?;
    let device = due.while_asking(|| open(&path))?;
    let area = *device.area();
    let patience = now().instant + arguments.wait;
    let mut machine = Check::new(area.update_interval, arguments.guard, patience);
    let sleeper =
        Sleeper::new(stop).with_context(|| format!("{}: cannot make a timer", shown(&path)))?;
    let line = progress.line(&path, index);
    let mut narrator = Narrator::default();
    let mut asked = Asked { device, due };
    let verdict = drive(&mut machine, &mut asked, &sleeper, |machine| {
        show(arguments.verbose, &path, &line, &mut narrator, machine.phase());
    })
    .context("cannot wait")?;
    Ok(Found::Verdict { path, area, verdict })
}

fn show(
    verbose: bool,
    path: &Path,
    line: &ProgressLine,
    narrator: &mut Narrator,
    phase: Phase<'_>,
) {
    let instant = now().instant;
    line.show(phase, instant);
    if verbose && let Some(sentence) = narrator.line(phase, instant) {
        complain(NAME, format!("{}: {sentence}", shown(path)));
    }
}
