//! A mount for writing: claimed before, or watched beside.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use super::error::MountError;
use super::fenced::fenced_since;
use super::mounting::{Attempt, Mounting};
use super::options::Mode;
use super::real::{break_off, wait_for};
use crate::daemon::{Child, drive_until, now, our_names, random};
use crate::device::{MmpDevice, Reader, Writer};
use crate::layout::{MmpBlock, Sequence};
use crate::protocol::{
    ClaimRequest, Confirm, Confirmation, DEFAULT_CHECK_INTERVAL, Handed, Handover, HandoverMode,
    HandoverOutcome, Lookout, LookoutOutcome, Machine, POLL, Refusal, Verdict, effective_interval,
    guard_interval,
};
use crate::report::{Holder, date, seconds_text};

impl Mounting<'_> {
    /// One attempt.
    pub(super) fn writing(&mut self) -> Result<Attempt, MountError> {
        // All that is read is read before: from our last write on it must go fast.
        let mut device = Writer::open(&self.path)?;
        let superblock = device.superblock()?;
        let mut device = MmpDevice::with_superblock(device, &superblock)?;
        let reader = Reader::open(&self.path)?;
        let mut reader = MmpDevice::with_superblock(reader, &superblock)?;
        let area = *device.area();
        let mode = match self.request.options.mode {
            Mode::Strict => HandoverMode::Strict,
            Mode::Check => HandoverMode::Check,
            Mode::Guard | Mode::Off => HandoverMode::Guard,
        };
        let claim = self.claim_request(area.update_interval)?;
        let mut handover = Handover::new(mode, claim);
        if let Some(block) = self.orphan(&mut reader, mode) {
            handover = handover.after_fencing(block);
        }
        let outcome = self.drive(&mut handover, &mut device)?;
        let handed = match outcome {
            HandoverOutcome::HandOver(handed) => handed,
            HandoverOutcome::Refused { why, left_behind } => {
                return Err(self.refused(area.block, why, left_behind));
            }
        };
        // The kernel wants the device for itself.
        drop(device);
        let result = match reader.drop_stale_pages() {
            Ok(()) => self.hand_over(&handed, &mut reader),
            Err(error) => Err(error.into()),
        };
        if let (Handed::Unclean { block, original: Some(original), .. }, true) =
            (&handed, !matches!(result, Ok(Attempt::Ended(0))))
        {
            self.take_back(block, original)?;
        }
        result
    }

    fn claim_request(&self, update_interval: u16) -> Result<ClaimRequest, MountError> {
        Ok(ClaimRequest {
            update_interval,
            check_interval: DEFAULT_CHECK_INTERVAL,
            names: our_names(&self.path),
            draw: random()?,
            patience: self.patience,
        })
    }

    /// The block as it is, if its writer was fenced after it wrote it and that is to count.
    fn orphan(&self, device: &mut MmpDevice<Reader>, mode: HandoverMode) -> Option<MmpBlock> {
        if !self.request.options.fenced || mode != HandoverMode::Guard {
            return None;
        }
        let area = *device.area();
        let block = device.read().ok().filter(|block| block.verify(area.checksum).is_ok())?;
        if !matches!(block.sequence(), Sequence::Active(_)) || block.is_by(&our_names(&self.path)) {
            return None;
        }
        match fenced_since(&block) {
            Ok(at) => {
                let holder = Holder(&block);
                self.say(&format!("last written by {holder}, which was fenced at {}; its heartbeat is not watched for", date(at)));
                Some(block)
            }
            Err(why) => {
                let node = block.nodename();
                self.say(&format!("no proof that node '{node}' was fenced: {why}"));
                None
            }
        }
    }

    fn take_back(&mut self, block: &MmpBlock, original: &MmpBlock) -> Result<(), MountError> {
        let mut device = MmpDevice::new(Writer::open(&self.path)?)?;
        let claim = self.claim_request(device.area().update_interval)?;
        let mut undo =
            Handover::new(HandoverMode::Strict, claim).take_back(block.clone(), original.clone());
        if let HandoverOutcome::Refused { left_behind: true, .. } =
            self.drive(&mut undo, &mut device)?
        {
            self.say("the MMP block is left not clean: the next mount waits two guard intervals");
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        handed: &Handed,
        device: &mut MmpDevice<Reader>,
    ) -> Result<Attempt, MountError> {
        if self.sleeper.is_stopped() {
            return Err(self.interrupted("nothing is mounted"));
        }
        let mut child = self.start()?;
        let code = match handed {
            Handed::Unclean { block, since, .. } => {
                let interval = device.area().update_interval;
                let lookout = Lookout::new(block.clone(), *since, interval);
                self.tell_unclean(block, interval);
                match self.look_out(lookout, device, &mut child)? {
                    ControlFlow::Continue(code) => code,
                    ControlFlow::Break((block, after)) => {
                        match break_off(&mut child, &self.sleeper)? {
                            0 => Some(0),
                            _ => return self.changed(device, block, after),
                        }
                    }
                }
            }
            Handed::Guarded { .. } | Handed::Unguarded => {
                self.step("handed to mount");
                wait_for(&mut child, &self.sleeper)?
            }
        };
        let code = self.ended(code)?;
        if code != 0 {
            return self.failed(device, handed, code);
        }
        if handed.needs_confirmation(now().instant) {
            self.confirm(device)?;
        }
        Ok(Attempt::Ended(0))
    }

    fn tell_unclean(&self, block: &MmpBlock, update_interval: u16) {
        let c = effective_interval(update_interval, block.check_interval());
        let wait = seconds_text(guard_interval(c));
        self.say(&format!(
            "not clean, last written by {}; the kernel waits {wait} twice before it mounts it",
            Holder(block),
        ));
    }

    /// Watches beside the mount. The mount's end with its code (none if told to stop), or why the
    /// mount must be broken off.
    fn look_out(
        &mut self,
        mut lookout: Lookout,
        device: &mut MmpDevice<Reader>,
        child: &mut Child,
    ) -> Result<ControlFlow<(MmpBlock, Duration), Option<u8>>, MountError> {
        let sleeper = self.sleeper.again()?;
        let watched = drive_until(&mut lookout, device, &sleeper, |lookout| {
            self.line.show(lookout.phase(), now().instant);
            match child.try_wait() {
                Ok(None) => ControlFlow::Continue(()),
                ended => ControlFlow::Break(ended),
            }
        })?;
        match watched {
            ControlFlow::Break(ended) => return Ok(ControlFlow::Continue(ended?)),
            ControlFlow::Continue(LookoutOutcome::Changed { block, after }) => {
                return Ok(ControlFlow::Break((block, after)));
            }
            ControlFlow::Continue(LookoutOutcome::Stopped) => {}
            ControlFlow::Continue(LookoutOutcome::Quiet) => {
                self.step("nobody else wrote it during the kernel's first wait");
            }
        }
        Ok(ControlFlow::Continue(wait_for(child, &self.sleeper)?))
    }

    fn changed(
        &self,
        device: &MmpDevice<Reader>,
        block: MmpBlock,
        after: Duration,
    ) -> Result<Attempt, MountError> {
        let verdict = match block.sequence() {
            Sequence::Clean => return Ok(Attempt::Again),
            Sequence::Fsck => Verdict::Fsck { block },
            Sequence::Active(_) => Verdict::InUse { block, after },
            Sequence::Unknown(_) => Verdict::Unknown { block },
        };
        Err(self.refused(device.area().block, Refusal::NotSafe(verdict), false))
    }

    /// The real mount has said why it failed, except that the kernel does not say who was faster.
    fn failed(
        &mut self,
        device: &mut MmpDevice<Reader>,
        handed: &Handed,
        code: u8,
    ) -> Result<Attempt, MountError> {
        let before = match handed {
            Handed::Unclean { block, .. } => Some(block),
            Handed::Guarded { .. } | Handed::Unguarded => None,
        };
        match device.read() {
            Ok(block)
                if matches!(block.sequence(), Sequence::Active(_)) && before != Some(&block) =>
            {
                Err(MountError::Taken { path: self.name.clone(), block })
            }
            _ => Ok(Attempt::Ended(code)),
        }
    }

    /// Whether the kernel here has stopped writing the block, and so left it clean itself: because
    /// of somebody on this machine, who unmounted it or made it read-only.
    fn was_left_here(&self) -> io::Result<bool> {
        if self.request.namespace.is_some() {
            return Ok(false);
        }
        self.sleeper.wait(now().instant + POLL, false)?;
        Ok(self.is_gone() || self.mounts()?.iter().all(|mount| mount.read_only))
    }

    /// Somebody else may have been let in: is our mount the only one?
    fn confirm(&mut self, device: &mut MmpDevice<Reader>) -> Result<(), MountError> {
        self.say(
            "mounted, but not within the time that was guarded; watching that nobody else did",
        );
        let mut confirm = Confirm::new(device.area().update_interval);
        let path = self.name.clone();
        match self.drive(&mut confirm, device)? {
            Confirmation::Alone => {
                self.step("nobody else writes the MMP block");
                Ok(())
            }
            Confirmation::SecondWriter { other, .. }
                if other.sequence() == Sequence::Clean && self.was_left_here()? =>
            {
                Err(MountError::Left(path))
            }
            Confirmation::SecondWriter { one, other } => {
                let outcome = self.undo_mount();
                Err(MountError::SecondWriter { path, one, other, outcome })
            }
            Confirmation::Unreadable(error) => {
                let outcome = self.undo_mount();
                Err(MountError::Unconfirmed { path, error, outcome })
            }
            Confirmation::Stopped => {
                let outcome = self.undo_mount();
                Err(MountError::Interrupted { path, outcome })
            }
        }
    }
}
