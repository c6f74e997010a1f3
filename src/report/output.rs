//! Writing to standard output and standard error without dying of it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Milliseconds that a supervisor waits for whoever reads its messages.
const PATIENCE: u8 = 100;

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no error.
pub fn emit(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes one line to standard error, under the program's name. That nobody may be listening
/// changes nothing.
pub fn complain(program: &str, message: impl Display) {
    // In one piece: others write to the same place.
    let _ = io::stderr().lock().write_all(format!("{program}: {message}\n").as_bytes());
}

/// Puts `text` in the place of a file, all of it or nothing: whoever reads the file meanwhile, or
/// after a crash, finds the old content or the new. A pipe or a device is written to: in its place
/// (`/dev/null`) a file would be a disaster.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // Not `*.prom`: collectors would read it.
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(hidden);
    let done = write_through(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
        return done;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match create() {
        // Left behind by a process that had our number and was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()?
        }
        result => result?,
    };
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether standard error takes a line at once. A pipe that nobody empties, or a stopped terminal,
/// would keep a supervisor from its work.
pub(super) fn is_listened_to() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::from(PATIENCE)) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("mmp.prom");
        let left_behind = folder.path().join(format!(".mmp.prom.{}", std::process::id()));
        fs::write(&left_behind, "half").expect("write");
        for text in ["one\n", "two, longer\n", ""] {
            replace(&path, text).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        fs::create_dir(folder.path().join("dir")).expect("folder");
        assert!(replace(&folder.path().join("dir"), "text").is_err());
        assert!(replace(Path::new("/nonexistent/x"), "text").is_err());
        assert!(replace(Path::new("/"), "text").is_err());
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).expect("link");
        replace(&null, "text").expect("written");
        assert!(fs::symlink_metadata(&null).expect("still there").is_symlink());
        fs::remove_file(&null).expect("remove");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 2);
    }
}
