//! A device as the kernel knows it: by its number, and by its name and place in sysfs.
//!
//! Asks only the kernel's tables, so that no device can delay it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// The number of a block device; `None` for anything else.
pub fn device_number(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    metadata.file_type().is_block_device().then(|| metadata.rdev())
}

/// The path by which the kernel knows a device in sysfs, or an image's own: `/dev/mapper/x` may be a
/// node of its own where no udev makes links.
pub fn kernel_path(path: &Path) -> Option<PathBuf> {
    let Some(number) = device_number(path) else { return path.canonicalize().ok() };
    let (major, minor) = (major(number), minor(number));
    Path::new(&format!("/sys/dev/block/{major}:{minor}")).canonicalize().ok()
}

/// The kernel's name for a device, as it writes it into MMP blocks: `dm-3`, `sdb1`.
pub fn kernel_name(path: &Path) -> Option<String> {
    let name = kernel_path(path)?.file_name()?.to_string_lossy().replace('!', "/");
    Some(name)
}

/// The image behind a loop device that is unbound with its last user. Such a device is no name to
/// act on later: its number may be another image's by then.
pub fn image_behind(path: &Path) -> Option<PathBuf> {
    let about = kernel_path(path)?.join("loop");
    let goes_away = fs::read(about.join("autoclear")).ok()?.starts_with(b"1");
    let image = fs::read(about.join("backing_file")).ok()?;
    goes_away.then(|| OsStr::from_bytes(image.trim_ascii_end()).into())
}

/// Whether the kernel lets nobody write a block device.
pub fn is_read_only(path: &Path) -> bool {
    let flag = kernel_path(path).and_then(|sysfs| fs::read(sysfs.join("ro")).ok());
    flag.is_some_and(|flag| flag.starts_with(b"1"))
}
