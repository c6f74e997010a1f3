//! Reading and writing past every cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use super::buffer::AlignedBuffer;
use super::error::DeviceError;
use super::sys;
use crate::layout::{ByteOffset, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock};

/// The largest sector, and so the largest unit of I/O, that is tried on an image file.
const MAX_SECTOR: usize = 65536;
/// Where memory for I/O begins; no device asks for more.
const MEMORY_ALIGN: usize = 4096;
/// A superblock is read this often before its checksum is called wrong: a mounted file system may
/// be writing it.
const SUPERBLOCK_TRIES: usize = 4;

/// A block device or an image of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device, with its number.
    Block {
        /// `st_rdev`.
        number: u64,
    },
    /// A regular file.
    Image {
        /// `st_dev`.
        device: u64,
        /// `st_ino`.
        inode: u64,
    },
}

/// A device open for reading. It has no way to write.
#[derive(Debug)]
pub struct Reader {
    pub(super) path: PathBuf,
    pub(super) file: File,
    kind: Kind,
    size: u64,
    sector: usize,
    cached: bool,
    buffer: AlignedBuffer,
}

impl Reader {
    /// Opens a device with O_DIRECT, without claiming it.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        Self::open_with(path, OpenOptions::new().read(true), 0, false)
    }

    /// Opens with O_DIRECT where the device can; only an image on a file system that cannot is
    /// opened through the page cache, and says so by [`Reader::is_cached`].
    pub(super) fn open_with(
        path: &Path,
        options: &mut OpenOptions,
        flags: i32,
        writing: bool,
    ) -> Result<Self, DeviceError> {
        let open_error = |source| DeviceError::Open { path: path.into(), writing, source };
        // Looked at before it is opened: opening a tape, a watchdog or a pipe does something.
        let kind = kind_of(path)?;
        let excl = if matches!(kind, Kind::Block { .. }) { flags } else { 0 };
        let direct = options.custom_flags(libc::O_DIRECT | libc::O_NONBLOCK | excl).open(path);
        let (file, cached) = match (direct, kind) {
            (Ok(file), _) => (file, false),
            (Err(e), Kind::Image { .. }) if e.raw_os_error() == Some(libc::EINVAL) => {
                let file = options.custom_flags(libc::O_NONBLOCK).open(path);
                (file.map_err(open_error)?, true)
            }
            (Err(e), _) => return Err(open_error(e)),
        };
        if kind_of_file(&file) != Some(kind) {
            return Err(open_error(Errno::ESTALE.into()));
        }
        let size = match kind {
            Kind::Block { .. } => {
                sys::device_size(file.as_fd()).map_err(|e| open_error(e.into()))?
            }
            Kind::Image { .. } => file.metadata().map_err(open_error)?.len(),
        };
        let mut reader = Reader {
            path: path.into(),
            file,
            kind,
            size,
            sector: 512,
            cached,
            buffer: AlignedBuffer::new(0, MEMORY_ALIGN),
        };
        reader.sector = reader.find_sector().map_err(open_error)?;
        Ok(reader)
    }

    /// A block device tells its sector size; for a file, the smallest read that O_DIRECT accepts.
    fn find_sector(&mut self) -> io::Result<usize> {
        if self.cached {
            return Ok(1);
        }
        if let Kind::Block { .. } = self.kind {
            let sector = sys::sector_size(self.file.as_fd())?;
            let known = sector.is_power_of_two() && (512..=MAX_SECTOR).contains(&sector);
            return if known { Ok(sector) } else { Err(Errno::EINVAL.into()) };
        }
        let mut sector = 512;
        loop {
            let mut probe = AlignedBuffer::new(sector, MEMORY_ALIGN.max(sector));
            match self.file.read_at(&mut probe, sector as u64) {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && sector < MAX_SECTOR => {
                    sector *= 2;
                }
                Err(e) => return Err(e),
                Ok(_) => return Ok(sector),
            }
        }
    }

    /// Gives up O_DIRECT for an image whose file system can only do it in units larger than
    /// `block_size` bytes: writing such a unit would write blocks that are somebody else's.
    pub fn fit_blocks(&mut self, block_size: u32) -> Result<(), DeviceError> {
        if self.sector <= block_size as usize {
            return Ok(());
        }
        let (path, sector) = (self.path.clone(), self.sector);
        match self.kind {
            Kind::Block { .. } => Err(DeviceError::Sector { path, sector, block_size }),
            Kind::Image { .. } => {
                use nix::fcntl::{FcntlArg, OFlag, fcntl};
                fcntl(&self.file, FcntlArg::F_SETFL(OFlag::empty()))
                    .map_err(|e| DeviceError::Open { path, writing: false, source: e.into() })?;
                (self.sector, self.cached) = (1, true);
                Ok(())
            }
        }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The unit of I/O in bytes: the logical sector.
    pub fn sector(&self) -> usize {
        self.sector
    }

    /// Whether reads come through the page cache, because the file system below an image cannot do
    /// O_DIRECT. Such an image must not be shared between machines.
    pub fn is_cached(&self) -> bool {
        self.cached
    }

    /// The whole sectors around `len` bytes at `offset`: where they begin, and how long they are.
    fn around(&self, offset: ByteOffset, len: usize) -> io::Result<(u64, usize)> {
        let sector = self.sector as u64;
        let end = offset.0.checked_add(len as u64).ok_or(Errno::EOVERFLOW)?;
        let (start, end) = (offset.0 / sector * sector, end.div_ceil(sector) * sector);
        let len = usize::try_from(end - start).map_err(|_| Errno::EOVERFLOW)?;
        Ok((start, len))
    }

    /// Reads the sectors around a place into the buffer; tells where in the buffer the place is.
    fn load(&mut self, offset: ByteOffset, len: usize) -> io::Result<(u64, usize, usize)> {
        let (start, total) = self.around(offset, len)?;
        if self.buffer.len() < total {
            self.buffer = AlignedBuffer::new(total, MEMORY_ALIGN.max(self.sector));
        }
        if self.cached {
            // What another machine wrote is not seen in pages that are already here.
            posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        self.file.read_exact_at(&mut self.buffer[..total], start)?;
        let within = usize::try_from(offset.0 - start).map_err(|_| Errno::EOVERFLOW)?;
        Ok((start, total, within))
    }

    /// Reads exactly `out.len()` bytes at `offset`, from the device and not from a cache.
    pub fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        let (_, _, within) = self.load(offset, out.len())?;
        out.copy_from_slice(&self.buffer[within..within + out.len()]);
        Ok(())
    }

    /// Fails unless `len` bytes at `offset` lie within the device.
    pub fn require(&self, what: &str, offset: ByteOffset, len: usize) -> Result<(), DeviceError> {
        let needed = offset.0.saturating_add(len as u64);
        if needed <= self.size {
            return Ok(());
        }
        let (path, what, size) = (self.path.clone(), what.to_owned(), self.size);
        Err(DeviceError::TooSmall { path, what, needed, size })
    }

    /// Drops what the page cache holds of a block device.
    pub(super) fn drop_pages(&self) -> io::Result<()> {
        Ok(sys::drop_pages(self.file.as_fd())?)
    }

    /// Reads the primary superblock.
    pub fn superblock(&mut self) -> Result<Superblock, DeviceError> {
        let what = "the superblock";
        self.require(what, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)?;
        let mut tries = 0;
        loop {
            let mut raw = [0; SUPERBLOCK_SIZE];
            self.read(SUPERBLOCK_OFFSET, &mut raw).map_err(|source| DeviceError::Read {
                path: self.path.clone(),
                what: what.to_owned(),
                offset: SUPERBLOCK_OFFSET,
                source,
            })?;
            tries += 1;
            match Superblock::parse(raw) {
                Ok(superblock) => return Ok(superblock),
                Err(_) if tries < SUPERBLOCK_TRIES => {}
                Err(source) => {
                    return Err(DeviceError::Superblock { path: self.path.clone(), source });
                }
            }
        }
    }

    /// Writes `data` at `offset`; sectors it only partly covers are read first. Only a
    /// [`super::Writer`] passes this on.
    pub(super) fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        let (start, total) = self.around(offset, data.len())?;
        let (start, total, within) = if (start, total) == (offset.0, data.len()) {
            if self.buffer.len() < total {
                self.buffer = AlignedBuffer::new(total, MEMORY_ALIGN.max(self.sector));
            }
            (start, total, 0)
        } else {
            self.load(offset, data.len())?
        };
        self.buffer[within..within + data.len()].copy_from_slice(data);
        self.file.write_all_at(&self.buffer[..total], start)?;
        // Past the page cache means past this one too.
        if self.cached { self.file.sync_data() } else { Ok(()) }
    }
}

fn kind_of(path: &Path) -> Result<Kind, DeviceError> {
    let metadata = std::fs::metadata(path).map_err(|source| DeviceError::Open {
        path: path.into(),
        writing: false,
        source,
    })?;
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_block_device() => return Ok(Kind::Block { number: metadata.rdev() }),
        () if kind.is_file() => {
            return Ok(Kind::Image { device: metadata.dev(), inode: metadata.ino() });
        }
        () if kind.is_dir() => "a directory",
        () if kind.is_char_device() => "a character device",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "something else",
    };
    Err(DeviceError::NotADevice { path: path.into(), what })
}

fn kind_of_file(file: &File) -> Option<Kind> {
    let metadata = file.metadata().ok()?;
    if metadata.file_type().is_block_device() {
        Some(Kind::Block { number: metadata.rdev() })
    } else {
        Some(Kind::Image { device: metadata.dev(), inode: metadata.ino() })
    }
}
