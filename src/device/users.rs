//! Who on this machine uses a device: mounts and loop devices.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::error::shown;
use super::sys;
use crate::layout::Escaped;

/// Where, and as what, a block device is mounted in this mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// The directory.
    pub dir: PathBuf,
    /// The file system's type, such as `ext4`.
    pub fstype: String,
    /// Whether the file system, not only this mount of it, is read-only.
    pub read_only: bool,
}

/// The mounts of the block device with this number.
pub fn mounts_of(number: u64) -> Vec<MountPoint> {
    let wanted = format!("{}:{}", major(number), minor(number));
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let is_it = |source: &Path| {
        let metadata = fs::metadata(source).ok().filter(|m| m.file_type().is_block_device());
        metadata.is_some_and(|m| m.rdev() == number)
    };
    parse_mountinfo(&table, &wanted, is_it)
}

/// Lines of `/proc/self/mountinfo` whose device is `wanted`; see proc(5) for the fields. A Lustre
/// target's mount has a number of its own, and the ldiskfs below it is mounted where nobody sees
/// it: only the source, judged by `is_source`, tells the device.
fn parse_mountinfo(
    table: &[u8],
    wanted: &str,
    is_source: impl Fn(&Path) -> bool,
) -> Vec<MountPoint> {
    let lines = table.split(|b| *b == b'\n');
    let mounts = lines.filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let fstype = String::from_utf8_lossy(fields.get(dash + 1)?).into_owned();
        let dir = PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(fields.get(4)?)));
        let source = unescape(fields.get(dash + 2)?);
        let lustre = fstype == "lustre";
        let found = *fields.get(2)? == wanted.as_bytes()
            || (lustre && is_source(Path::new(std::ffi::OsStr::from_bytes(&source))));
        let mut options = fields.get(dash + 3)?.split(|b| *b == b',');
        // Lustre shows its targets as read-only; the ldiskfs below is not.
        let read_only = !lustre && options.any(|option| option == b"ro");
        found.then_some(MountPoint { dir, fstype, read_only })
    });
    mounts.collect()
}

/// Undoes the kernel's `\040` for a blank and the like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Says who has a block device that could not be opened exclusively.
pub(super) fn of_block_device(path: &Path) -> String {
    let number = fs::metadata(path).map(|m| m.rdev()).unwrap_or(0);
    match mounts_of(number).first() {
        Some(mount) => format!("mounted on {}; unmount it first", shown(&mount.dir)),
        None => {
            let name = shown(path);
            format!(
                "another process or a device built on it has it; see 'fuser -v {name}' and 'lsblk {name}'"
            )
        }
    }
}

/// Says which loop device is bound to an image, if one is.
pub(super) fn of_image(device: u64, inode: u64) -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b"loop") || !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(&name);
        if bound_to(&path, &entry.path()) != Some((device, inode)) {
            continue;
        }
        let number = fs::metadata(&path).map(|m| m.rdev()).unwrap_or(0);
        let mounted = mounts_of(number);
        let mounted = mounted.first().map(|m| format!(", mounted on {}", shown(&m.dir)));
        return Some(format!(
            "loop device {} is bound to it{}; use that device, or detach it with 'losetup -d'",
            shown(&path),
            mounted.unwrap_or_default(),
        ));
    }
    None
}

/// The file a loop device is bound to: from the kernel where we may ask it, else by the name that
/// sysfs gives.
fn bound_to(path: &Path, sysfs: &Path) -> Option<(u64, u64)> {
    if let Ok(file) = fs::File::open(path)
        && let Ok(backing) = sys::loop_backing(file.as_fd())
    {
        return Some(backing);
    }
    let name = fs::read(sysfs.join("loop/backing_file")).ok()?;
    let name = Escaped::field(name.trim_ascii_end()).0;
    let metadata = fs::metadata(std::ffi::OsStr::from_bytes(name)).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mountinfo() {
        let table = b"36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - ext4 /dev/sdb rw\n\
                      37 35 98:2 / /other rw - xfs /dev/sdc ro,noquota\n\
                      38 35 0:60 / /srv/ost0 ro - lustre /dev/mapper/ost\\0400 ro\n\
                      garbage\n";
        let parse = |wanted| parse_mountinfo(table, wanted, |_| false);
        let mounts = parse("98:0");
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].dir, Path::new("/mnt/a b"));
        assert_eq!(mounts[0].fstype, "ext4");
        assert!(!mounts[0].read_only);
        assert!(parse("98:1").is_empty());
        assert!(parse("98:2")[0].read_only);
        let target = Path::new("/dev/mapper/ost 0");
        let lustre = parse_mountinfo(table, "98:3", |source| source == target);
        assert_eq!(lustre.len(), 1);
        assert!(!lustre[0].read_only && lustre[0].dir == Path::new("/srv/ost0"));
    }

    #[test]
    fn unescapes_only_what_is_octal() {
        assert_eq!(unescape(b"a\\134b\\9\\04"), b"a\\b\\9\\04");
    }
}
