//! `mmptarget`: a target as a cluster's resource.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};

use super::common::{duration, run};
use crate::cluster::{
    Health, MonitorError, Presence, StartRequest, StopError, StopRequest, Target, keep, monitor,
    recall, start, stop, validate, watch_for,
};
use crate::device::{Plain, shown};
use crate::mount::real_type;
use crate::protocol::{Pulse, ReadError, Stillness};
use crate::report::exit::{DONE, REFUSED, TARGET_NOT_MOUNTED, TROUBLE};
use crate::report::{Holder, complain, emit, seconds_text};

const NAME: &str = "mmptarget";

/// A target as a cluster manages it: what the Pacemaker agent and the Heartbeat script run, and what
/// an administrator runs to see the same. Exit codes are those of OCF resource agents.
#[derive(Debug, Parser)]
#[command(name = NAME, version, arg_required_else_help = false)]
pub struct Arguments {
    #[command(subcommand)]
    job: Job,
}

const START_STATUS: &str = "\
Exit status:
  0  mounted
  1  failed, and may succeed later or elsewhere
  2  wrong usage
  5  not on this machine, but perhaps on another
  6  nowhere before something is put right";
const VALIDATE_STATUS: &str = "\
Exit status:
  0  nothing is wrong
  1  in use on this machine
  2  wrong usage
  5  not on this machine, but perhaps on another
  6  nowhere before something is put right";
const STOP_STATUS: &str = "\
Exit status:
  0  not mounted
  1  it is still mounted, or somewhere else on this machine
  2  wrong usage";
const STATUS_STATUS: &str = "\
Exit status:
  0  mounted
  1  that cannot be told
  2  wrong usage
  7  not mounted";
const MONITOR_STATUS: &str = "\
Exit status:
  0  all is well
  1  mounted, and something is wrong
  2  wrong usage
  7  not mounted";
const GONE_STATUS: &str = "\
Exit status:
  0  it is gone
  1  it writes
  2  that cannot be told, or wrong usage";

#[derive(Debug, Subcommand)]
enum Job {
    /// Mount it, guarded as by 'mount -t mmp.TYPE'; done where it is mounted already.
    #[command(after_long_help = START_STATUS)]
    Start {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        how: How,
    },
    /// Check what can be checked without touching it, and that the time given to a start suffices.
    #[command(after_long_help = VALIDATE_STATUS)]
    Validate {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        how: How,
    },
    /// Unmount it and see that its MMP block is clean; done where it is not mounted.
    #[command(after_long_help = STOP_STATUS)]
    Stop {
        #[command(flatten)]
        place: Place,
        /// Give up in time before that has passed
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60")]
        timeout: Duration,
        /// Do not end the processes that use it
        #[arg(long)]
        keep_users: bool,
    },
    /// Tell whether it is mounted.
    #[command(after_long_help = STATUS_STATUS)]
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Tell whether it is mounted, its heartbeat advances and is this machine's.
    #[command(after_long_help = MONITOR_STATUS)]
    Monitor {
        #[command(flatten)]
        place: Place,
        /// Answer before that has passed, if need be from when the block says that it was written
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
        /// Leave there when the heartbeat was seen, for the next monitor
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        remember: Option<PathBuf>,
    },
    /// Tell whether a node is gone: whether it writes none of the devices for the guard interval.
    #[command(after_long_help = GONE_STATUS)]
    Gone {
        /// Its host name, as it stands in MMP blocks
        #[arg(value_name = "HOST", value_parser = OsStringValueParser::new().try_map(named))]
        host: OsString,
        /// All devices it can have
        #[arg(required = true, value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
        devices: Vec<OsString>,
        /// This machine's own host name in MMP blocks, where it sees another (in a container)
        #[arg(long, value_name = "NAME")]
        node: Option<OsString>,
    },
}

/// A name with something in it: no host is always gone, and no device could be any that is mounted.
fn named(name: OsString) -> Result<OsString, &'static str> {
    if name.is_empty() { Err("it is empty") } else { Ok(name) }
}

#[derive(Args, Debug)]
struct Place {
    /// Block device, LABEL=… or UUID=…
    #[arg(
        value_name = "DEVICE",
        value_hint = ValueHint::AnyPath,
        value_parser = OsStringValueParser::new().try_map(named),
    )]
    device: OsString,
    /// Where it is mounted
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The host name that this machine's kernel writes, where it sees another (in a container)
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,
}

#[derive(Args, Debug)]
struct How {
    /// The real type; lustre where mount.lustre is installed, else ext4
    #[arg(short = 't', value_name = "TYPE")]
    fstype: Option<OsString>,
    /// Mount options, those of mount.mmp among them
    #[arg(short, value_name = "OPTIONS", default_value = "")]
    options: OsString,
    /// Give up in time before that has passed; refuse if a start may take longer
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

impl From<Place> for Target {
    fn from(place: Place) -> Self {
        Target { device: place.device, dir: place.dir, node: place.node }
    }
}

impl From<How> for StartRequest {
    fn from(how: How) -> Self {
        let fstype = real_type(how.fstype.as_deref());
        StartRequest { fstype, options: how.options, timeout: how.timeout, program: NAME }
    }
}

/// The program.
pub fn main() -> ExitCode {
    run(NAME, TROUBLE, |arguments: Arguments| match arguments.job {
        Job::Start { place, how } => {
            let (target, request) = (place.into(), how.into());
            Ok(match start(&target, &request) {
                Ok(did) => {
                    let word = if did { "mounted" } else { "is mounted already" };
                    let (device, dir) = (shown(&target.device), shown(&target.dir));
                    complain(NAME, format!("{device}: {word} on {dir}"));
                    DONE
                }
                Err(error) => {
                    complain(NAME, &error);
                    error.exit_code()
                }
            })
        }
        Job::Validate { place, how } => {
            let (target, request) = (place.into(), how.into());
            Ok(match validate(&target, &request) {
                Ok(_) => DONE,
                Err(error) => {
                    complain(NAME, &error);
                    error.exit_code()
                }
            })
        }
        Job::Stop { place, timeout, keep_users } => {
            let target = place.into();
            let request = StopRequest { timeout, keep_users, program: NAME };
            match stop(&target, &request) {
                Ok(did) => {
                    let text =
                        if did { "unmounted; its MMP block is clean" } else { "not mounted" };
                    complain(NAME, format!("{}: {text}", shown(&target.device)));
                    Ok(DONE)
                }
                Err(error) => {
                    complain(NAME, error);
                    Ok(REFUSED)
                }
            }
        }
        Job::Status { place } => {
            let target = Target::from(place);
            let (text, code) = match target.mounted() {
                Ok(Some(_)) => ("running\n", DONE),
                Ok(None) => ("stopped\n", TARGET_NOT_MOUNTED),
                Err(why) => {
                    let dir = shown(&target.dir).to_string();
                    complain(NAME, StopError::CannotTell { dir, why });
                    return Ok(REFUSED);
                }
            };
            emit(text).context("cannot write the result")?;
            Ok(code)
        }
        Job::Monitor { place, timeout, remember } => {
            let target = place.into();
            let health = monitor(&target, timeout, remember.as_deref().and_then(recall));
            if let (Ok(Health::Mounted(Pulse::Beating { beat, .. })), Some(file)) =
                (&health, remember)
                && let Err(error) = keep(&file, *beat)
            {
                // The target is well all the same.
                let (file, why) = (shown(&file), Plain(&error));
                complain(
                    NAME,
                    format!("{file}: cannot be written: {why}; the next monitor is slower"),
                );
            }
            Ok(judge(&target, health))
        }
        Job::Gone { host, devices, node } => {
            let seen = watch_for(&host, &devices, node.as_ref());
            let tell = |(device, presence): (&OsString, &Presence)| {
                let (code, text) = missed(&host, presence)?;
                complain(NAME, format!("{}: {text}", shown(device)));
                Some(code)
            };
            Ok(devices.iter().zip(&seen).filter_map(tell).max().unwrap_or(DONE))
        }
    })
}

/// How a target does, in a code, and in a line where something is wrong.
fn judge(target: &Target, health: Result<Health, MonitorError>) -> u8 {
    let (code, text) = match health {
        Ok(Health::NotMounted) => (TARGET_NOT_MOUNTED, "not mounted".to_owned()),
        Ok(Health::ReadOnly | Health::Unprotected) => return DONE,
        Ok(Health::BecameReadOnly) => {
            let text = "the kernel has made it read-only, so it met an error; see its log";
            (REFUSED, text.to_owned())
        }
        Ok(Health::Mounted(Pulse::Beating { .. })) => return DONE,
        Ok(Health::Mounted(pulse)) => (REFUSED, describe(&pulse)),
        Err(MonitorError::Device(error)) => {
            // It names the device.
            complain(NAME, error);
            return REFUSED;
        }
        Err(error) => (REFUSED, error.to_string()),
    };
    complain(NAME, format!("{}: {text}", shown(&target.device)));
    code
}

fn describe(pulse: &Pulse) -> String {
    match pulse {
        Pulse::Beating { block, .. } => format!("in use by {}", Holder(block)),
        Pulse::Still { block, watched } => format!(
            "mounted here, but its heartbeat stands still: unchanged for {}, last written by {}. \
             Is it frozen (fsfreeze), or does its disk hang? Another node may take it now",
            seconds_text(*watched),
            Holder(block),
        ),
        Pulse::Foreign { block } => format!(
            "mounted here, but its MMP block is written by {}: two nodes may be using this file \
             system. Stop both and run 'e2fsck -f'",
            Holder(block),
        ),
        Pulse::Released { block } => format!(
            "mounted here, but its MMP block stays clean, last written by {}: nothing keeps \
             another node from mounting it",
            Holder(block),
        ),
        Pulse::Unreadable(error @ ReadError::Io(_)) => {
            format!("mounted here, but its MMP block cannot be read: {error}")
        }
        Pulse::Unreadable(error) => format!("mounted here, but {error}"),
        Pulse::Stopped => "stopped before the answer was known".to_owned(),
    }
}

/// Why a device does not show that a node is gone; nothing where it does.
fn missed(host: &OsString, presence: &Presence) -> Option<(u8, String)> {
    let host = shown(host);
    let unknown = |why: &dyn std::fmt::Display| {
        (TROUBLE, format!("cannot tell whether node '{host}' is gone: {why}"))
    };
    match presence {
        Presence::Watched(Stillness::Unchanged { .. }) => None,
        Presence::Watched(Stillness::Changed { block, after }) => {
            let (after, by) = (seconds_text(*after), Holder(block));
            let text =
                format!("node '{host}' is not gone: the MMP block changed within {after}: {by}");
            Some((REFUSED, text))
        }
        Presence::Watched(Stillness::Unreadable(fault)) => Some(unknown(fault)),
        Presence::Watched(Stillness::Stopped) => Some(unknown(&"stopped before that was known")),
        Presence::Unknown(error) => Some(unknown(error)),
        Presence::System(error) => Some(unknown(&Plain(error))),
    }
}
