//! Who on this machine uses a device: mounts and loop devices.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::makedev;

use super::error::{Plain, shown};
use super::sys;
use super::sysfs::device_number;
use crate::layout::Escaped;

/// What is mounted in this mount namespace.
const MOUNTS: &str = "/proc/self/mountinfo";

/// How often a table that does not come to rest is read.
const READINGS: u32 = 10;

/// The kernel's block devices.
const SYSFS: &str = "/sys/block";

/// Where, and as what, a block device is mounted in this mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// The directory.
    pub dir: PathBuf,
    /// The file system's type, such as `ext4`.
    pub fstype: String,
    /// Whether the file system, not only this mount of it, is read-only.
    pub read_only: bool,
    /// Whether it is read-only although this mount of it is not: the kernel made it so, after an
    /// error or in an emergency.
    pub emergency: bool,
}

/// The mounts of the block device with this number; fails where that cannot be told.
pub fn mounts_of(number: u64) -> io::Result<Vec<MountPoint>> {
    let mounts = all_mounts()?.into_iter();
    Ok(mounts.filter(|(device, _)| *device == number).map(|(_, mount)| mount).collect())
}

/// What is mounted on a directory, the last of it, with the number of its device; 0 where that is
/// not known. Fails where it cannot be told.
pub fn mounted_on(dir: &Path) -> io::Result<Option<(u64, MountPoint)>> {
    Ok(all_mounts()?.into_iter().rfind(|(_, mount)| mount.dir == dir))
}

/// Every mount, with the number of its device. A table that cannot be read is not an empty one:
/// what is mounted would be taken for stopped.
pub(super) fn all_mounts() -> io::Result<Vec<(u64, MountPoint)>> {
    Ok(parse_mountinfo(&settled(|| read_table(MOUNTS))?, device_number))
}

/// Reads a table until it is twice the same, or [`READINGS`] times. Kernels before 5.8 leave out a
/// mount when another ends while they tell the table in pieces.
fn settled(mut read: impl FnMut() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut table = read()?;
    for _ in 1..READINGS {
        let last = std::mem::replace(&mut table, read()?);
        if last == table {
            break;
        }
    }
    Ok(table)
}

/// Reads a table of the kernel; an error names it.
pub(super) fn read_table(path: &str) -> io::Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {}", Plain(&error))))
}

/// The lines of `/proc/self/mountinfo`; see proc(5) for the fields. A Lustre target's mount has a
/// number of its own, and the ldiskfs below it is mounted where nobody sees it: only the source,
/// by `number_of`, tells the device.
fn parse_mountinfo(
    table: &[u8],
    number_of: impl Fn(&Path) -> Option<u64>,
) -> Vec<(u64, MountPoint)> {
    let mounts = table.split(|b| *b == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let (major, minor) = std::str::from_utf8(fields.get(2)?).ok()?.split_once(':')?;
        let fstype = String::from_utf8_lossy(fields.get(dash + 1)?).into_owned();
        let dir = PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(fields.get(4)?)));
        let has = |field: &[u8], option: &[u8]| field.split(|b| *b == b',').any(|o| o == option);
        let (own, shared) = (fields.get(5)?, fields.get(dash + 3)?);
        let lustre = fstype == "lustre";
        // ext4 says the latter since Linux 6.15, and is not `ro` then. Lustre shows its targets as
        // read-only; the ldiskfs below is not.
        let read_only = !lustre && (has(shared, b"ro") || has(shared, b"emergency_ro"));
        let emergency = read_only && !has(own, b"ro");
        let number = match lustre {
            true => {
                let source = unescape(fields.get(dash + 2)?);
                number_of(Path::new(std::ffi::OsStr::from_bytes(&source))).unwrap_or(0)
            }
            false => makedev(major.parse().ok()?, minor.parse().ok()?),
        };
        Some((number, MountPoint { dir, fstype, read_only, emergency }))
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
    let number = device_number(path).unwrap_or(0);
    match mounts_of(number).unwrap_or_default().first() {
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
    let (folder, seen) = match fs::read_dir(SYSFS) {
        Ok(folder) => (folder, true),
        // Hidden, as in a chroot: the devices themselves tell.
        Err(_) => (fs::read_dir("/dev").ok()?, false),
    };
    for name in folder.flatten().map(|entry| entry.file_name()) {
        let sysfs = Path::new(SYSFS).join(&name);
        if !name.as_bytes().starts_with(b"loop") || (seen && !sysfs.join("loop").exists()) {
            continue;
        }
        let path = Path::new("/dev").join(&name);
        if bound_to(&path, &sysfs) != Some((device, inode)) {
            continue;
        }
        let number = device_number(&path).unwrap_or(0);
        let mounted = mounts_of(number).unwrap_or_default();
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
                      38 35 98:3 / /quiet ro - ext4 /dev/sdd ro\n\
                      39 35 0:60 / /srv/ost0 ro - lustre /dev/mapper/ost\\0400 ro\n\
                      garbage\n";
        let target = Path::new("/dev/mapper/ost 0");
        let mounts = parse_mountinfo(table, |source| (source == target).then_some(makedev(98, 4)));
        let numbers: Vec<u64> = mounts.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 2, 3, 4].map(|minor| makedev(98, minor)));
        let [a, b, c, lustre] = [0, 1, 2, 3].map(|index: usize| &mounts[index].1);
        assert_eq!(a.dir, Path::new("/mnt/a b"));
        assert_eq!(a.fstype, "ext4");
        assert!(!a.read_only && !a.emergency);
        assert!(b.read_only && b.emergency);
        assert!(c.read_only && !c.emergency);
        assert!(!lustre.read_only && lustre.dir == Path::new("/srv/ost0"));
    }

    #[test]
    fn a_table_is_taken_once_it_has_settled() {
        let mut readings = ["a b", "a c", "b c", "b c", "not read"].into_iter();
        let table = settled(|| Ok(readings.next().expect("one more").into())).expect("read");
        assert_eq!((table, readings.next()), (b"b c".to_vec(), Some("not read")));
        let mut count = 0..;
        let table = settled(|| Ok(vec![count.next().expect("endless")])).expect("read");
        assert_eq!(table, [9]);
        assert!(settled(|| Err(io::ErrorKind::NotFound.into())).is_err());
    }

    #[test]
    fn unescapes_only_what_is_octal() {
        assert_eq!(unescape(b"a\\134b\\9\\04"), b"a\\b\\9\\04");
    }
}
