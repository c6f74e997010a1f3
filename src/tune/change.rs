//! What is asked for.

use crate::layout::Superblock;

/// A change as asked for; its parts combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// MMP on or off.
    pub mmp: Option<bool>,
    /// Another `s_mmp_update_interval`, seconds, 1 to 300.
    pub interval: Option<u16>,
    /// The MMP block written anew, as clean.
    pub clear: bool,
}

impl Change {
    /// What this does to MMP on a file system: `Some(true)` turns it on, `Some(false)` off, `None`
    /// leaves it.
    pub fn turns(&self, superblock: &Superblock) -> Option<bool> {
        self.mmp.filter(|on| *on != superblock.features().mmp())
    }

    /// Whether nothing is left to do on a file system.
    pub fn is_done(&self, superblock: &Superblock) -> bool {
        self.turns(superblock).is_none() && self.interval.is_none() && !self.clear
    }

    /// Whether it writes more than the MMP block.
    pub fn touches_superblock(&self, superblock: &Superblock) -> bool {
        self.turns(superblock).is_some() || self.interval.is_some()
    }
}
