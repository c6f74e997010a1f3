//! Changes to a file system: MMP on, off, another interval, the block cleared.
//!
//! A change goes through three hands. [`Survey::new`] reads what the change depends on and takes
//! nothing on trust; [`Plan::new`] makes of it, without I/O, an ordered list of writes and flushes;
//! [`carry_out`] writes them. Nothing is written before the whole plan stands.
//!
//! The order is such that power may fail after any write, and between two flushes after any subset
//! of the writes: the file system is then one that `e2fsck -fp` puts right with nothing lost, and
//! MMP is on or off. `docs/tune.md` goes through the states. Two rules make it so:
//!
//! - A superblock, be it the primary or a backup, says that MMP is on only while the block it
//!   names is marked in use.
//! - While the primary superblock and the bitmaps may disagree, the primary says "not checked"
//!   (`s_state` without VALID_FS), so that e2fsck looks without being asked.
//!
//! The cost is one group's descriptor and bitmap and the backups there are; it does not grow with
//! the size of the file system. Only looking for a free block in a nearly full one takes a read
//! per block of descriptors.

mod change;
mod execute;
mod obstacle;
mod plan;
mod survey;

pub use change::Change;
pub use execute::{Stopped, carry_out};
pub use obstacle::Obstacle;
pub use plan::{Plan, Stamp, Step, What, Write};
pub use survey::{Cluster, Survey, SurveyError};

use std::io;

use crate::device::{MmpDevice, Reader, Writer};
use crate::layout::ByteOffset;

/// Where the bytes of a file system can be read.
pub trait Source {
    /// Reads exactly `out.len()` bytes at `offset`.
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()>;
}

/// Where they can be written too.
pub trait Disk: Source {
    /// Writes all of `data` at `offset`.
    fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()>;
    /// Returns when everything written before has reached stable storage.
    fn flush(&mut self) -> io::Result<()>;
}

impl Source for Reader {
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        Reader::read(self, offset, out)
    }
}

impl Source for Writer {
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        Reader::read(self, offset, out)
    }
}

impl Source for MmpDevice<Writer> {
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        Reader::read(self.device_mut(), offset, out)
    }
}

impl Disk for MmpDevice<Writer> {
    fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        Writer::write(self.device_mut(), offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Writer::flush(self.device_mut())
    }
}

impl Disk for Writer {
    fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        Writer::write(self, offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Writer::flush(self)
    }
}
