//! The course of a change: look, claim, look again, plan, carry out, release.

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use super::outcome::Outcome;
use super::{NAME, Stop};
use crate::daemon::{self, Alarm, FsckHold, NotHeld, drive, now, our_names};
use crate::device::{DeviceError, MmpDevice, Plain, Reader, Writer, shown};
use crate::layout::{BlockNumber, MmpBlock, Superblock};
use crate::protocol::{Machine, Phase, Refusal, Still, Stillness, Verdict};
use crate::report::{Holder, Progress, complain, describe_refusal, seconds_text};
use crate::tune::{Change, Disk, Obstacle, Plan, Source, Stamp, Stopped, Survey, carry_out};

/// A thread that waits for a signal needs little.
const STACK: usize = 64 * 1024;

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

/// What guards a device with MMP while it is changed.
enum Guard {
    /// Waived.
    None,
    /// Our FSCK in the block.
    Held(FsckHold),
    /// The block was seen not to change, and must not have changed since.
    Watched(MmpBlock),
}

impl Guard {
    /// Whether the block still says what it did.
    fn stands(&self, device: &mut MmpDevice<Writer>) -> io::Result<bool> {
        match self {
            Guard::None => Ok(true),
            Guard::Held(hold) => hold.stands(device),
            Guard::Watched(block) => Ok(device.read()? == *block),
        }
    }
}

/// Why a change must not go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("somebody else wrote the MMP block")]
    Written,
    #[error("cannot read the MMP block: {}", Plain(.0))]
    Unreadable(io::Error),
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
            self.write(&plan, &mut writer, |_| Ok(()))?;
            plan.after().clone()
        };
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
        let released = match (&result, guard) {
            // The block is free now, and no longer ours to write.
            (Ok(after), Guard::Held(_)) if !after.features().mmp() => Ok(true),
            (Err(_), Guard::Held(_)) if !still_on(&mut device) => Ok(true),
            (_, Guard::Held(hold)) => hold.release(&mut device),
            (_, Guard::None | Guard::Watched(_)) => Ok(true),
        };
        let left = match released {
            Ok(true) => return result,
            Ok(false) => Broken::Written.to_string(),
            Err(error) => Broken::Unreadable(error).to_string(),
        };
        let left = format!("the MMP block is not left clean: {left}; see 'mmpcheck'");
        Err(match result {
            Ok(_) => self.refused(format!("changed, but {left}")),
            Err(stop) => Stop { message: format!("{}; {left}", stop.message), ..stop },
        })
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
        self.write(&plan, device, |device| match guard.stands(device) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Broken::Written),
            Err(error) => Err(Broken::Unreadable(error)),
        })?;
        Ok(plan.after().clone())
    }

    fn write<D: Disk>(
        &self,
        plan: &Plan,
        disk: &mut D,
        look: impl FnMut(&mut D) -> Result<(), Broken>,
    ) -> Result<(), Stop> {
        // From here on a signal must not leave half a change behind.
        ending_signals().thread_block().map_err(|errno| self.trouble(errno.desc()))?;
        carry_out(plan, disk, look).map_err(|stopped| match &stopped {
            Stopped::Looked { why, begun: false } => {
                self.refused(format!("{why}; nothing changed"))
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
        let stop = stop_on_signals().map_err(|error| self.trouble(Plain(&error)))?;
        let alarm = Alarm::new(&stop).map_err(|error| self.trouble(Plain(&error)))?;
        let line = Progress::new(!self.quiet).line(&self.path, 0);
        let show = |phase: Phase<'_>| line.show(phase, now().instant);
        if self.change.clear {
            return self.watch(device, &alarm, show);
        }
        FsckHold::claim(&self.path, device, &alarm, show).map(Guard::Held).map_err(
            |not| match not {
                NotHeld::Io(error) => self.trouble(Plain(&error)),
                NotHeld::Overtaken => self.refused("the claim ran out before it could be used"),
                NotHeld::Refused { why, left_behind } => self.not_held(device, &why, left_behind),
            },
        )
    }

    fn not_held(&self, device: &MmpDevice<Writer>, why: &Refusal, left_behind: bool) -> Stop {
        let mut message = describe_refusal(&self.path, device.area().block, why);
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
        alarm: &Alarm,
        show: impl Fn(Phase<'_>),
    ) -> Result<Guard, Stop> {
        let mut still = Still::new(device.area().update_interval);
        let ControlFlow::Continue(outcome) = drive(&mut still, device, alarm, |still| {
            show(still.phase());
            ControlFlow::<Infallible>::Continue(())
        })
        .map_err(|error| self.trouble(Plain(&error)))?;
        match outcome {
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
        for obstacle in Obstacle::all(&superblock, &self.change) {
            if !obstacle.can_be_overridden() {
                return Err(self.refused(obstacle));
            }
            if self.force == 0 {
                return Err(self.refused(format!("{obstacle}, or go on with -f")));
            }
            self.warn(format!("-f: going on, although it {obstacle}"));
        }
        Ok(superblock)
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

/// Whether the superblock on the device says that MMP is on.
fn still_on(device: &mut MmpDevice<Writer>) -> bool {
    device.device_mut().superblock().is_ok_and(|superblock| superblock.features().mmp())
}

fn ending_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Turns the signals that end a program into a wish to stop, which only waiting heeds.
fn stop_on_signals() -> io::Result<daemon::Stop> {
    let signals = ending_signals();
    signals.thread_block()?;
    let stop = daemon::Stop::new()?;
    let raised = stop.clone();
    thread::Builder::new().stack_size(STACK).spawn(move || {
        if signals.wait().is_ok() {
            raised.raise();
        }
    })?;
    Ok(stop)
}
