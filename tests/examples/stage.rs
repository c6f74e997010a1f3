//! Where the documents' commands are typed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mmp::layout::Sequence;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::common::image::Image;
use crate::common::loops::Loop;
use crate::common::program::{self, Ended};

/// What stands for mount.lustre, which needs Lustre's kernel modules.
const MOUNT_LUSTRE: &str = "#!/bin/sh\nexec mount -i -t ext4 \"$1\" \"$2\"\n";

/// Runs `typed` where `/dev/mapper/ost0001` is in this state.
pub(super) fn on(state: &str, typed: impl FnOnce() + Send + 'static) {
    let state = state.to_owned();
    let thread = thread::spawn(move || {
        let folder = TempDir::new().expect("folder");
        namespace(folder.path());
        let options: &[&str] = if state == "no-mmp" { &["-O", "^mmp"] } else { &[] };
        let images = [Image::with(options, "64M"), Image::with(&[], "64M")];
        let devices = images.each_ref().map(|image| Loop::new(image.path()));
        for (number, device) in devices.iter().enumerate() {
            // A node of its own, not a link, which mount(8) would resolve.
            let name = format!("/dev/mapper/ost000{}", number + 1);
            program::tool("cp", &["-a", device.name(), &name]);
        }
        let [image, _] = &images;
        match state.as_str() {
            "clean" | "no-mmp" => typed(),
            "stale" => typed_on(image, Sequence::Active(7), typed),
            "fsck" => typed_on(image, Sequence::Fsck, typed),
            "in-use" => beside_a_holder(image, typed),
            other => panic!("no such state: {other}"),
        }
        program::run("umount", &["-q", "/mnt", "/srv/lustre/ost0001"]);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn typed_on(image: &Image, sequence: Sequence, typed: impl FnOnce()) {
    image.put(&image.block().with_sequence(sequence));
    typed();
}

/// Another node writes a heartbeat every second, below the device.
fn beside_a_holder(image: &Image, typed: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 1.. {
                image.put(&image.block().with_sequence(Sequence::Active(sequence)));
                thread::sleep(Duration::from_secs(1));
                if over.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        // The holder must stop also when the assertion fails.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(typed));
        over.store(true, Ordering::SeqCst);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A namespace in which the suite is installed and the folders of the documents are empty.
fn namespace(folder: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).expect("private");
    let over = folder.join("over");
    fs::create_dir(&over).expect("create");
    fs::create_dir_all("/dev/mapper").expect("create");
    for place in [over.as_path(), "/dev/mapper".as_ref(), "/srv".as_ref()] {
        mount(Some("none"), place, Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
    }
    for name in ["upper", "work"] {
        fs::create_dir(over.join(name)).expect("create");
    }
    let sbin = Path::new("/sbin").canonicalize().expect("/sbin");
    let options =
        format!("lowerdir={0},upperdir={1}/upper,workdir={1}/work", sbin.display(), over.display());
    mount(Some("overlay"), &sbin, Some("overlay"), MsFlags::empty(), Some(&*options))
        .expect("overlay");
    for (name, path) in program::PROGRAMS {
        symlink(path, Path::new("/sbin").join(name)).expect("link");
    }
    fs::write("/sbin/mount.lustre", MOUNT_LUSTRE).expect("write");
    fs::set_permissions("/sbin/mount.lustre", fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::create_dir_all("/srv/lustre/ost0001").expect("create");
}

/// Types into a shell; what does not end, ends with code 124.
pub(super) fn shell(script: &str) -> Ended {
    let folder = TempDir::new().expect("folder");
    let mut command = Command::new("timeout");
    command.args(["150", "sh", "-c", script]).env("LC_ALL", "C").current_dir(folder.path());
    let path = std::env::var("PATH").unwrap_or_default();
    program::ended(command.env("PATH", format!("/sbin:/usr/sbin:{path}")))
}
