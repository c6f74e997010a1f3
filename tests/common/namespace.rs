//! A mount namespace of its own for a case: the suite is installed there as the system's, and nothing
//! of the system is changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::program::PROGRAMS;

/// Runs a case in a namespace of its own, which its threads and programs share, with a folder that
/// goes away after it.
pub(crate) fn apart(case: impl FnOnce(&Path) + Send + 'static) {
    let folder = TempDir::new().expect("folder");
    let path = folder.path().to_owned();
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).expect("private");
        install(&path);
        case(&path);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Lays a folder over /sbin, and the programs into it.
fn install(folder: &Path) {
    let over = folder.join("over");
    fs::create_dir(&over).expect("create");
    empty(&over);
    for name in ["upper", "work"] {
        fs::create_dir(over.join(name)).expect("create");
    }
    let sbin = Path::new("/sbin").canonicalize().expect("/sbin");
    let options =
        format!("lowerdir={0},upperdir={1}/upper,workdir={1}/work", sbin.display(), over.display());
    mount(Some("overlay"), &sbin, Some("overlay"), MsFlags::empty(), Some(&*options))
        .expect("overlay");
    for (name, path) in PROGRAMS {
        let place = Path::new("/sbin").join(name);
        // Of an installed suite it takes the place.
        let _ = fs::remove_file(&place);
        symlink(path, place).expect("link");
    }
}

/// Lays an empty folder over one of the namespace's.
pub(crate) fn empty(place: &Path) {
    let none = None::<&str>;
    mount(Some("none"), place, Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
}

/// Puts a program at a path of the namespace's /sbin.
pub(crate) fn stand_in(name: &str, script: &str) {
    let path = Path::new("/sbin").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
}
