//! Discovery: which block devices this machine has, and which of them hold an ext4 file system.
//!
//! A device is listed once however many paths lead to it, as long as something joins the paths: a
//! disk below multipath, a leg of a mirror and a physical volume have a holder and are left out,
//! what is built on them is listed. Paths that nothing joins (two loop devices over one image, a
//! disk seen twice without multipath) are two devices with one UUID; who lists them says so.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::direct::Reader;
use super::error::DeviceError;
use super::sysfs::device_number;
use super::users::read_table;
use crate::layout::{Superblock, SuperblockError};

/// Major numbers of floppy and CD drives: an empty one takes its time, and fails to be read.
const DRIVES: [&str; 2] = ["2", "11"];

/// The kernel's list of block devices.
const PARTITIONS: &str = "/proc/partitions";

/// Every block device that nothing else is built on. Asks only the kernel's tables, so that no
/// device can delay it. What has no node in `/dev` cannot be opened and is left out; fails where
/// that leaves none of many, or the tables cannot be read: that is not a machine without disks.
pub fn block_devices() -> io::Result<Vec<PathBuf>> {
    let table = read_table(PARTITIONS)?;
    let table = String::from_utf8_lossy(&table);
    let rows = table.lines().skip(2).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let major = fields.next()?;
        fields.nth(2).filter(|_| !DRIVES.contains(&major))
    });
    let mut devices = Vec::new();
    let mut first = None;
    for name in rows {
        first.get_or_insert(name);
        match fs::read_dir(sysfs(name).join("holders")).map(|mut holders| holders.next()) {
            Ok(None) => devices.extend(node(name)),
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if let (Some(name), true) = (first, devices.is_empty()) {
        let why = format!("{PARTITIONS} has {name} and more, /sys and /dev have none of them");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    devices.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)).then_with(|| a.cmp(b)));
    Ok(devices)
}

/// Orders names as people do, with the numbers in them as numbers: pieces of text, each with the
/// number behind it by length and digits.
fn sort_key(path: &Path) -> Vec<(&[u8], usize, &[u8])> {
    let mut key = Vec::new();
    let mut rest = path.as_os_str().as_bytes();
    while !rest.is_empty() {
        let digits = rest.iter().position(u8::is_ascii_digit).unwrap_or(rest.len());
        let (text, from_digits) = rest.split_at(digits);
        let end = from_digits.iter().position(|b| !b.is_ascii_digit());
        let (number, after) = from_digits.split_at(end.unwrap_or(from_digits.len()));
        let zeros = number.iter().take_while(|digit| **digit == b'0').count();
        let number = &number[zeros..];
        key.push((text, number.len(), number));
        rest = after;
    }
    key
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_numbers() {
        let sorted = [
            "/dev/loop7",
            "/dev/loop8",
            "/dev/loop19",
            "/dev/loop20",
            "/dev/nvme0n1",
            "/dev/nvme0n1p2",
            "/dev/nvme0n1p10",
            "/dev/nvme1n1",
            "/dev/vda",
            "/dev/vda1",
            "/dev/vdb99999999999999999999998",
            "/dev/vdb99999999999999999999999",
        ];
        for pair in sorted.windows(2) {
            assert!(sort_key(Path::new(pair[0])) < sort_key(Path::new(pair[1])), "{pair:?}");
        }
        let listed = block_devices().expect("the kernel's tables");
        assert!(listed.is_sorted_by_key(|path| sort_key(path)), "{listed:?}");
    }
}
