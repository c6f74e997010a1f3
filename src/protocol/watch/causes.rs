//! What is wrong with a device at present, by what was seen of it.

use std::time::Duration;

use super::alarm::{Alarm, Cause, Cleaned};
use super::record::{Record, Standing};
use super::sight::{Condition, Kmmpd, Mounted};
use crate::layout::Sequence;
use crate::protocol::Instant;
use crate::protocol::look::ReadError;
use crate::protocol::still::FSCK_SILENT;
use crate::protocol::timing::SETTLE;

/// A device that has not answered for so long hangs.
const HUNG: Duration = Duration::from_secs(10);
/// A block that is clean so long is not clean because a mount or an unmount is under way.
const CLEAN_STANDS: Duration = Duration::from_secs(3);
/// How long after its last write a frozen file system has missed one.
const MISSED: Duration = Duration::from_secs(2);

impl Record {
    /// Everything that is wrong at present; `raised` is what was so far.
    pub(super) fn causes(&self, raised: &[Cause], now: Instant) -> Vec<Cause> {
        let happened = [&self.turns, &self.back];
        let mut causes: Vec<Cause> =
            happened.into_iter().flatten().map(|(cause, _)| cause.clone()).collect();
        causes.extend(self.failing());
        if let Some(standing) = &self.standing {
            let frozen = self.frozen(standing, raised);
            let silent = if frozen.is_some() { None } else { self.stalled(standing) };
            causes.extend(frozen.or(silent));
            causes.extend(self.clean_while_mounted(standing, now));
            causes.extend(self.foreign_holder(standing));
            causes.extend(self.fsck(standing));
            if let Some((ahead, true)) = self.skew {
                causes.push(Cause::ClockSkew { block: standing.block.clone(), ahead });
            }
        }
        causes
    }

    fn failing(&self) -> Option<Cause> {
        if self.waiting > HUNG {
            return Some(Cause::Hung { since: self.waiting });
        }
        self.failure.clone().map(|error| match error {
            ReadError::Io(fault) => Cause::Unreadable(fault),
            ReadError::Invalid { block, why } => Cause::Invalid { block: *block, why },
        })
    }

    fn frozen(&self, standing: &Standing, raised: &[Cause]) -> Option<Cause> {
        let active = matches!(standing.block.sequence(), Sequence::Active(_));
        if !active || !self.writes_here() {
            return None;
        }
        // A claimant changes the block; the file system is as frozen as before.
        let raised = raised.iter().find(|cause| cause.alarm() == Alarm::Frozen);
        if let (Some(cause), Kmmpd::Frozen) = (raised, self.local.kmmpd)
            && !standing.alive
        {
            return Some(cause.clone());
        }
        let (seen, patience) = match self.local.kmmpd {
            Kmmpd::Frozen => (true, self.period() + MISSED),
            Kmmpd::Unknown => (false, self.period() + 2 * MISSED),
            Kmmpd::Running | Kmmpd::Absent => return None,
        };
        let silent = self.silence();
        (silent > patience).then(|| Cause::Frozen { block: standing.block.clone(), silent, seen })
    }

    fn stalled(&self, standing: &Standing) -> Option<Cause> {
        let Sequence::Active(_) = standing.block.sequence() else { return None };
        let (silent, alive) = (self.silence(), standing.alive);
        let own = Duration::from_secs(self.interval(&standing.block).into());
        let guard = self.guard(&standing.block);
        // Who claims is silent for a guard interval before the first heartbeat; a heartbeat may be
        // held up by the storage, and will say so in the next check interval.
        let beyond_guard = silent > if alive { guard + SETTLE } else { guard + own };
        let late = alive && silent > own + own / 2;
        (beyond_guard || late).then(|| Cause::Stalled {
            block: standing.block.clone(),
            silent,
            beyond_guard,
            was_alive: alive,
        })
    }

    fn clean_while_mounted(&self, standing: &Standing, now: Instant) -> Option<Cause> {
        let how = match self.local.mounted {
            Mounted::Emergency => Cleaned::Emergency,
            Mounted::ReadWrite => Cleaned::Stands,
            Mounted::No | Mounted::ReadOnly => return None,
        };
        let since = standing.since.max(self.mounted_since);
        let stands = self.looked.min(now).since(since) > CLEAN_STANDS;
        match standing.block.sequence() {
            Sequence::Clean if stands => {
                Some(Cause::CleanWhileMounted { block: standing.block.clone(), how })
            }
            _ => self.cleaned.as_ref().map(|(cause, _)| cause.clone()),
        }
    }

    fn foreign_holder(&self, standing: &Standing) -> Option<Cause> {
        // A writer that is seen to run here is this one under another name: the host was renamed.
        if !self.writes_here() || self.local.kmmpd == Kmmpd::Running {
            return None;
        }
        let since = self.foreign_since?;
        // Our own kernel would have written since, were it the holder.
        let lasts = self.looked.since(since) > self.period() + MISSED;
        (lasts && standing.alive).then(|| Cause::ForeignHolder { block: standing.block.clone() })
    }

    fn fsck(&self, standing: &Standing) -> Option<Cause> {
        if standing.block.sequence() != Sequence::Fsck {
            return None;
        }
        let (block, silent) = (standing.block.clone(), self.silence());
        if silent > FSCK_SILENT {
            Some(Cause::FsckDead { block, silent })
        } else {
            standing.alive.then_some(Cause::FsckAlive { block })
        }
    }

    /// What the device is in.
    pub(super) fn condition(&self) -> Condition {
        match self.failing() {
            Some(Cause::Invalid { why, .. }) => return Condition::Invalid(why),
            Some(_) => return Condition::Unreadable,
            None => {}
        }
        let Some(standing) = &self.standing else { return Condition::Unread };
        match (standing.block.sequence(), self.stalled(standing)) {
            (Sequence::Clean, _) => Condition::Clean,
            (Sequence::Fsck, _) => Condition::Fsck,
            (Sequence::Unknown(_), _) => Condition::Unknown,
            (Sequence::Active(_), Some(Cause::Stalled { beyond_guard: true, .. })) => {
                Condition::Stale
            }
            (Sequence::Active(_), _) if standing.alive => Condition::InUse,
            (Sequence::Active(_), _) => Condition::Active,
        }
    }
}
