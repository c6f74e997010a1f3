//! A device together with its MMP block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::direct::Reader;
use super::error::DeviceError;
use super::writer::Writer;
use crate::layout::{MMP_SIZE, MmpArea, MmpBlock, Superblock};

/// How often a cached page is compared with the disk before it is called old.
const CACHE_TRIES: usize = 4;

/// A file system with MMP on a device. Over a [`Reader`] the block can be read; over a [`Writer`]
/// also written.
#[derive(Debug)]
pub struct MmpDevice<D> {
    device: D,
    area: MmpArea,
}

impl<D: AsMut<Reader>> MmpDevice<D> {
    /// Finds the MMP block through the superblock.
    pub fn new(mut device: D) -> Result<Self, DeviceError> {
        let superblock = device.as_mut().superblock()?;
        Self::with_superblock(device, &superblock)
    }

    /// The same, with a superblock that is already known.
    pub fn with_superblock(mut device: D, superblock: &Superblock) -> Result<Self, DeviceError> {
        let reader = device.as_mut();
        let area = superblock
            .mmp()
            .map_err(|source| DeviceError::Superblock { path: reader.path().into(), source })?;
        reader.fit_blocks(superblock.block_size())?;
        let what = format!("the MMP block (block {})", area.block);
        reader.require(&what, area.offset, MMP_SIZE)?;
        Ok(MmpDevice { device, area })
    }

    /// Reads the block as it stands, valid or not.
    pub fn read(&mut self) -> io::Result<MmpBlock> {
        let mut raw = [0; MMP_SIZE];
        self.device.as_mut().read(self.area.offset, &mut raw)?;
        Ok(MmpBlock::from_bytes(raw))
    }

    /// The same; a failure says on what device, and where.
    pub fn block(&mut self) -> Result<MmpBlock, DeviceError> {
        self.read().map_err(|source| DeviceError::Read {
            path: self.device.as_mut().path().into(),
            what: format!("MMP block {}", self.area.block),
            offset: self.area.offset,
            source,
        })
    }

    /// Makes sure that a mount that follows does not read the block from an old page: what another
    /// machine wrote does not show in pages that this machine already has. Drops the device's
    /// cached pages and then compares a cached read with the disk, for pages that are mapped stay.
    pub fn drop_stale_pages(&mut self) -> Result<(), DeviceError> {
        let reader = self.device.as_mut();
        let path = reader.path().to_owned();
        let failed = |source| DeviceError::Read {
            path: path.clone(),
            what: "the MMP block as cached".to_owned(),
            offset: self.area.offset,
            source,
        };
        let cached = File::open(&path).map_err(failed)?;
        // A live holder may write between the two reads; hardly each time.
        for _ in 0..CACHE_TRIES {
            reader.drop_pages().map_err(failed)?;
            let (mut here, mut there) = ([0; MMP_SIZE], [0; MMP_SIZE]);
            cached.read_exact_at(&mut here, self.area.offset.0).map_err(failed)?;
            reader.read(self.area.offset, &mut there).map_err(failed)?;
            if here == there {
                return Ok(());
            }
        }
        Err(DeviceError::StalePage { path })
    }
}

impl<D> MmpDevice<D> {
    /// Where the block lies and how it is checksummed.
    pub fn area(&self) -> &MmpArea {
        &self.area
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device below, to read or write other parts of it.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl MmpDevice<Writer> {
    /// Writes the block, checksummed as the file system asks; with `flush`, through the device's
    /// own cache too.
    pub fn write(&mut self, block: &MmpBlock, flush: bool) -> io::Result<()> {
        self.device.write(self.area.offset, &block.sealed(self.area.checksum))?;
        if flush { self.device.flush() } else { Ok(()) }
    }
}
