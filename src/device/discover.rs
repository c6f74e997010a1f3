//! Discovery: which block devices this machine has, and which of them hold an ext4 file system.
//!
//! A device is listed once however many paths lead to it, as long as something joins the paths: a
//! disk below multipath, a leg of a mirror and a physical volume have a holder and are left out,
//! what is built on them is listed. Paths that nothing joins (two loop devices over one image, a
//! disk seen twice without multipath) are two devices with one UUID; who lists them says so.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::direct::Reader;
use super::error::DeviceError;
use super::sysfs::device_number;
use crate::layout::{Superblock, SuperblockError};

/// Major numbers of floppy and CD drives: an empty one takes its time, and fails to be read.
const DRIVES: [&str; 2] = ["2", "11"];

/// Every block device that nothing else is built on. Asks only the kernel's tables, so that no
/// device can delay it. What has no node in `/dev` cannot be opened and is left out.
pub fn block_devices() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/partitions").unwrap_or_default();
    let rows = table.lines().skip(2).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let major = fields.next()?;
        fields.nth(2).filter(|_| !DRIVES.contains(&major))
    });
    let free = rows.filter(|name| {
        let holders = fs::read_dir(sysfs(name).join("holders"));
        holders.is_ok_and(|mut entries| entries.next().is_none())
    });
    free.filter_map(node).collect()
}

fn sysfs(name: &str) -> PathBuf {
    Path::new("/sys/class/block").join(name)
}

/// The path by which people know a device: device-mapper's name where it has one.
fn node(name: &str) -> Option<PathBuf> {
    let plain = Path::new("/dev").join(name.replace('!', "/"));
    let mapped = fs::read_to_string(sysfs(name).join("dm/name"));
    let mapped = mapped.map(|mapped| Path::new("/dev/mapper").join(mapped.trim_end()));
    let number = fs::read_to_string(sysfs(name).join("dev")).ok()?;
    let is_it = |path: &PathBuf| {
        device_number(path).is_some_and(|n| format!("{}:{}", major(n), minor(n)) == number.trim())
    };
    mapped.into_iter().chain([plain]).find(is_it)
}

/// The ext4 or ldiskfs file system on a device. Takes as long as the device does, which may be for
/// ever.
pub fn filesystem(path: &Path) -> Result<(Reader, Superblock), DeviceError> {
    let mut reader = Reader::open(path)?;
    let superblock = reader.superblock()?;
    // A journal of its own has a superblock too.
    if superblock.features().is_journal() {
        let source = SuperblockError::Journal;
        return Err(DeviceError::Superblock { path: path.into(), source });
    }
    Ok((reader, superblock))
}
