//! A device that is ours alone on this machine, and may be written.

use std::fs::OpenOptions;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::direct::{Kind, Reader};
use super::error::DeviceError;
use super::sysfs::is_read_only;
use super::users;
use crate::layout::ByteOffset;

/// A device open for writing, claimed against every other user on this machine: a block device by
/// O_EXCL, which mounts and other writers of this suite also use; an image by a lock, and only
/// while no loop device is bound to it.
#[derive(Debug)]
pub struct Writer {
    reader: Reader,
    /// Held as long as the writer lives; a block device needs none.
    _lock: Option<Flock<std::fs::File>>,
}

impl Writer {
    /// Opens and claims a device.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let mut options = OpenOptions::new();
        let opened = Reader::open_with(path, options.read(true).write(true), libc::O_EXCL, true);
        let reader = opened.map_err(|error| match error {
            DeviceError::Open { path, source, .. }
                if source.raw_os_error() == Some(libc::EBUSY) =>
            {
                let by = users::of_block_device(&path);
                DeviceError::Busy { path, by }
            }
            error => error,
        })?;
        let lock = match reader.kind() {
            Kind::Block { .. } if is_read_only(path) => {
                // It opens for writing all the same, and refuses the first write.
                let source = Errno::EROFS.into();
                return Err(DeviceError::Open { path: path.into(), writing: true, source });
            }
            Kind::Block { .. } => None,
            Kind::Image { device, inode } => {
                let lock = lock_image(&reader)?;
                if let Some(by) = users::of_image(device, inode) {
                    return Err(DeviceError::Busy { path: path.into(), by });
                }
                Some(lock)
            }
        };
        Ok(Writer { reader, _lock: lock })
    }

    /// Writes `data` at `offset`, past every cache of this machine.
    pub fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        self.reader.write(offset, data)
    }

    /// Flushes the device's own cache.
    pub fn flush(&mut self) -> io::Result<()> {
        self.reader.file.sync_data()
    }
}

fn lock_image(reader: &Reader) -> Result<Flock<std::fs::File>, DeviceError> {
    let path = reader.path().to_owned();
    let file = match reader.file.try_clone() {
        Ok(file) => file,
        Err(source) => return Err(DeviceError::Open { path, writing: true, source }),
    };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let by = "another process has it locked; find it with lslocks(8)".to_owned();
        DeviceError::Busy { path, by }
    })
}

impl Deref for Writer {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl AsMut<Reader> for Writer {
    fn as_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl AsMut<Reader> for Reader {
    fn as_mut(&mut self) -> &mut Reader {
        self
    }
}
