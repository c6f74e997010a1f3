//! `mmprun`: hold devices while a command runs, as flock(1) does for files.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueHint};
use nix::sys::signal::Signal;

use super::common::{duration, resolve_all, run};
use crate::daemon::{
    Ending, Fence, Guard, Guardian, Happening, HolderOptions, LAST_WAIT, Log, Message, News,
    Realtime, Supervisor, called_as_guardian, now,
};
use crate::device::{Plain, shown};
use crate::protocol::{Instant, Refusal};
use crate::report::exit::{RUN_CANNOT_EXECUTE, RUN_LOST, RUN_NOT_FOUND, RUN_REFUSED, RUN_TROUBLE};
use crate::report::{Progress, describe_expired, describe_left, describe_notice};

const NAME: &str = "mmprun";
/// How often the block is rewritten.
const INTERVAL: Duration = Duration::from_secs(1);

/// Passed on to the command.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

const EXIT_STATUS: &str = "\
Exit status:
  121    a device was never got, because of its state
  122    wrong usage, or it could not be carried out
  123    a device was lost, or not left clean
  126    the command cannot be executed
  127    there is no such command
  128+N  signal N ended the command
  other  the command's own";

/// Holds devices while a command runs: claims them all, runs the command, releases them.
///
/// If a lease is lost or about to end meanwhile, the command and all it started get SIGTERM, and at
/// its end SIGKILL, by a guardian process: also when mmprun itself is stopped or killed.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_long_help = EXIT_STATUS)]
pub struct Arguments {
    /// Wait so long (30, 90s, 5min) for a device in use to be released
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0")]
    wait: Duration,
    /// How long before the end of the lease the command gets SIGTERM, if no heartbeat succeeds; at
    /// its end it gets SIGKILL. At most 8s
    #[arg(long, value_name = "DURATION", value_parser = grace, default_value = "2s")]
    grace: Duration,
    /// If the command cannot be killed, take this node down, in time before another node may use
    /// the device: `watchdog` (or `watchdog:DEVICE`), `sysrq`, or a command that the shell runs
    #[arg(long, value_name = "watchdog|sysrq|COMMAND")]
    fence: Option<Fence>,
    /// Do without locked memory and real-time scheduling
    #[arg(long)]
    no_realtime: bool,
    /// Block devices, images, LABEL=… or UUID=…
    #[arg(required = true, value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
    devices: Vec<OsString>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    if grace <= Duration::from_secs(8) { Ok(grace) } else { Err("longer than 8s".to_owned()) }
}

/// The program.
pub fn main() -> ExitCode {
    if let Some(code) = called_as_guardian() {
        return code;
    }
    run(NAME, RUN_TROUBLE, |arguments: Arguments| {
        let devices = resolve_all(&arguments.devices)?;
        let options = HolderOptions { interval: INTERVAL, wait: arguments.wait };
        let progress = Progress::new(true);
        let realtime = Realtime::new(!arguments.no_realtime);
        let guardian = Guardian::start(&Guard {
            program: NAME,
            grace: arguments.grace,
            fence: arguments.fence.as_ref(),
            command: &arguments.command,
            realtime,
        });
        let guardian = Some(guardian.context("cannot start")?);
        let refused = realtime.prepare();
        let supervisor =
            Supervisor::start(&devices, options, &PASSED_ON, &progress, realtime, guardian);
        let supervisor = supervisor.context("cannot start")?;
        let log = Log::start(NAME, progress).context("cannot start")?;
        let count = devices.len();
        let running = Running {
            arguments: &arguments,
            devices,
            supervisor,
            log,
            refused,
            held: 0,
            ended: vec![false; count],
            runs: false,
            code: None,
            leave_at: None,
        };
        running.run()
    })
}

struct Running<'a> {
    arguments: &'a Arguments,
    devices: Vec<PathBuf>,
    supervisor: Supervisor,
    log: Log,
    /// What real time lacks; told when a device is held, for before that it does no harm.
    refused: Vec<String>,
    held: usize,
    ended: Vec<bool>,
    /// Whether the command runs, or is being started.
    runs: bool,
    /// The exit code, as soon as it is settled; the worst reason wins.
    code: Option<u8>,
    leave_at: Option<Instant>,
}

impl Running<'_> {
    fn run(mut self) -> anyhow::Result<u8> {
        while self.runs || self.supervisor.running() > 0 {
            let instant = now().instant;
            let leave_at = self.leave_at.filter(|_| !self.runs);
            if leave_at.is_some_and(|at| at <= instant) {
                for (path, _) in self.devices.iter().zip(&self.ended).filter(|(_, ended)| !**ended)
                {
                    self.log.say(describe_left(path));
                }
                return Ok(RUN_LOST);
            }
            match self.supervisor.next(leave_at).context("cannot wait")? {
                Happening::Timer => {}
                Happening::Signal(signal) => self.pass_on(signal),
                Happening::Guardian(message) => self.told(message),
                Happening::Expired(index) => {
                    self.lose(&describe_expired(&self.devices[index]));
                    // The guardian has done it, unless it is stopped.
                    if let Some(guardian) = self.supervisor.guardian() {
                        guardian.kill_command();
                    }
                }
                Happening::News(index, news) => self.hear(index, news),
            }
        }
        Ok(self.code.unwrap_or(RUN_TROUBLE))
    }

    fn tell(&mut self, message: &Message) {
        if let Some(guardian) = self.supervisor.guardian() {
            guardian.tell(message);
        }
    }

    fn pass_on(&mut self, signal: Signal) {
        if self.runs {
            self.tell(&Message::Signal(signal as i32));
        } else if self.code.is_none() {
            self.log.say(format!("{signal}: given up before all devices were held"));
            self.code = Some(128u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0)));
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.supervisor.stop();
        self.leave_at.get_or_insert(now().instant + LAST_WAIT);
    }

    fn told(&mut self, message: Message) {
        match message {
            Message::NotStarted(number) => {
                self.runs = false;
                let error = std::io::Error::from_raw_os_error(number);
                let command = self.arguments.command.first().map(shown);
                let command = command.map(|name| name.to_string()).unwrap_or_default();
                self.log.say(format!("cannot run '{command}': {}", Plain(&error)));
                self.code.get_or_insert(match error.kind() {
                    ErrorKind::NotFound => RUN_NOT_FOUND,
                    _ => RUN_CANNOT_EXECUTE,
                });
                self.leave();
            }
            Message::Exited { code, made } => {
                self.runs = false;
                self.code.get_or_insert(if made { RUN_LOST } else { code });
                self.leave();
            }
            // Without a guardian nothing may run.
            Message::Gone if self.runs => {
                self.runs = false;
                self.log.say("the guardian is gone; the command was killed");
                self.code = Some(RUN_LOST);
                self.leave();
            }
            _ => {}
        }
    }

    fn hear(&mut self, index: usize, news: News) {
        let path = &self.devices[index];
        match news {
            News::Remark(sentence) => self.log.say(format!("{}: {sentence}", shown(path))),
            News::Notice(notice) => self.log.say(describe_notice(path, &notice)),
            News::Held => {
                self.held += 1;
                for line in std::mem::take(&mut self.refused) {
                    self.log.say(line);
                }
                if self.held == self.devices.len() && self.code.is_none() {
                    // None if one was lost meanwhile: that is heard next.
                    if let Some(end) = self.supervisor.leases_end() {
                        self.runs = true;
                        self.tell(&Message::Start(end));
                    }
                }
            }
            News::Ended(ending) => {
                self.ended[index] = true;
                let message = ending.describe(path);
                self.ended(&ending, &message);
            }
        }
    }

    fn ended(&mut self, ending: &Ending, message: &str) {
        match ending {
            Ending::Released => {}
            Ending::Refused { why: Refusal::Stopped, left_behind: false, .. } => {}
            Ending::Lost(_) => self.lose(message),
            Ending::Revoked { .. } => self.log.say(message),
            Ending::NotReleased(_) => {
                self.log.say(message);
                self.code = Some(RUN_LOST);
            }
            Ending::Refused { why: Refusal::NotSafe(_) | Refusal::LostRace { .. }, .. } => {
                self.never_got(message, RUN_REFUSED);
            }
            Ending::Device(error) if error.is_busy() => self.never_got(message, RUN_REFUSED),
            Ending::Device(_) | Ending::Clock(_) | Ending::Refused { .. } => {
                self.never_got(message, RUN_TROUBLE);
            }
        }
    }

    fn never_got(&mut self, message: &str, code: u8) {
        self.log.say(message);
        self.code.get_or_insert(code);
        self.leave();
    }

    fn lose(&mut self, reason: &str) {
        self.log.say(reason);
        self.code = Some(RUN_LOST);
        if self.runs {
            // The others are held until it is gone.
            self.tell(&Message::Lost);
        } else {
            self.leave();
        }
    }
}
