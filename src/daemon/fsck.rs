//! Holding a device for a change: claimed as by any holder, then FSCK in the block.
//!
//! FSCK needs no heartbeat: everybody refuses a block that says so, however long. It is left
//! behind by whoever dies meanwhile, and `mmptune -f -E clear_mmp` takes it away.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::clock::{Alarm, now};
use super::drive::drive;
use super::holder::{our_names, random};
use crate::device::{MmpDevice, Writer};
use crate::layout::{MmpBlock, Sequence};
use crate::protocol::{
    Claim, ClaimOutcome, ClaimRequest, Claimed, Phase, Refusal, effective_interval, lease_interval,
};

/// Why a device could not be had for a change.
#[derive(Debug)]
pub enum NotHeld {
    /// The claim was refused.
    Refused {
        /// Why.
        why: Refusal,
        /// Whether our own claim may still stand in the block.
        left_behind: bool,
    },
    /// The claim stood, but FSCK was not in the block before it ran out.
    Overtaken,
    /// The device or the clock failed.
    Io(io::Error),
}

impl From<io::Error> for NotHeld {
    fn from(error: io::Error) -> Self {
        NotHeld::Io(error)
    }
}

/// A block that says FSCK, and is ours.
#[derive(Debug)]
pub struct FsckHold {
    ours: MmpBlock,
}

impl FsckHold {
    /// Claims the device and writes FSCK. `observe` is told the claim's phases.
    pub fn claim(
        path: &Path,
        device: &mut MmpDevice<Writer>,
        alarm: &Alarm,
        mut observe: impl FnMut(Phase<'_>),
    ) -> Result<Self, NotHeld> {
        let update_interval = device.area().update_interval;
        let mut claim = Claim::new(ClaimRequest {
            update_interval,
            check_interval: effective_interval(update_interval, 0),
            names: our_names(path),
            draw: random()?,
            patience: now().instant,
        });
        let ControlFlow::Continue(outcome) = drive(&mut claim, device, alarm, |claim| {
            observe(crate::protocol::Machine::phase(claim));
            ControlFlow::<std::convert::Infallible>::Continue(())
        })?;
        match outcome {
            ClaimOutcome::Claimed(claimed) => Self::write(claimed, update_interval, device),
            ClaimOutcome::Refused { why, left_behind } => {
                Err(NotHeld::Refused { why, left_behind })
            }
        }
    }

    fn write(
        claimed: Claimed,
        update_interval: u16,
        device: &mut MmpDevice<Writer>,
    ) -> Result<Self, NotHeld> {
        let c = effective_interval(update_interval, claimed.block.check_interval());
        let lease = claimed.verified + lease_interval(c);
        let ours = claimed
            .block
            .with_sequence(Sequence::Fsck)
            .with_time(now().wall)
            .with_check_interval(claimed.original.check_interval());
        if now().instant >= lease {
            return Err(NotHeld::Overtaken);
        }
        device.write(&ours, true)?;
        // A claim that came after ours ran out may have been overwritten: then neither has it.
        let hold = FsckHold { ours };
        if hold.stands(device)? && now().instant < lease {
            Ok(hold)
        } else {
            Err(NotHeld::Overtaken)
        }
    }

    /// Whether the block is still ours.
    pub fn stands(&self, device: &mut MmpDevice<Writer>) -> io::Result<bool> {
        Ok(device.read()? == self.ours)
    }

    /// Writes CLEAN, if the block is still ours; false if it is not.
    pub fn release(self, device: &mut MmpDevice<Writer>) -> io::Result<bool> {
        if !self.stands(device)? {
            return Ok(false);
        }
        let clean = self.ours.with_sequence(Sequence::Clean).with_time(now().wall);
        device.write(&clean, true)?;
        Ok(true)
    }
}
