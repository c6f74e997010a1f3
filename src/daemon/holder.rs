//! Claims and holds one device, step by step.

use std::convert::Infallible;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::clock::{Woken, now};
use super::drive::{BlockIo, Driver, Step};
use super::pool::{Task, Wait};
use super::supervisor::Teller;
use super::vital::{self, Vital};
use crate::device::{DeviceError, MmpDevice, Plain, Writer, kernel_path, shown};
use crate::layout::{BlockNumber, MmpBlock, Names};
use crate::protocol::{
    Claim, ClaimOutcome, ClaimRequest, Hold, HoldOutcome, HoldRequest, Instant, IoFault, Loss,
    Machine, Notice, POLL, ReadError, ReadResult, Refusal, Write,
};
use crate::report::{Narrator, ProgressLine, describe_found, describe_loss, describe_refusal};

/// How to hold.
#[derive(Clone, Copy, Debug)]
pub struct HolderOptions {
    /// How often to rewrite the block.
    pub interval: Duration,
    /// How long to wait for a device that is in use.
    pub wait: Duration,
}

/// How a holder ended.
#[derive(Debug)]
pub enum Ending {
    /// The device cannot be used.
    Device(DeviceError),
    /// The claim was refused.
    Refused {
        /// Why.
        why: Refusal,
        /// The MMP block's number; 0 where it was not yet known.
        mmp_block: BlockNumber,
        /// Whether our own claim may still stand in the block.
        left_behind: bool,
    },
    /// Released: the block is clean.
    Released,
    /// Held to the end, but the block could not be left clean.
    NotReleased(ReadError),
    /// No longer the holder.
    Lost(Loss),
    /// Declared lost by the supervisor while the device did not answer; it has answered now.
    Revoked {
        /// What stands in the block now, where that is not ours.
        found: std::io::Result<Option<MmpBlock>>,
    },
    /// The kernel refused a timer.
    Clock(std::io::Error),
}

impl Ending {
    /// How it ended, in a sentence.
    pub fn describe(&self, path: &Path) -> String {
        let device = shown(path);
        match self {
            Ending::Device(error) => error.to_string(),
            Ending::Refused { why, mmp_block, left_behind } => {
                let mut text = describe_refusal(path, *mmp_block, why);
                if *left_behind {
                    text += "; our own claim may be left in the MMP block: it is stale after the \
                             guard interval";
                }
                text
            }
            Ending::Released => format!("{device}: released, MMP is clean"),
            Ending::NotReleased(error) => format!(
                "{device}: not left clean: {error}; the next mount waits two guard intervals",
            ),
            Ending::Lost(loss) => describe_loss(path, loss),
            Ending::Revoked { found: Ok(found) } => format!(
                "{device}: lost: it answered again after its lease had run out; {}",
                describe_found(found.as_ref()),
            ),
            Ending::Revoked { found: Err(error) } => format!(
                "{device}: lost: it failed after its lease had run out: {}. See its paths and the \
                 kernel's log",
                Plain(error),
            ),
            Ending::Clock(error) => {
                format!("{device}: the kernel refused a timer: {}", Plain(error))
            }
        }
    }
}

/// What a holder tells its supervisor.
#[derive(Debug)]
pub enum News {
    /// Waits for something: a sentence for the log.
    Waiting(String),
    /// The device is ours; the first heartbeat is on the disk.
    Held,
    /// Something was seen and dealt with.
    Notice(Notice),
    /// The task is done with the device.
    Ended(Box<Ending>),
}

/// The task that claims a device, holds it until told to stop, and reports.
pub(super) struct Holder {
    pub(super) path: PathBuf,
    pub(super) options: HolderOptions,
    pub(super) vital: Arc<Vital>,
    pub(super) tell: Teller,
    pub(super) line: Option<ProgressLine>,
    patience: Instant,
    told_busy: bool,
    /// When the present step was due.
    due: Instant,
    driver: Driver,
    stage: Stage,
}

enum Stage {
    Opening,
    /// Larger than the others, and soon over.
    Claiming(Box<Claiming>),
    Holding {
        device: MmpDevice<Writer>,
        hold: Hold,
        first_lease: Instant,
        held: bool,
    },
}

struct Claiming {
    device: MmpDevice<Writer>,
    claim: Claim,
    narrator: Narrator,
}

impl Holder {
    pub(super) fn new(
        path: PathBuf,
        options: HolderOptions,
        vital: Arc<Vital>,
        tell: Teller,
        line: ProgressLine,
    ) -> Self {
        let now = now().instant;
        Holder {
            path,
            options,
            vital,
            tell,
            line: Some(line),
            patience: now + options.wait,
            told_busy: false,
            due: now,
            driver: Driver::new(),
            stage: Stage::Opening,
        }
    }

    fn request(&self, device: &MmpDevice<Writer>) -> HoldRequest {
        let update_interval = device.area().update_interval;
        HoldRequest { update_interval, interval: self.options.interval }
    }

    /// Opens the device, unless somebody on this machine has it.
    fn open(&mut self, woken: Woken) -> Result<(Stage, Option<Wait>), Ending> {
        if woken == Woken::Stop {
            let (why, mmp_block) = (Refusal::Stopped, BlockNumber(0));
            return Err(Ending::Refused { why, mmp_block, left_behind: false });
        }
        let writer = match Writer::open(&self.path) {
            Ok(writer) => writer,
            Err(error) if error.is_busy() && now().instant < self.patience => {
                if !std::mem::replace(&mut self.told_busy, true) {
                    self.tell.say(News::Waiting(format!("{error}; waiting for it")));
                }
                let until = now().instant + POLL;
                return Ok((Stage::Opening, Some(Wait { until, heed_stop: true })));
            }
            Err(error) => return Err(Ending::Device(error)),
        };
        let device = MmpDevice::new(writer).map_err(Ending::Device)?;
        if device.device().is_cached() {
            let warning = "the file system below this image cannot do O_DIRECT; do not share it \
                           between machines";
            self.tell.say(News::Waiting(warning.to_owned()));
        }
        let claim = Claim::new(ClaimRequest {
            update_interval: device.area().update_interval,
            check_interval: self.request(&device).check_interval(Duration::ZERO),
            names: our_names(&self.path),
            draw: random().map_err(Ending::Clock)?,
            patience: self.patience,
        });
        let claiming = Claiming { device, claim, narrator: Narrator::default() };
        Ok((Stage::Claiming(Box::new(claiming)), None))
    }

    fn claim(&mut self, mut claiming: Box<Claiming>) -> Result<(Stage, Option<Wait>), Ending> {
        let (line, tell) = (&self.line, &self.tell);
        let Claiming { device, claim, narrator } = &mut *claiming;
        let step = self.driver.run(claim, device, |claim| {
            let instant = now().instant;
            if let Some(line) = line {
                line.show(claim.phase(), instant);
            }
            if let Some(sentence) = narrator.line(claim.phase(), instant) {
                tell.say(News::Waiting(sentence));
            }
            ControlFlow::<Infallible>::Continue(())
        });
        match step {
            Step::Wait { until, heed_stop } => {
                Ok((Stage::Claiming(claiming), Some(Wait { until, heed_stop })))
            }
            Step::Done(ClaimOutcome::Refused { why, left_behind }) => {
                let mmp_block = device.area().block;
                Err(Ending::Refused { why, mmp_block, left_behind })
            }
            Step::Done(ClaimOutcome::Claimed(claimed)) => {
                self.line = None;
                let device = claiming.device;
                let hold = Hold::new(claimed, self.request(&device));
                self.driver = Driver::new();
                self.due = now().instant;
                let first_lease = hold.lease();
                Ok((Stage::Holding { device, hold, first_lease, held: false }, None))
            }
        }
    }

    /// One heartbeat. Allocates nothing while all goes well.
    fn hold(&mut self) -> Result<Wait, Ending> {
        let Stage::Holding { device, hold, first_lease, held } = &mut self.stage else {
            return Ok(Wait { until: now().instant, heed_stop: true });
        };
        let (vital, tell) = (&self.vital, &self.tell);
        let mut metered = Metered { device, vital, due: self.due };
        let step = self.driver.run(hold, &mut metered, |hold| {
            if !vital.lease.set(hold.lease()) {
                return ControlFlow::Break(());
            }
            if !*held && hold.lease() > *first_lease {
                *held = true;
                vital.set_stage(vital::Stage::Held);
                tell.say(News::Held);
            }
            if let Some(notice) = hold.take_notice() {
                if matches!(notice, Notice::Defended { .. }) {
                    vital.foreign_write();
                }
                tell.mention(News::Notice(notice));
            }
            ControlFlow::Continue(())
        });
        Err(match step {
            Step::Wait { until, heed_stop } => {
                self.due = until;
                return Ok(Wait { until, heed_stop });
            }
            Step::Done(HoldOutcome::Released) => Ending::Released,
            Step::Done(HoldOutcome::NotReleased(error)) => Ending::NotReleased(error),
            Step::Done(HoldOutcome::NotOurs { found }) => {
                Ending::Lost(Loss::SecondWriter { found })
            }
            Step::Done(HoldOutcome::Lost(loss)) => Ending::Lost(loss),
            Step::Broken(()) => {
                let found = device.read().map(|block| Some(block).filter(|b| !hold.is_ours(b)));
                Ending::Revoked { found }
            }
        })
    }

    fn go_on(&mut self, woken: Woken) -> Result<Wait, Ending> {
        loop {
            let (stage, wait) = match std::mem::replace(&mut self.stage, Stage::Opening) {
                Stage::Opening => self.open(woken)?,
                Stage::Claiming(claiming) => self.claim(claiming)?,
                holding @ Stage::Holding { .. } => {
                    self.stage = holding;
                    return self.hold();
                }
            };
            self.stage = stage;
            if let Some(wait) = wait {
                return Ok(wait);
            }
        }
    }
}

impl Task for Holder {
    fn step(&mut self, woken: Woken) -> Option<Wait> {
        if !matches!(self.stage, Stage::Opening) {
            self.driver.wake(woken);
        }
        match self.go_on(woken) {
            Ok(wait) => Some(wait),
            Err(ending) => {
                self.line = None;
                // A lease that was revoked stays so: the supervisor has told of the loss.
                let revoked = !self.vital.lease.clear();
                self.vital.set_stage(match ending {
                    Ending::Lost(_) | Ending::Revoked { .. } => vital::Stage::Lost,
                    _ if revoked => vital::Stage::Lost,
                    _ => vital::Stage::Over,
                });
                self.tell.say(News::Ended(Box::new(ending)));
                None
            }
        }
    }
}

/// A device whose heartbeats are measured.
struct Metered<'a> {
    device: &'a mut MmpDevice<Writer>,
    vital: &'a Vital,
    due: Instant,
}

impl BlockIo<Write> for Metered<'_> {
    fn read(&mut self) -> ReadResult {
        BlockIo::<Write>::read(self.device)
    }

    fn write(&mut self, write: Write) -> Result<(), IoFault> {
        let (sequence, check) = (write.block.sequence().raw(), write.block.check_interval());
        let submitted = now().instant;
        match BlockIo::<Write>::write(self.device, write) {
            Ok(()) => {
                self.vital.wrote(self.due, submitted, now().instant);
                self.vital.published(sequence, check);
                Ok(())
            }
            Err(fault) => {
                self.vital.write_failed();
                Err(fault)
            }
        }
    }
}

/// This machine's host name.
pub fn node_name() -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    hostname::get().unwrap_or_default().into_vec()
}

/// The names this machine writes into the block of a device: its host name, and the device's name
/// as the kernel has it (`sdb`, `dm-3`), or an image's file name.
pub fn our_names(path: &Path) -> Names {
    use std::os::unix::ffi::OsStrExt;
    let name = kernel_path(path).unwrap_or_else(|| path.to_owned());
    Names::new(&node_name(), name.file_name().unwrap_or_default().as_bytes())
}

/// A random number from the kernel.
pub fn random() -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
