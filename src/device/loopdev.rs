//! Loop devices for image files that are to be mounted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::error::DeviceError;
use super::sys;

/// Somebody else may take the free loop device first; so often is another one tried.
const TRIES: usize = 16;

/// A loop device bound to an image. It is unbound when its last user, this or a mount, is gone.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _file: File,
}

impl LoopDevice {
    /// Binds a free loop device to the part of `image` that begins at byte `offset` and is
    /// `size_limit` bytes long; a limit of 0 is the whole rest.
    pub fn bind(
        image: &Path,
        offset: u64,
        size_limit: u64,
        read_only: bool,
    ) -> Result<Self, DeviceError> {
        let writing = !read_only;
        let file = OpenOptions::new().read(true).write(writing).open(image);
        let bound = file.and_then(|file| bind_free(&file, offset, size_limit, writing));
        bound.map_err(|source| DeviceError::Loop { path: image.into(), source })
    }

    /// The loop device.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn bind_free(image: &File, offset: u64, size_limit: u64, writing: bool) -> io::Result<LoopDevice> {
    let control = File::open("/dev/loop-control")?;
    let mut tries = 0;
    loop {
        let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop(control.as_fd())?));
        let file = OpenOptions::new().read(true).write(writing).open(&path)?;
        tries += 1;
        match sys::bind_loop(file.as_fd(), image.as_fd(), offset, size_limit) {
            Ok(()) => return Ok(LoopDevice { path, _file: file }),
            Err(Errno::EBUSY) if tries < TRIES => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
