//! What can go wrong with a device, each with the device's name and what to do next.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::layout::{ByteOffset, Escaped, SuperblockError};

/// A path or device name, safe to print.
pub fn shown<S: AsRef<OsStr> + ?Sized>(name: &S) -> Escaped<'_> {
    Escaped(name.as_ref().as_bytes())
}

/// An operating system's error in its own words, without Rust's "(os error N)", and what to do about
/// one that is this process's own.
pub struct Plain<'a>(pub &'a io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(errno) => {
                f.write_str(Errno::from_raw(errno).desc())?;
                f.write_str(match Errno::from_raw(errno) {
                    Errno::EMFILE => {
                        "; raise the limit of this process with 'ulimit -n', or LimitNOFILE= of \
                         its unit"
                    }
                    _ => "",
                })
            }
            None => self.0.fmt(f),
        }
    }
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device could not be opened.
    #[error("{}: cannot open{}: {}", shown(.path), if *.writing { " for writing" } else { "" }, Plain(.source))]
    Open {
        /// The device.
        path: PathBuf,
        /// Whether it was to be written.
        writing: bool,
        /// Why not.
        source: io::Error,
    },
    /// The path is neither a block device nor a regular file.
    #[error("{}: is {what}, not a block device or an image file", shown(.path))]
    NotADevice {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Somebody on this machine uses the device.
    #[error("{}: is in use on this machine: {by}", shown(.path))]
    Busy {
        /// The device.
        path: PathBuf,
        /// Who, and how to find out more.
        by: String,
    },
    /// A read failed.
    #[error("{}: cannot read {what} at byte {offset}: {}", shown(.path), Plain(.source))]
    Read {
        /// The device.
        path: PathBuf,
        /// What was to be read.
        what: String,
        /// Where.
        offset: ByteOffset,
        /// Why not.
        source: io::Error,
    },
    /// The device ends before what must be read.
    #[error("{}: is too small: {what} ends at byte {needed}, the device at byte {size}", shown(.path))]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// What was to be read.
        what: String,
        /// Size needed, bytes.
        needed: u64,
        /// Size found, bytes.
        size: u64,
    },
    /// The superblock is missing, damaged, or has no MMP.
    #[error("{}: {source}{}", shown(.path), superblock_hint(.path, .source))]
    Superblock {
        /// The device.
        path: PathBuf,
        /// What is wrong.
        source: SuperblockError,
    },
    /// A sector of the device spans more than a block of the file system.
    #[error("{}: its sectors of {sector} bytes are larger than the file system's blocks of {block_size}; no kernel can mount it there", shown(.path))]
    Sector {
        /// The device.
        path: PathBuf,
        /// Logical sector size, bytes.
        sector: usize,
        /// File system block size, bytes.
        block_size: u32,
    },
    /// No loop device could be bound to an image.
    #[error("{}: cannot set up a loop device: {}", shown(.path), Plain(.source))]
    Loop {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The page cache keeps an old copy of the MMP block.
    #[error("{0}: this machine's page cache keeps an old copy of the MMP block, which a mount would go by; end what has the device mapped, see 'fuser -v {0}'", shown(.path))]
    StalePage {
        /// The device.
        path: PathBuf,
    },
    /// A name is empty, or a `LABEL=` or `UUID=` matches nothing, or more than one device.
    #[error("{}{}{why}", shown(.spec), if .spec.is_empty() { "" } else { ": " })]
    Name {
        /// What was asked for.
        spec: OsString,
        /// Why it could not be found.
        why: String,
    },
}

/// What to do about a superblock.
fn superblock_hint(path: &Path, error: &SuperblockError) -> String {
    match error {
        SuperblockError::NoMmp => format!("; 'mmptune -O mmp {}' turns it on", shown(path)),
        SuperblockError::Checksum { .. } => {
            format!("; 'e2fsck {}' repairs it from a backup", shown(path))
        }
        _ => String::new(),
    }
}

impl DeviceError {
    /// The same, of a device that is known by another name.
    pub fn named(mut self, name: &Path) -> Self {
        match &mut self {
            DeviceError::Open { path, .. }
            | DeviceError::NotADevice { path, .. }
            | DeviceError::Busy { path, .. }
            | DeviceError::Read { path, .. }
            | DeviceError::TooSmall { path, .. }
            | DeviceError::Superblock { path, .. }
            | DeviceError::Sector { path, .. }
            | DeviceError::Loop { path, .. }
            | DeviceError::StalePage { path } => *path = name.into(),
            DeviceError::Name { .. } => {}
        }
        self
    }

    /// Whether the device is fine but has no MMP.
    pub fn is_no_mmp(&self) -> bool {
        matches!(self, DeviceError::Superblock { source: SuperblockError::NoMmp, .. })
    }

    /// Whether somebody on this machine has the device.
    pub fn is_busy(&self) -> bool {
        matches!(self, DeviceError::Busy { .. })
    }

    /// Whether there is no file system at all: no medium, no backing file, no room, another magic.
    pub fn is_nothing_there(&self) -> bool {
        match self {
            DeviceError::Open { source, .. } => {
                let empty = [Errno::ENXIO, Errno::ENOMEDIUM, Errno::ENOENT, Errno::ENODEV];
                source.raw_os_error().is_some_and(|code| empty.contains(&Errno::from_raw(code)))
            }
            DeviceError::TooSmall { .. } => true,
            DeviceError::Superblock { source, .. } => {
                matches!(source, SuperblockError::Magic { .. } | SuperblockError::Journal)
            }
            _ => false,
        }
    }
}
