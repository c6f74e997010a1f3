//! A remount of what is mounted already.

use super::error::MountError;
use super::mounting::Mounting;
use super::options::Mode;
use super::real::wait_for;
use super::request::Request;
use super::source::Source;
use crate::device::{Kind, Reader, block_devices, device_number, mounted_on, mounts_of, resolve};

/// The device of what is mounted where a remount is to happen, by whatever name that was asked for:
/// an image is mounted through a loop device.
pub(super) fn mounted_source(request: &Request) -> Result<Source, MountError> {
    let dir = request.dir.canonicalize().unwrap_or_else(|_| request.dir.clone());
    let number = mounted_on(&dir)?.map(|(number, _)| number).filter(|number| *number != 0);
    let mut devices = resolve(&request.spec).into_iter().chain(block_devices().unwrap_or_default());
    let device = match number {
        Some(number) if request.namespace.is_none() => {
            devices.find(|device| device_number(device) == Some(number))
        }
        _ => None,
    };
    Ok(Source::device(device.ok_or(MountError::NotMounted(dir))?))
}

impl Mounting<'_> {
    /// A remount of what is mounted here. Only a file system that is read-only as a whole lacks a
    /// heartbeat; making it writable is a mount as far as MMP goes, but the kernel has the device
    /// and nothing can be claimed: it is watched instead.
    pub(super) fn remount(&mut self, read_only: bool) -> Result<u8, MountError> {
        let Kind::Block { number } = Reader::open(&self.path)?.kind() else {
            return Err(MountError::NotMounted(self.real.dir.clone()));
        };
        let mounts = mounts_of(number)?;
        let idle = !mounts.is_empty() && mounts.iter().all(|mount| mount.read_only);
        if idle && !read_only {
            let mut device = self.check(self.request.options.mode != Mode::Check)?;
            device.drop_stale_pages()?;
        }
        let mut child = self.start()?;
        self.ended(wait_for(&mut child, &self.sleeper)?)
    }
}
