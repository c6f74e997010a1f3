//! `mmpd`: the heartbeat. A file for each of its commands.

mod hold;
mod policy;
mod status;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::common::run;
use crate::daemon::called_as_guardian;
use crate::report::exit::TROUBLE;

const NAME: &str = "mmpd";

/// Multiple-mount protection from user space.
#[derive(Debug, Parser)]
#[command(name = NAME, version, arg_required_else_help = false)]
pub struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    Hold(hold::Arguments),
    Watch(watch::Arguments),
    Status(status::Arguments),
}

/// The program.
pub fn main() -> ExitCode {
    if let Some(code) = called_as_guardian() {
        return code;
    }
    run(NAME, TROUBLE, |arguments: Arguments| match arguments.job {
        Job::Hold(arguments) => hold::run(&arguments),
        Job::Watch(arguments) => watch::run(&arguments),
        Job::Status(arguments) => status::run(&arguments),
    })
}
