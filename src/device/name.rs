//! `LABEL=`, `UUID=` and udev's links, turned into a path; also where udev's links are missing.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::direct::Reader;
use super::discover::block_devices;
use super::error::{DeviceError, shown};
use crate::layout::SuperblockError;

/// The names by which a device can be asked for, and the folder in which udev keeps links for each.
const TAGS: [(&str, &str); 6] = [
    ("LABEL=", "/dev/disk/by-label"),
    ("UUID=", "/dev/disk/by-uuid"),
    ("PARTLABEL=", "/dev/disk/by-partlabel"),
    ("PARTUUID=", "/dev/disk/by-partuuid"),
    ("ID=", "/dev/disk/by-id"),
    ("PATH=", "/dev/disk/by-path"),
];

/// When no device has answered for so long, those that have not are not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// One that reads a superblock needs little stack.
const STACK: usize = 256 * 1024;

/// The path of the device that `spec` means: a path as it is; a tag by udev's link, or else, for a
/// label or a UUID, by reading the superblock of every block device. An empty name is an error, as is
/// more than one match, or one that may be behind a device that does not answer: which of them is
/// meant must not be guessed.
pub fn resolve(spec: &OsStr) -> Result<PathBuf, DeviceError> {
    let bytes = spec.as_bytes();
    let empty = || DeviceError::Name { spec: spec.to_owned(), why: "no name is given".to_owned() };
    if bytes.is_empty() {
        return Err(empty());
    }
    for (tag, folder) in TAGS {
        if let Some(value) = bytes.strip_prefix(tag.as_bytes()) {
            let value = unquote(value);
            // Many a file system has no label, and a script may have none to ask for.
            if value.is_empty() {
                return Err(empty());
            }
            let link = Path::new(folder).join(OsString::from_vec(encode(value)));
            return if link.exists() { Ok(link) } else { search(spec, tag, value) };
        }
        let in_folder = bytes.strip_prefix(folder.as_bytes()).and_then(|b| b.strip_prefix(b"/"));
        if let Some(value) = in_folder
            && !Path::new(spec).exists()
        {
            return search(spec, tag, &decode(value));
        }
    }
    Ok(spec.into())
}

/// mount(8) accepts `LABEL="x y"`.
fn unquote(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// udev writes bytes that a file name should not have as `\x20`.
fn encode(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(byte) || *byte >= 0x80 {
            out.push(*byte);
        } else {
            out.extend(format!("\\x{byte:02x}").bytes());
        }
    }
    out
}

fn decode(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, tail)) = rest.split_first() {
        let hex = rest.strip_prefix(b"\\x").and_then(|t| t.get(..2));
        let byte = hex.and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &rest[4..] } else { tail };
    }
    out
}

fn search(spec: &OsStr, tag: &'static str, value: &[u8]) -> Result<PathBuf, DeviceError> {
    let fail = |why: String| DeviceError::Name { spec: spec.to_owned(), why };
    if !matches!(tag, "LABEL=" | "UUID=") {
        return Err(fail(format!("udev has no such device ({tag} needs udev's links)")));
    }
    let Found { found, silent, failed } =
        read_all(tag, value).map_err(|error| fail(error.to_string()))?;
    let listed = |paths: &[PathBuf]| {
        let names: Vec<String> = paths.iter().map(|path| shown(path).to_string()).collect();
        names.join(", ")
    };
    match found.as_slice() {
        many @ [_, _, ..] => {
            let many = listed(many);
            Err(fail(format!("more than one device has this name: {many}; name the device")))
        }
        _ if !silent.is_empty() => {
            let silent = listed(&silent);
            Err(fail(format!(
                "cannot tell which device has this name: {silent} has not answered; name the device"
            )))
        }
        [path] => Ok(path.clone()),
        [] => Err(fail(match failed.as_slice() {
            [] => "no block device has this name".to_owned(),
            [first, ..] => format!("no block device that can be read has this name; {first}"),
        })),
    }
}

/// What reading every superblock came to.
struct Found {
    /// The devices that have the name.
    found: Vec<PathBuf>,
    /// Those that have not answered.
    silent: Vec<PathBuf>,
    /// What went wrong with those that could not be read.
    failed: Vec<DeviceError>,
}

fn read_all(tag: &'static str, value: &[u8]) -> io::Result<Found> {
    let devices = block_devices()?;
    let value: Arc<[u8]> = value.into();
    let (sender, answers) = channel();
    for (index, path) in devices.iter().cloned().enumerate() {
        let (sender, value) = (sender.clone(), Arc::clone(&value));
        thread::Builder::new().stack_size(STACK).spawn(move || {
            // Fails only when nobody waits any more.
            let _ = sender.send((index, has_name(&path, tag, &value)));
        })?;
    }
    drop(sender);
    let mut silent: Vec<_> = devices.into_iter().map(Some).collect();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    while let Ok((index, answer)) = answers.recv_timeout(PATIENCE) {
        let path = silent[index].take();
        match answer {
            Ok(true) => found.extend(path),
            Ok(false) => {}
            Err(error) => failed.push(error),
        }
    }
    found.sort();
    Ok(Found { found, silent: silent.into_iter().flatten().collect(), failed })
}

fn has_name(path: &Path, tag: &str, value: &[u8]) -> Result<bool, DeviceError> {
    match Reader::open(path).and_then(|mut reader| reader.superblock()) {
        Ok(superblock) => Ok(match tag {
            "LABEL=" => superblock.volume_name().0 == value,
            _ => format_uuid(superblock.uuid()).as_bytes().eq_ignore_ascii_case(value),
        }),
        // No file system of ours.
        Err(
            DeviceError::Superblock { source: SuperblockError::Magic { .. }, .. }
            | DeviceError::TooSmall { .. },
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A UUID in its usual form.
pub fn format_uuid(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_udevs_form_and_back() {
        assert_eq!(encode(b"data/OST 1"), b"data\\x2fOST\\x201");
        assert_eq!(decode(&encode(b"data/OST 1\\")), b"data/OST 1\\");
        assert_eq!(unquote(b"\"a b\""), b"a b");
    }

    #[test]
    fn uuids_are_written_as_everywhere() {
        let uuid = [
            0xe5, 0x0d, 0x29, 0xe8, 0x27, 0xaa, 0x47, 0x68, 0x84, 0x9e, 7, 0x48, 0x3c, 0x46, 0xf2,
            0x70,
        ];
        assert_eq!(format_uuid(uuid), "e50d29e8-27aa-4768-849e-07483c46f270");
    }

    #[test]
    fn a_path_is_a_path() {
        assert_eq!(resolve(OsStr::new("/dev/sdb")).expect("path"), Path::new("/dev/sdb"));
        assert!(matches!(resolve(OsStr::new("PARTUUID=none")), Err(DeviceError::Name { .. })));
    }

    #[test]
    fn no_name_is_looked_for_nowhere() {
        for spec in ["", "LABEL=", "LABEL=\"\"", "UUID="] {
            let error = resolve(OsStr::new(spec)).expect_err(spec).to_string();
            assert!(error.ends_with("no name is given"), "{error}");
        }
    }
}
