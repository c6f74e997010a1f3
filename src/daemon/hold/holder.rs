//! Claims and holds one device, step by step.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::news::{Ending, News, Teller};
use super::pool::{Task, Wait};
use super::vital::{self, Vital};
use crate::daemon::clock::{Woken, now};
use crate::daemon::drive::{BlockIo, Driver, Step};
use crate::daemon::identity::{our_names, random};
use crate::device::{MmpDevice, Writer};
use crate::layout::BlockNumber;
use crate::protocol::{
    Claim, ClaimOutcome, ClaimRequest, Hold, HoldOutcome, HoldRequest, Instant, IoFault, Loss,
    Machine, Notice, POLL, ReadResult, Refusal, Write,
};
use crate::report::{Narrator, ProgressLine};

/// How to hold.
#[derive(Clone, Copy, Debug)]
pub struct HolderOptions {
    /// How often to rewrite the block.
    pub interval: Duration,
    /// How long to wait for a device that is in use.
    pub wait: Duration,
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
                    self.tell.say(News::Remark(format!("{error}; waiting for it")));
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
            self.tell.say(News::Remark(warning.to_owned()));
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
                tell.say(News::Remark(sentence));
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
