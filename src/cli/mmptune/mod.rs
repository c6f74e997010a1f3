//! `mmptune`: MMP on, off, another interval, the block cleared.

mod guard;
mod options;
mod outcome;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Parser, ValueHint};

use self::outcome::{Outcome, TuneFields};
use super::common::run;
use crate::device::{resolve, shown};
use crate::report::exit::{DONE, REFUSED, TROUBLE};
use crate::report::{Document, complain, emit};

const NAME: &str = "mmptune";

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  refused because of the device's state, or of a value tune2fs refuses too
  2  wrong usage, or it could not be carried out";

/// Changes multiple-mount protection as tune2fs does, and on every ldiskfs layout: turns it on or
/// off, sets its update interval, clears its block.
///
/// Where MMP is on, the device is claimed first, with the guard interval, and held while it is
/// changed.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_long_help = EXIT_STATUS)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct Arguments {
    /// Turn MMP on or off: mmp, ^mmp
    #[arg(short = 'O', value_name = "FEATURE", group = "change", allow_hyphen_values = true)]
    features: Option<String>,
    /// mmp_update_interval=SECONDS (0 is the default of 5, at most 300), clear_mmp; separated by
    /// commas
    #[arg(short = 'E', value_name = "OPTION", group = "change")]
    extended: Option<String>,
    /// Go on although the file system was not cleanly unmounted or has errors; needed for
    /// clear_mmp. Twice: clear_mmp without watching whether somebody writes the block
    #[arg(short, action = ArgAction::Count)]
    force: u8,
    /// Change a file system with MMP without claiming it first: for images that nobody shares
    #[arg(long)]
    no_guard: bool,
    /// Print what would be written, and why; change nothing
    #[arg(short = 'n', long = "dry-run")]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A block device, an image, LABEL=… or UUID=…
    #[arg(value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
    device: OsString,
}

/// The program.
pub fn main() -> ExitCode {
    run(NAME, TROUBLE, |arguments: Arguments| {
        let outcome = outcome(&arguments);
        let (code, message) = match &outcome {
            Ok(done) => (DONE, done.message()),
            Err(stop) => (stop.code, stop.message.clone()),
        };
        let device = shown(&arguments.device).to_string();
        // Whoever reads this must know what became of the device.
        let unsaid = match &outcome {
            Ok(done) if done.is_made() => {
                format!("{device}: the change was made, but cannot write the result")
            }
            Ok(_) => format!("{device}: nothing changed; cannot write the result"),
            Err(stop) => format!("{}; cannot write the result", stop.message),
        };
        if arguments.json {
            let fields = TuneFields::new(device, code, message, outcome.ok());
            let text = Document::new(NAME, vec![fields]).render()?;
            emit(&text).context(unsaid)?;
        } else if code == DONE {
            emit(&message).context(unsaid)?;
        } else {
            complain(NAME, message);
        }
        Ok(code)
    })
}

/// Why it ended without being done.
#[derive(Debug)]
struct Stop {
    code: u8,
    message: String,
}

impl Stop {
    /// Because of the device's state, or of what was asked for.
    fn refused(message: impl Into<String>) -> Self {
        Stop { code: REFUSED, message: message.into() }
    }

    /// Because it could not be carried out.
    fn trouble(message: impl Into<String>) -> Self {
        Stop { code: TROUBLE, message: message.into() }
    }
}

fn outcome(arguments: &Arguments) -> Result<Outcome, Stop> {
    let change = options::parse(arguments.features.as_deref(), arguments.extended.as_deref())
        .map_err(Stop::refused)?;
    if change.clear && arguments.force == 0 {
        return Err(Stop::refused("Error in using clear_mmp. It must be used with -f"));
    }
    let path = resolve(&arguments.device).map_err(|error| Stop::trouble(error.to_string()))?;
    let work = work::Work {
        path,
        change,
        force: arguments.force,
        guard: !arguments.no_guard,
        quiet: arguments.json,
    };
    if arguments.dry_run { work.show() } else { work.carry_out() }
}
