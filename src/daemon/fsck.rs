//! Holding a device for a change: claimed as by any holder, then FSCK in the block.
//!
//! FSCK needs no heartbeat: everybody refuses a block that says so, however long. It is left
//! behind by whoever dies meanwhile, and `mmptune -f -E clear_mmp` takes it away.

use std::io;
use std::path::Path;

use super::clock::{Sleeper, now};
use super::drive::drive;
use super::identity::{our_names, random};
use crate::device::{MmpDevice, Plain, Writer};
use crate::layout::{MmpBlock, Sequence};
use crate::protocol::{
    Claim, ClaimOutcome, ClaimRequest, Claimed, Instant, Machine, Phase, Refusal,
    effective_interval, lease_interval,
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
    /// The claim stood, but FSCK could not be put in the block.
    Unmarked {
        /// Why not.
        why: Unmarked,
        /// What became of the block.
        left: Left,
    },
    /// The device or the clock failed.
    Io(io::Error),
}

impl From<io::Error> for NotHeld {
    fn from(error: io::Error) -> Self {
        NotHeld::Io(error)
    }
}

/// Why a block that we had claimed does not say FSCK.
#[derive(Debug, thiserror::Error)]
pub enum Unmarked {
    /// It was written after the claim had run out, possibly over somebody else's.
    #[error("the claim ran out before it could be used")]
    Late,
    /// Somebody else wrote the block.
    #[error("somebody else wrote the MMP block meanwhile")]
    Taken,
    /// It could not be written, flushed or read back.
    #[error("cannot mark the MMP block as fsck: {}", Plain(.0))]
    Fault(io::Error),
}

/// What a claim that failed has left in the block.
#[derive(Debug)]
pub enum Left {
    /// What was there before, or what somebody else wrote.
    Nothing,
    /// Our sequence, which is stale after the guard interval.
    Active,
    /// FSCK.
    Fsck,
    /// Nobody can tell: it could not be read.
    Unseen,
}

/// Why a block still says FSCK.
#[derive(Debug, thiserror::Error)]
pub enum NotReleased {
    /// It does not, for somebody else wrote it.
    #[error("somebody else wrote the MMP block")]
    Taken(MmpBlock),
    /// It could not be read.
    #[error("cannot read the MMP block: {}", Plain(.0))]
    Unreadable(io::Error),
    /// It could not be written or flushed.
    #[error("cannot write the MMP block: {}", Plain(.0))]
    Unwritable(io::Error),
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
        sleeper: &Sleeper,
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
        match drive(&mut claim, device, sleeper, |claim| observe(claim.phase()))? {
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
            .clone()
            .with_sequence(Sequence::Fsck)
            .with_time(now().wall)
            .with_check_interval(claimed.original.check_interval());
        let hold = FsckHold { ours };
        let why = if now().instant >= lease {
            Unmarked::Late
        } else {
            match device.write(&hold.ours, true).and_then(|()| device.read()) {
                Ok(found) if found != hold.ours => Unmarked::Taken,
                Ok(_) if now().instant < lease => return Ok(hold),
                Ok(_) => Unmarked::Late,
                Err(error) => Unmarked::Fault(error),
            }
        };
        let left = hold.undo(&claimed, lease, device);
        Err(NotHeld::Unmarked { why, left })
    }

    /// Puts back what was there before, as long as our claim runs. After that the block may have
    /// been somebody else's before FSCK went over it, and must not be called clean: our sequence
    /// keeps everybody away, and ends by itself.
    fn undo(&self, claimed: &Claimed, lease: Instant, device: &mut MmpDevice<Writer>) -> Left {
        let Ok(found) = device.read() else { return Left::Unseen };
        let stands = match &found {
            found if *found == self.ours => Left::Fsck,
            found if *found == claimed.block => Left::Active,
            _ => return Left::Nothing,
        };
        let (back, then) = match now().instant < lease {
            true => (&claimed.original, Left::Nothing),
            false => (&claimed.block, Left::Active),
        };
        if found == *back || device.write(back, true).is_ok() { then } else { stands }
    }

    /// What is ours.
    pub fn block(&self) -> &MmpBlock {
        &self.ours
    }

    /// Writes CLEAN, if the block is still ours.
    pub fn release(self, device: &mut MmpDevice<Writer>) -> Result<(), NotReleased> {
        let found = device.read().map_err(NotReleased::Unreadable)?;
        if found != self.ours {
            return Err(NotReleased::Taken(found));
        }
        let clean = self.ours.with_sequence(Sequence::Clean).with_time(now().wall);
        device.write(&clean, true).map_err(NotReleased::Unwritable)
    }
}
