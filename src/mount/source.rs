//! What is mounted: a block device, or an image through a loop device that is bound here, so that
//! the device that is protected is the one the kernel mounts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::MountError;
use super::options::Options;
use crate::device::{DeviceError, LoopDevice, resolve};

/// The device to protect and to mount.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// Keeps the loop device bound until the mount holds it.
    _loop_device: Option<LoopDevice>,
}

impl Source {
    /// Finds the device; takes out of the options what concerns loop devices if one is bound here.
    /// mount(8) does that itself before it calls a helper, so this is for a helper called by hand,
    /// and for an image without `-o loop`, which mount(8) binds only for types it knows.
    pub(super) fn open(
        spec: &OsStr,
        options: &mut Options,
        read_only: bool,
    ) -> Result<Self, MountError> {
        let path = resolve(spec)?;
        let open_error = |source| DeviceError::Open { path: path.clone(), writing: false, source };
        let real = path.canonicalize().map_err(open_error)?;
        let part = options.take_loop()?;
        if part.is_none() && !real.is_file() {
            return Ok(Self::device(real));
        }
        let part = part.unwrap_or_default();
        let bound = LoopDevice::bind(&real, part.offset, part.size_limit, read_only)?;
        Ok(Source { path: bound.path().to_owned(), _loop_device: Some(bound) })
    }

    /// A device that is mounted already.
    pub(super) fn device(path: PathBuf) -> Self {
        Source { path, _loop_device: None }
    }

    /// The block device.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
