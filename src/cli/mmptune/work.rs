//! The course of a change: look, claim, look again, plan, carry out, release.

use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::guard::{Broken, Guard, Lookout};
use super::outcome::Outcome;
use super::{NAME, Stop};
use crate::daemon::{
    ENDING, FsckHold, Interrupt, Left, NotHeld, NotReleased, Sleeper, Unmarked, drive, hold_back,
    now, our_names,
};
use crate::device::{DeviceError, MmpDevice, Plain, Reader, Writer, shown};
use crate::layout::{BlockNumber, MmpBlock, Sequence, Superblock};
use crate::protocol::{Check, Machine, Phase, Refusal, Still, Stillness, Verdict};
use crate::report::{Holder, Progress, complain, describe_refusal, describe_verdict, seconds_text};
use crate::tune::{Change, Disk, Obstacle, Plan, Source, Stamp, Step, Stopped, Survey, carry_out};

/// A change to make.
pub(super) struct Work {
    pub(super) path: PathBuf,
    pub(super) change: Change,
    /// How often `-f` was given.
    pub(super) force: u8,
    pub(super) guard: bool,
    /// Whether to keep silent about what is waited for and overridden.
    pub(super) quiet: bool,
}

impl Work {
    fn refused(&self, why: impl std::fmt::Display) -> Stop {
        Stop::refused(format!("{}: {why}", shown(&self.path)))
    }

    fn trouble(&self, why: impl std::fmt::Display) -> Stop {
        Stop::trouble(format!("{}: {why}", shown(&self.path)))
    }

    fn warn(&self, what: impl std::fmt::Display) {
        if !self.quiet {
            complain(NAME, format!("{}: {what}", shown(&self.path)));
        }
    }

    /// Prints what would be done.
    pub(super) fn show(&self) -> Result<Outcome, Stop> {
        let mut reader = Reader::open(&self.path).map_err(device_stop)?;
        let before = self.examine(&mut reader)?;
        if self.change.is_done(&before) {
            return Ok(self.outcome(before, None));
        }
        let plan = self.plan(&mut reader, &before)?;
        let after = plan.after().clone();
        Ok(Outcome { change: self.change, before, after: Some(after), plan: Some(plan) })
    }

    /// Does it.
    pub(super) fn carry_out(&self) -> Result<Outcome, Stop> {
        let mut writer = Writer::open(&self.path).map_err(device_stop)?;
        let before = self.examine(&mut writer)?;
        if self.change.is_done(&before) {
            return Ok(self.outcome(before, None));
        }
        let after = if before.features().mmp() {
            let device = MmpDevice::with_superblock(writer, &before).map_err(device_stop)?;
            self.guarded(device, &before)?
        } else {
            let plan = self.plan(&mut writer, &before)?;
            self.write(&plan, &mut writer, |_, _| Ok(()))?;
            plan.after().clone()
        };
        if self.change.clear {
            let device = shown(&self.path);
            self.warn(format!("cleared; run 'e2fsck -f {device}' before anybody mounts it"));
        }
        Ok(self.outcome(before, Some(after)))
    }

    /// Claims a device with MMP, changes it and releases it.
    fn guarded(
        &self,
        mut device: MmpDevice<Writer>,
        before: &Superblock,
    ) -> Result<Superblock, Stop> {
        let guard = self.claim(&mut device)?;
        let result = self.change(&mut device, before, &guard);
        let on = match &result {
            Ok(after) => after.features().mmp(),
            Err(_) => still_on(&mut device),
        };
        // With MMP off the block is free, and no longer ours to write.
        let (Guard::Held(hold), true) = (guard, on) else { return result };
        let left = match (hold.release(&mut device), &result) {
            // Of a change that failed it has been said already.
            (Ok(()), _) | (Err(NotReleased::Taken(_)), Err(_)) => return result,
            (Err(NotReleased::Taken(found)), Ok(_)) => {
                let broken = Broken::written(found, &device);
                return Err(self.refused(format!("changed, but {broken}; {}", self.stop_it())));
            }
            (Err(error), _) => format!("{error}; it may be left at fsck: {}", self.free_it()),
        };
        Err(match result {
            Ok(_) => self.trouble(format!("changed, but {left}")),
            Err(stop) => Stop { message: format!("{}; {left}", stop.message), ..stop },
        })
    }

    /// How to free a block left at fsck.
    fn free_it(&self) -> String {
        format!("free it with 'mmptune -f -E clear_mmp {}'", shown(&self.path))
    }

    /// What to do where somebody else took the device from under a change.
    fn stop_it(&self) -> String {
        format!("stop whoever uses it, then run 'e2fsck -f {}'", shown(&self.path))
    }

    fn change(
        &self,
        device: &mut MmpDevice<Writer>,
        before: &Superblock,
        guard: &Guard,
    ) -> Result<Superblock, Stop> {
        if device.device_mut().superblock().map_err(device_stop)? != *before {
            return Err(self.refused("somebody changed the file system meanwhile; try again"));
        }
        let plan = self.plan(device.device_mut(), before)?;
        let mut lookout = Lookout::new(guard);
        self.write(&plan, device, |device, step| lookout.look(step, device))?;
        Ok(plan.after().clone())
    }

    fn write<D: Disk>(
        &self,
        plan: &Plan,
        disk: &mut D,
        look: impl FnMut(&mut D, &Step) -> Result<(), Broken>,
    ) -> Result<(), Stop> {
        // From here on a signal must not leave half a change behind.
        hold_back(&ENDING).map_err(|error| self.trouble(Plain(&error)))?;
        carry_out(plan, disk, look).map_err(|stopped| match &stopped {
            Stopped::Looked { why, begun: false } => {
                self.refused(format!("{why}; nothing changed"))
            }
            Stopped::Looked { why: why @ Broken::Written { .. }, begun: true } => {
                self.refused(format!(
                    "{why}; the change had begun, nothing more was written: {}",
                    self.stop_it()
                ))
            }
            _ => self.trouble(format!(
                "{stopped}; the change is incomplete: run 'e2fsck -f {}' before it is used",
                shown(&self.path)
            )),
        })
    }

    /// Makes sure that nobody else uses a device with MMP.
    fn claim(&self, device: &mut MmpDevice<Writer>) -> Result<Guard, Stop> {
        if !self.guard {
            self.warn("--no-guard: not claimed; nobody else may use it meanwhile");
            return Ok(Guard::None);
        }
        if self.change.clear && self.force > 1 {
            self.warn("-ff: not watched; nobody else may use it meanwhile");
            return Ok(Guard::None);
        }
        // From here on a signal must not leave a claim behind.
        let sleeper = self.sleeper()?;
        let line = Progress::new(!self.quiet).line(&self.path, 0);
        let show = |phase: Phase<'_>| line.show(phase, now().instant);
        if self.change.clear {
            return self.watch(device, &sleeper, show);
        }
        FsckHold::claim(&self.path, device, &sleeper, show).map(Guard::Held).map_err(
            |not| match not {
                NotHeld::Io(error) => self.trouble(Plain(&error)),
                NotHeld::Unmarked { why, left } => self.unmarked(&why, &left),
                NotHeld::Refused { why, left_behind } => self.not_held(device, &why, left_behind),
            },
        )
    }

    /// A sleeper that also wakes when the program is told to end.
    fn sleeper(&self) -> Result<Sleeper, Stop> {
        let caught = Interrupt::catch().and_then(|interrupt| Sleeper::new(interrupt.stop()));
        caught.map_err(|error| self.trouble(Plain(&error)))
    }

    fn unmarked(&self, why: &Unmarked, left: &Left) -> Stop {
        let left = match left {
            Left::Nothing => String::new(),
            Left::Active => {
                "; our own claim is left in the MMP block: it is stale after the guard \
                             interval, try again then"
                    .to_owned()
            }
            Left::Fsck => format!("; the MMP block is left at fsck: {}", self.free_it()),
            Left::Unseen => {
                format!("; the MMP block may be left at fsck: {}", self.free_it())
            }
        };
        let message = format!("{why}; nothing changed{left}");
        match why {
            Unmarked::Late | Unmarked::Taken => self.refused(message),
            Unmarked::Fault(_) => self.trouble(message),
        }
    }

    fn not_held(&self, device: &MmpDevice<Writer>, why: &Refusal, left_behind: bool) -> Stop {
        let mut message = match why {
            Refusal::NotSafe(Verdict::InUse { block, after }) => self.in_use(block, *after),
            why => describe_refusal(&self.path, device.area().block, why),
        };
        if left_behind {
            message += "; our own claim may be left in the MMP block";
        }
        match why {
            Refusal::NotSafe(Verdict::Invalid { .. } | Verdict::Unreadable(_)) => Stop::refused(
                message + ". If no other server can reach it, --no-guard goes on all the same",
            ),
            Refusal::NotSafe(_) | Refusal::LostRace { .. } | Refusal::Expired => {
                Stop::refused(message)
            }
            Refusal::Unwritable(_) | Refusal::Unverified(_) | Refusal::Stopped => {
                Stop::trouble(message)
            }
        }
    }

    /// Watches whether somebody writes the block that is to be cleared.
    fn watch(
        &self,
        device: &mut MmpDevice<Writer>,
        sleeper: &Sleeper,
        show: impl Fn(Phase<'_>),
    ) -> Result<Guard, Stop> {
        if device.read().is_ok_and(|block| block.sequence() == Sequence::Fsck) {
            self.warn(
                "fsck: an e2fsck that waits at a question shows no sign of life: make sure that \
                 none runs on the node named in the block",
            );
        }
        let mut still = Still::new(device.area().update_interval);
        let outcome = drive(&mut still, device, sleeper, |still| show(still.phase()));
        match outcome.map_err(|error| self.trouble(Plain(&error)))? {
            Stillness::Unchanged { block } => Ok(Guard::Watched(block)),
            Stillness::Changed { block, after } => Err(self.refused(format!(
                "in use: {} wrote the MMP block, seen to change after {}; not cleared",
                Holder(&block),
                seconds_text(after)
            ))),
            Stillness::Unreadable(fault) => Err(self.refused(format!(
                "cannot read MMP block {}: {fault}; not cleared",
                device.area().block
            ))),
            Stillness::Stopped => Err(self.trouble("stopped before it was cleared")),
        }
    }

    fn outcome(&self, before: Superblock, after: Option<Superblock>) -> Outcome {
        Outcome { change: self.change, before, after, plan: None }
    }

    /// Reads the superblock and refuses what must not be changed.
    fn examine(&self, reader: &mut Reader) -> Result<Superblock, Stop> {
        let superblock = reader.superblock().map_err(device_stop)?;
        reader.fit_blocks(superblock.block_size()).map_err(device_stop)?;
        if self.change.is_done(&superblock) {
            return Ok(superblock);
        }
        let end = BlockNumber(superblock.blocks_count()).offset(superblock.block_size());
        if end.is_none_or(|end| end.0 > reader.size()) {
            return Err(self.refused("the file system ends beyond the device; run 'e2fsck -f'"));
        }
        if superblock.features().mmp() {
            superblock.mmp().map_err(|error| self.refused(error))?;
        }
        for obstacle in Obstacle::all(&superblock, &self.change) {
            if let (Some(fact), 1..) = (obstacle.overridable(), self.force) {
                self.warn(format!("-f: going on, although it {fact}"));
                continue;
            }
            if obstacle.may_be_use() && superblock.features().mmp() {
                self.not_in_use(reader, &superblock)?;
            }
            let way_out = if obstacle.overridable().is_some() { ", or go on with -f" } else { "" };
            return Err(self.refused(format!("{obstacle}{way_out}")));
        }
        Ok(superblock)
    }

    /// Makes sure that what looks left behind is not in use: a repair would do harm then.
    fn not_in_use(&self, reader: &mut Reader, superblock: &Superblock) -> Result<(), Stop> {
        let mut device = MmpDevice::with_superblock(reader, superblock).map_err(device_stop)?;
        let sleeper = self.sleeper()?;
        let line = Progress::new(!self.quiet).line(&self.path, 0);
        let mut check = Check::new(device.area().update_interval, false, now().instant);
        let verdict = drive(&mut check, &mut device, &sleeper, |check| {
            line.show(check.phase(), now().instant);
        })
        .map_err(|error| self.trouble(Plain(&error)))?;
        let told = match &verdict {
            Verdict::InUse { block, after } => self.in_use(block, *after),
            verdict => describe_verdict(&self.path, device.area().block, verdict),
        };
        match verdict {
            Verdict::InUse { .. } | Verdict::Fsck { .. } | Verdict::Unknown { .. } => {
                Err(Stop::refused(told))
            }
            Verdict::Stopped => Err(Stop::trouble(told)),
            Verdict::Clean { .. }
            | Verdict::Stale { .. }
            | Verdict::Invalid { .. }
            | Verdict::Unreadable(_) => Ok(()),
        }
    }

    /// Whoever wants a change does not ask whether he may mount it.
    fn in_use(&self, block: &MmpBlock, after: Duration) -> String {
        format!(
            "{}: in use by {}: the MMP block changed within {}; nothing was changed. Unmount or \
             stop it there first",
            shown(&self.path),
            Holder(block),
            seconds_text(after),
        )
    }

    fn plan<S: Source>(&self, source: &mut S, before: &Superblock) -> Result<Plan, Stop> {
        let survey = Survey::new(source, before, &self.change).map_err(|e| self.refused(e))?;
        let stamp = Stamp { time: now().wall, names: our_names(&self.path) };
        Plan::new(&survey, &self.change, &stamp).map_err(|error| self.refused(error))
    }
}

fn device_stop(error: DeviceError) -> Stop {
    let read_only = matches!(
        &error,
        DeviceError::Open { source, .. } if source.raw_os_error() == Some(Errno::EROFS as i32)
    );
    let message = error.to_string();
    if error.is_busy() || read_only { Stop::refused(message) } else { Stop::trouble(message) }
}

/// Whether MMP is on by the superblock on the device, or may be.
fn still_on(device: &mut MmpDevice<Writer>) -> bool {
    let superblock = device.device_mut().superblock();
    superblock.map_or(true, |superblock| superblock.features().mmp())
}
