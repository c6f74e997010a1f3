//! What forbids a change, as far as the superblock tells.

use std::fmt;

use super::change::Change;
use crate::layout::features::{INCOMPAT_RECOVER, RO_COMPAT_ORPHAN_PRESENT};
use crate::layout::{Features, STATE_ERROR, STATE_VALID, Superblock};
use crate::protocol::MAX_CHECK_INTERVAL;

const NOT_CLEAN: &str = "was not cleanly unmounted";
const ERRORS: &str = "contains errors";

/// A reason not to change a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// An external journal, which has neither groups nor MMP.
    JournalDevice,
    /// Revision 0 has no feature bits.
    OldRevision,
    /// Features whose effect on what would be written is not known.
    NotUnderstood(Features),
    /// The journal has not been replayed. What is in it would later overwrite the change.
    NeedsRecovery {
        /// Whether MMP is on, and so tells whether somebody has the file system mounted.
        mmp: bool,
    },
    /// In use without a journal, or left so by a crash.
    NotClean {
        /// Whether MMP is on, and so tells whether somebody has the file system mounted.
        mmp: bool,
    },
    /// MMP would be turned on with an interval that is out of range.
    Interval {
        /// `s_mmp_update_interval`, seconds.
        seconds: u16,
    },
    /// The kernel or e2fsck found errors that have not been put right.
    Errors,
}

impl Obstacle {
    /// Everything that stands in the way of `change`. Clearing the MMP block touches nothing else,
    /// and is what frees a file system in a bad state: only what makes the block's place doubtful
    /// stands in its way.
    pub fn all(superblock: &Superblock, change: &Change) -> Vec<Obstacle> {
        let features = superblock.features();
        let (state, mmp) = (superblock.state(), features.mmp());
        let unknown = features.not_understood();
        let writes = change.touches_superblock(superblock);
        let unclean =
            state & STATE_VALID == 0 || features.ro_compat & RO_COMPAT_ORPHAN_PRESENT != 0;
        let seconds = superblock.mmp_update_interval();
        let kept = change.turns(superblock) == Some(true) && change.interval.is_none();
        let recover = features.incompat & INCOMPAT_RECOVER != 0;
        let found = [
            (features.is_journal(), Obstacle::JournalDevice),
            (superblock.u32(0x4C) == 0, Obstacle::OldRevision),
            (unknown.incompat | unknown.ro_compat != 0, Obstacle::NotUnderstood(unknown)),
            (writes && recover, Obstacle::NeedsRecovery { mmp }),
            (writes && !recover && unclean, Obstacle::NotClean { mmp }),
            (kept && seconds > MAX_CHECK_INTERVAL, Obstacle::Interval { seconds }),
            (writes && state & STATE_ERROR != 0, Obstacle::Errors),
        ];
        found.into_iter().filter(|(stands, _)| *stands).map(|(_, obstacle)| obstacle).collect()
    }

    /// What a user who knows better can be right to go on in spite of, in words that follow "it";
    /// `None` for what nobody should.
    pub fn overridable(&self) -> Option<&'static str> {
        match self {
            Obstacle::NotClean { .. } => Some(NOT_CLEAN),
            Obstacle::Errors => Some(ERRORS),
            _ => None,
        }
    }

    /// Whether it may come from somebody using the file system this very moment, as the MMP block
    /// can show.
    pub fn may_be_use(&self) -> bool {
        matches!(
            self,
            Obstacle::NeedsRecovery { mmp: true }
                | Obstacle::NotClean { mmp: true }
                | Obstacle::Errors
        )
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::JournalDevice => f.write_str("Cannot modify a journal device."),
            Obstacle::OldRevision => {
                f.write_str("a revision 0 file system has no features; e2fsprogs can upgrade it")
            }
            Obstacle::NotUnderstood(features) => write!(
                f,
                "has features that this program does not know: {features}; it can be read, not \
                 changed. Use the tools that set them",
            ),
            Obstacle::NeedsRecovery { mmp: true } => f.write_str(
                "the journal needs recovery: replay it with 'e2fsck -p' or by a mount and unmount, \
                 then try again",
            ),
            Obstacle::NeedsRecovery { mmp: false } => f.write_str(
                "the journal needs recovery: either another server has it mounted, which nothing \
                 here can tell, or a server died with it. Make sure that none has it mounted, then \
                 run 'e2fsck -p' and try again",
            ),
            Obstacle::NotClean { mmp: true } => {
                write!(f, "{NOT_CLEAN}: run 'e2fsck -p' and try again")
            }
            Obstacle::NotClean { mmp: false } => write!(
                f,
                "{NOT_CLEAN}: either another server has it mounted, which nothing \
                 here can tell, or a server died with it. Make sure that none has it mounted, then \
                 run 'e2fsck -p' and try again",
            ),
            Obstacle::Interval { seconds } => write!(
                f,
                "mmp_update_interval too big: the superblock has {seconds}; give one with \
                 -E mmp_update_interval=",
            ),
            Obstacle::Errors => write!(f, "{ERRORS}: run 'e2fsck -f' and try again"),
        }
    }
}
