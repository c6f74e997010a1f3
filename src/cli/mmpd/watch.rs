//! `mmpd watch`: see what the kernel does not.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueHint};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::NAME;
use crate::cli::common::duration;
use crate::cli::watched::{Watched, refuse_blind};
use crate::daemon::{Incident, Launch, ServiceManager, Watcher, now};
use crate::device::shown;
use crate::protocol::{Change, Instant};
use crate::report::exit::{DONE, REFUSED};
use crate::report::{
    AlarmFields, Progress, alarm_metrics, describe_cause, describe_change, replace,
};

/// How often metrics are written.
const METRICS: Duration = Duration::from_secs(5);

const EXIT_STATUS: &str = "\
Exit status:
  0  told to stop, or the time of --for is over without an alarm
  1  the time of --for is over, and there was an alarm
  2  wrong usage, or it could not be carried out";

/// Watches devices that others hold, and raises an alarm when something is wrong: a second writer,
/// a holder that is silent, frozen or has given up, an e2fsck that died.
///
/// Only reads, and keeps no device open. Alarms go to standard error, a line each; docs/watching.md
/// tells what to do.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(super) struct Arguments {
    #[command(flatten)]
    watched: Watched,
    /// Run by the shell for each alarm, with MMP_DEVICE, MMP_ALARM, MMP_REASON and
    /// MMP_STATE=raised or cleared set
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    on_alarm: Option<OsString>,
    /// Print alarms as JSON on standard output, an object a line
    #[arg(long)]
    json: bool,
    /// Keep Prometheus metrics in this file, for node_exporter's textfile collector
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Stop after so long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
}

struct Watching<'a> {
    arguments: &'a Arguments,
    watcher: Watcher,
    progress: Progress,
    manager: ServiceManager,
    ready: bool,
    alarmed: bool,
    status: String,
    metrics_due: Instant,
}

/// The command.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let watcher = arguments.watched.start()?;
    let start = now().instant;
    let mut watching = Watching {
        arguments,
        watcher,
        progress: Progress::new(false),
        manager: ServiceManager::new(start),
        ready: false,
        alarmed: false,
        status: String::new(),
        metrics_due: start,
    };
    watching.run(arguments.time.map(|time| start + time))
}

impl Watching<'_> {
    fn run(&mut self, end: Option<Instant>) -> anyhow::Result<u8> {
        loop {
            let instant = now().instant;
            if end.is_some_and(|end| end <= instant) {
                return Ok(if self.alarmed { REFUSED } else { DONE });
            }
            self.get_ready()?;
            self.write_metrics(instant)?;
            reap();
            let watchdog = self.manager.alive(instant);
            // Looked in again each second: whether all are ready shows by time, too.
            let soon = instant + Duration::from_secs(1);
            let until = watchdog.into_iter().chain(end).fold(soon, Instant::min);
            match self.watcher.next(Some(until)).context("cannot wait")? {
                Incident::Timer => {}
                Incident::Signal(_) => {
                    self.manager.stopping();
                    self.watcher.stop();
                    return Ok(DONE);
                }
                Incident::Watched(path) => self.tell(&path, "watched"),
                Incident::Replaced(path) => {
                    self.tell(&path, "another file system than before is there; watched");
                }
                Incident::Gone(path) => self.tell(&path, "gone; no longer watched"),
                Incident::Nothing(_, error) if self.ready => {
                    self.progress
                        .complain(NAME, format!("{error}; no longer watched, but looked for"));
                }
                Incident::Nothing(_, error) => bail!(error),
                Incident::Changed(path, change) => {
                    if !self.change(&path, &change)? {
                        return Ok(DONE);
                    }
                }
            }
        }
    }

    fn tell(&self, path: &Path, what: &str) {
        self.progress.complain(NAME, format!("{}: {what}", shown(path)));
    }

    fn get_ready(&mut self) -> anyhow::Result<()> {
        if !self.ready && self.watcher.is_ready() {
            refuse_blind(&self.watcher)?;
            for error in self.watcher.unopened().0 {
                self.progress.complain(NAME, format!("{error}; not watched"));
            }
            self.ready = true;
            self.manager.ready();
        }
        if self.ready {
            let devices = self.watcher.devices().count();
            let alarms: usize =
                self.watcher.devices().map(|device| device.sentinel().alarms().len()).sum();
            let status = format!("watching {devices}, alarms: {alarms}");
            if status != self.status {
                self.manager.status(&status);
                self.status = status;
            }
        }
        Ok(())
    }

    fn write_metrics(&mut self, instant: Instant) -> anyhow::Result<()> {
        let Some(file) = &self.arguments.output else { return Ok(()) };
        if instant < self.metrics_due || !self.ready {
            return Ok(());
        }
        self.metrics_due = instant + METRICS;
        let metrics = alarm_metrics(
            self.watcher
                .devices()
                .map(|device| (device.path(), device.update_interval(), device.sentinel())),
        );
        let written = replace(file, &metrics.to_string());
        written.with_context(|| format!("cannot write {}", shown(file)))
    }

    /// Tells of an alarm; false if nobody listens any more.
    fn change(&mut self, path: &Path, change: &Change) -> anyhow::Result<bool> {
        self.alarmed |= matches!(change, Change::Raised(_));
        self.metrics_due = now().instant;
        self.run_command(path, change);
        if !self.arguments.json {
            self.progress.complain(NAME, describe_change(path, change));
            return Ok(true);
        }
        let line = AlarmFields::new(NAME, path, change, now().wall).line()?;
        let mut out = io::stdout().lock();
        match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            result => result.context("cannot write the result").map(|()| true),
        }
    }

    fn run_command(&self, path: &Path, change: &Change) {
        let Some(command) = &self.arguments.on_alarm else { return };
        let (alarm, state, reason) = match change {
            Change::Raised(cause) => (cause.alarm(), "raised", describe_cause(cause)),
            Change::Cleared(alarm) => (*alarm, "cleared", String::new()),
        };
        let variables = [
            ("MMP_DEVICE", path.as_os_str()),
            ("MMP_ALARM", alarm.name().as_ref()),
            ("MMP_REASON", reason.as_ref()),
            ("MMP_STATE", state.as_ref()),
        ];
        let arguments = vec!["/bin/sh".into(), "-c".into(), command.clone()];
        let launch = Launch { arguments, variables: variables.into(), ..Launch::default() };
        if let Err(error) = launch.start() {
            self.progress.complain(NAME, format!("cannot run the command for an alarm: {error}"));
        }
    }
}

/// Takes leave of commands that have ended.
fn reap() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
