//! `mmpd hold`: be kmmpd from user space.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueHint};

use super::NAME;
use super::policy::Policy;
use crate::cli::common::{duration, resolve_all};
use crate::daemon::{
    ENDING, Ending, Fence, Guard, Guardian, Happening, HolderOptions, LAST_WAIT, Log, Message,
    News, Realtime, STATUS_DIR, ServiceManager, StatusSocket, Supervisor, now,
};
use crate::device::{Plain, shown};
use crate::protocol::{Instant, Refusal};
use crate::report::exit::{DONE, REFUSED, TROUBLE};
use crate::report::{Progress, describe_expired, describe_left, describe_notice};

const EXIT_STATUS: &str = "\
Exit status:
  0  released
  1  refused because of a device's state, or lost
  2  wrong usage, or it could not be carried out";

/// Claims devices and holds them: rewrites each MMP block every second, as the kernel's kmmpd does
/// for a mounted file system, so that nobody else mounts them.
///
/// On SIGTERM, SIGINT or SIGHUP releases them clean.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(super) struct Arguments {
    /// How often to rewrite the block, 100ms to 150s
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    interval: Duration,
    /// Wait so long (30, 90s, 5min) for a device in use to be released
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0")]
    wait: Duration,
    /// On the loss of a device: `exit` releases the others and ends; `report` says so, and a command
    /// is run by a shell with MMP_DEVICE and MMP_REASON set, while the others are held on
    #[arg(long, value_name = "exit|report|COMMAND", default_value = "exit")]
    on_loss: OsString,
    /// The same for one device, named as below; may be given for each
    #[arg(long, value_name = "DEVICE=ACTION")]
    on_loss_of: Vec<OsString>,
    /// On the loss of any device, and if mmpd dies, take this node down, in time before another
    /// node may use the device: `watchdog` (or `watchdog:DEVICE`), `sysrq`, or a command that the
    /// shell runs
    #[arg(long, value_name = "watchdog|sysrq|COMMAND")]
    fence: Option<Fence>,
    /// Where the socket for 'mmpd status' is made
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, default_value = STATUS_DIR)]
    status_dir: PathBuf,
    /// Do without locked memory and real-time scheduling
    #[arg(long)]
    no_realtime: bool,
    /// Block devices, images, LABEL=… or UUID=…
    #[arg(required = true, value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
    devices: Vec<OsString>,
}

/// A heartbeat: published as a check interval of twice as much, which may be 300 s at most.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    let range = Duration::from_millis(100)..=Duration::from_secs(150);
    if range.contains(&interval) { Ok(interval) } else { Err("not from 100ms to 150s".to_owned()) }
}

/// What `mmpd hold` knows of one device.
struct Device {
    path: PathBuf,
    held: bool,
    lost: bool,
    ended: bool,
}

struct Holding {
    policy: Policy,
    devices: Vec<Device>,
    supervisor: Supervisor,
    log: Log,
    /// Lives as long as this.
    _socket: Option<StatusSocket>,
    /// What of real time and of the status is not permitted; told when a device is held, for before
    /// that it does no harm.
    refused: Vec<String>,
    manager: ServiceManager,
    worst: u8,
    /// Until when to wait for devices that do not answer, once the end has begun.
    leaving: Option<Instant>,
}

/// The command.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let paths = resolve_all(&arguments.devices)?;
    for (index, path) in paths.iter().enumerate() {
        if paths[..index].contains(path) {
            bail!("{}: named twice", shown(path));
        }
    }
    let options = HolderOptions { interval: arguments.interval, wait: arguments.wait };
    let progress = Progress::new(true);
    let realtime = Realtime::new(!arguments.no_realtime);
    let mut policy = Policy::new(&arguments.devices, &arguments.on_loss, &arguments.on_loss_of)?;
    policy.prepare(&paths)?;
    let fence = arguments.fence.as_ref();
    let guard = Guard { program: NAME, grace: Duration::ZERO, fence, command: &[], realtime };
    let guardian = fence.map(|_| Guardian::start(&guard)).transpose().context("cannot start")?;
    let mut refused = realtime.prepare();
    let supervisor = Supervisor::start(&paths, options, &ENDING, &progress, realtime, guardian)
        .context("cannot start")?;
    let log = Log::start(NAME, progress).context("cannot start")?;
    let vitals = paths.iter().cloned().zip(supervisor.vitals().iter().cloned());
    let socket = StatusSocket::open(&arguments.status_dir, vitals.collect());
    if let Err(error) = &socket {
        let dir = shown(&arguments.status_dir);
        refused.push(format!("no 'mmpd status': {dir}: {}", Plain(error)));
    }
    let devices =
        paths.into_iter().map(|path| Device { path, held: false, lost: false, ended: false });
    let mut holding = Holding {
        policy,
        devices: devices.collect(),
        supervisor,
        log,
        _socket: socket.ok(),
        refused,
        manager: ServiceManager::new(now().instant),
        worst: DONE,
        leaving: None,
    };
    holding.run()
}

impl Holding {
    fn run(&mut self) -> anyhow::Result<u8> {
        while self.supervisor.running() > 0 {
            let instant = now().instant;
            if self.leaving.is_some_and(|until| until <= instant) {
                for device in self.devices.iter().filter(|device| !device.ended) {
                    self.log.say(describe_left(&device.path));
                }
                self.worst = self.worst.max(REFUSED);
                break;
            }
            let watchdog = self.manager.alive(instant);
            let until = watchdog.into_iter().chain(self.leaving).min();
            match self.supervisor.next(until).context("cannot wait")? {
                Happening::Timer => {}
                Happening::Guardian(Message::Gone) => {
                    self.log.say("the guardian is gone, and with it what fences this node");
                    self.worst = TROUBLE;
                    self.leave();
                }
                Happening::Guardian(_) => {}
                Happening::Signal(signal) => {
                    self.log.say(format!("{signal}: releasing"));
                    self.leave();
                }
                Happening::Expired(index) => {
                    let reason = describe_expired(&self.devices[index].path);
                    self.lose(index, &reason);
                }
                Happening::News(index, news) => self.hear(index, news),
            }
        }
        if !self.devices.iter().any(|device| device.lost)
            && let Some(guardian) = self.supervisor.guardian()
        {
            guardian.tell(&Message::Released);
        }
        Ok(self.worst)
    }

    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.manager.stopping();
            self.supervisor.stop();
            self.leaving = Some(now().instant + LAST_WAIT);
        }
    }

    fn hear(&mut self, index: usize, news: News) {
        let path = self.devices[index].path.clone();
        match news {
            News::Remark(sentence) => {
                self.manager.status(&format!("{}: {sentence}", shown(&path)));
                self.log.say(format!("{}: {sentence}", shown(&path)));
            }
            News::Notice(notice) => self.log.say(describe_notice(&path, &notice)),
            News::Held => {
                self.devices[index].held = true;
                for line in std::mem::take(&mut self.refused) {
                    self.log.say(line);
                }
                self.log.say(format!("{}: held", shown(&path)));
                let held = self.devices.iter().filter(|device| device.held).count();
                self.manager.status(&format!("holding {held} of {}", self.devices.len()));
                if held == self.devices.len() {
                    self.manager.ready();
                }
            }
            News::Ended(ending) => self.ended(index, &path, &ending),
        }
    }

    fn ended(&mut self, index: usize, path: &Path, ending: &Ending) {
        self.devices[index].ended = true;
        let message = ending.describe(path);
        match ending {
            Ending::Lost(_) => self.lose(index, &message),
            Ending::Released | Ending::Revoked { .. } => self.log.say(message),
            Ending::NotReleased(_)
            | Ending::Refused { why: Refusal::NotSafe(_) | Refusal::LostRace { .. }, .. } => {
                self.log.say(message);
                self.worst = self.worst.max(REFUSED);
                self.one_less(index);
            }
            Ending::Refused { why: Refusal::Stopped, left_behind: false, .. } => {
                self.log.say(message);
            }
            Ending::Device(error) if error.is_busy() => {
                self.log.say(message);
                self.worst = self.worst.max(REFUSED);
                self.one_less(index);
            }
            Ending::Device(_) | Ending::Clock(_) | Ending::Refused { .. } => {
                self.log.say(message);
                self.worst = TROUBLE;
                self.one_less(index);
            }
        }
    }

    fn lose(&mut self, index: usize, reason: &str) {
        self.log.say(reason);
        self.worst = self.worst.max(REFUSED);
        if !std::mem::replace(&mut self.devices[index].lost, true) {
            if let Some(guardian) = self.supervisor.guardian() {
                guardian.tell(&Message::Lost);
            }
            if let Err(error) = self.policy.run(index, reason) {
                self.log.say(format!("cannot run the command for a loss: {error}"));
            }
        }
        self.one_less(index);
    }

    /// Either all are held, or none.
    fn one_less(&mut self, index: usize) {
        if self.policy.exits(index) {
            self.leave();
        }
    }
}
