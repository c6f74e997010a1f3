//! A file system in few bytes: its superblock, and the pieces of it that are not zero.
//!
//! A piece is where it begins (in units of [`UNIT`], u32), its length in bytes (u16), and its
//! bytes. What lies outside the file system is not there, and asking for it is an error of whoever
//! asks.

use std::collections::BTreeMap;
use std::io;

use mmp::layout::{ByteOffset, Superblock};
use mmp::tune::{Disk, Source};

use super::take;

/// The unit in which pieces begin, bytes.
pub(crate) const UNIT: usize = 64;
/// A read of more pieces of the device than this fails: it is as large as its superblock says.
const READS: u32 = 20_000;

/// A device that holds just the file system.
#[derive(Clone)]
pub(super) struct Sparse {
    units: BTreeMap<u64, [u8; UNIT]>,
    size: u64,
    reads: u32,
    /// Where something was written, and how much.
    pub(super) writes: Vec<(u64, usize)>,
    /// How many writes succeed before all fail.
    pub(super) takes: usize,
}

impl Sparse {
    /// Pieces as encoded, with the superblock over them; `None` where no device is so large.
    pub(super) fn new(superblock: &Superblock, mut pieces: &[u8]) -> Option<Self> {
        let size = superblock.blocks_count().checked_mul(superblock.block_size().into())?;
        let units = BTreeMap::new();
        let mut disk = Sparse { units, size, reads: 0, writes: Vec::new(), takes: usize::MAX };
        while !pieces.is_empty() {
            let (place, rest) = take(pieces);
            let (len, rest) = take(rest);
            let len = usize::from(u16::from_le_bytes(len)).min(rest.len());
            disk.put(u64::from(u32::from_le_bytes(place)) * UNIT as u64, &rest[..len]);
            pieces = &rest[len..];
        }
        disk.put(1024, superblock.as_bytes());
        Some(disk)
    }

    /// Puts bytes there without counting it as a write; those past the end are dropped.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..self.size).zip(bytes) {
            let unit = self.units.entry(at / UNIT as u64).or_insert([0; UNIT]);
            unit[within(at)] = *byte;
        }
    }

    /// What lies there.
    pub(super) fn get(&self, offset: u64, out: &mut [u8]) {
        for (at, byte) in (offset..).zip(out) {
            *byte = self.units.get(&(at / UNIT as u64)).map_or(0, |unit| unit[within(at)]);
        }
    }

    fn assert_inside(&self, offset: ByteOffset, len: usize) {
        let end = offset.0.checked_add(len as u64);
        assert!(end.is_some_and(|end| end <= self.size), "{len} bytes at {offset} are outside");
    }
}

fn within(at: u64) -> usize {
    usize::try_from(at % UNIT as u64).expect("small")
}

impl Source for Sparse {
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        self.assert_inside(offset, out.len());
        self.reads += 1;
        if self.reads > READS {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.get(offset.0, out);
        Ok(())
    }
}

impl Disk for Sparse {
    fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        self.assert_inside(offset, data.len());
        assert!(offset.0 >= 1024, "the boot sector");
        if self.writes.len() >= self.takes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.writes.push((offset.0, data.len()));
        self.put(offset.0, data);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
