//! What guards a device with MMP while it is changed, and looking whether it still does.

use std::io;
use std::time::Duration;

use crate::daemon::{FsckHold, now};
use crate::device::{MmpDevice, Plain, Writer};
use crate::layout::MmpBlock;
use crate::protocol::Instant;
use crate::report::Holder;
use crate::tune::Step;

/// How old a look may be when the next write begins. Whoever clears the block has watched it for
/// much longer, unless that was waived.
const FRESH: Duration = Duration::from_secs(1);

/// What guards the device.
pub(super) enum Guard {
    /// Waived.
    None,
    /// Our FSCK in the block.
    Held(FsckHold),
    /// The block was seen not to change, and must not have changed since.
    Watched(MmpBlock),
}

impl Guard {
    /// What the block must say.
    fn block(&self) -> Option<&MmpBlock> {
        match self {
            Guard::None => None,
            Guard::Held(hold) => Some(hold.block()),
            Guard::Watched(block) => Some(block),
        }
    }
}

/// Why a change must not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("somebody else wrote the MMP block: {}", writer(.found, *.valid))]
    Written { found: MmpBlock, valid: bool },
    #[error("cannot read the MMP block: {}", Plain(.0))]
    Unreadable(io::Error),
}

/// Who wrote a block; one that is none any more names nobody.
fn writer(found: &MmpBlock, valid: bool) -> String {
    if valid { Holder(found).to_string() } else { "it is none any more".to_owned() }
}

impl Broken {
    pub(super) fn written(found: MmpBlock, device: &MmpDevice<Writer>) -> Self {
        let valid = found.verify(device.area().checksum).is_ok();
        Broken::Written { found, valid }
    }
}

/// Looks before each step.
pub(super) struct Lookout<'a> {
    guard: &'a Guard,
    /// When the last look began.
    last: Option<Instant>,
}

impl<'a> Lookout<'a> {
    pub(super) fn new(guard: &'a Guard) -> Self {
        Lookout { guard, last: None }
    }

    /// Whether the block must be read before `step`: always where the plan says so, and before a
    /// write where the last look is too old, for this program may have been stopped meanwhile.
    fn is_due(&self, step: &Step, now: Instant) -> bool {
        *step == Step::Look || self.last.is_none_or(|last| now.since(last) >= FRESH)
    }

    /// Makes sure that the block says what it must.
    pub(super) fn look(
        &mut self,
        step: &Step,
        device: &mut MmpDevice<Writer>,
    ) -> Result<(), Broken> {
        let Some(block) = self.guard.block() else { return Ok(()) };
        let began = now().instant;
        if !self.is_due(step, began) {
            return Ok(());
        }
        let found = device.read().map_err(Broken::Unreadable)?;
        if found != *block {
            return Err(Broken::written(found, device));
        }
        self.last = Some(began);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layout::{BlockNumber, ByteOffset};
    use crate::tune::{What, Write};

    use super::*;

    #[test]
    fn a_look_is_good_for_a_second() {
        let write = Step::Write(Write {
            what: What::MmpBlock,
            block: BlockNumber(1),
            offset: ByteOffset(1024),
            bytes: Vec::new(),
            why: "".into(),
        });
        let at = |millis: u64| Instant(millis * 1_000_000);
        let mut lookout = Lookout::new(&Guard::None);
        assert!(lookout.is_due(&write, at(0)));
        lookout.last = Some(at(5000));
        for (millis, due) in [(5000, false), (5999, false), (6000, true), (400_000, true)] {
            assert_eq!(lookout.is_due(&write, at(millis)), due, "{millis}");
            assert!(lookout.is_due(&Step::Look, at(millis)));
        }
    }
}
