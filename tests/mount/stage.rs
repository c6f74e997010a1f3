//! A disk with two paths to it, in a mount namespace of its own for each case.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::image::Image;
use crate::common::loops::Loop;
use crate::common::namespace;
use crate::common::program::{Ended, ended, run, tool};

/// A disk with two paths to it, and places to mount it at.
pub(crate) struct Stage {
    pub(crate) image: Image,
    pub(crate) a: Loop,
    pub(crate) b: Loop,
    folder: PathBuf,
}

/// Runs a case in a namespace of its own, which its threads and programs share.
pub(crate) fn staged(case: impl FnOnce(&Stage) + Send + 'static) {
    staged_on(|| Image::with(&[], "64M"), &[], case);
}

/// The same with an image and options of losetup.
pub(crate) fn staged_on(
    image: fn() -> Image,
    loop_options: &'static [&'static str],
    case: impl FnOnce(&Stage) + Send + 'static,
) {
    namespace::apart(move |folder| {
        let image = image();
        let a = Loop::with(image.path(), loop_options);
        let b = Loop::with(image.path(), loop_options);
        let stage = Stage { image, a, b, folder: folder.to_owned() };
        for name in ["a", "b"] {
            fs::create_dir(stage.dir(name)).expect("create");
        }
        case(&stage);
        for name in ["a", "b"] {
            run("umount", &["-q".as_ref(), stage.dir(name).as_os_str()]);
        }
    });
}

impl Stage {
    /// A folder to mount at, `a` or `b`, or any file beside them.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The arguments that mount `device` at `at`, by type and options.
    pub(crate) fn arguments(&self, device: &Loop, at: &str, options: &str) -> Vec<String> {
        self.arguments_for("mmp.ext4", device.name(), at, options)
    }

    pub(crate) fn arguments_for(
        &self,
        fstype: &str,
        spec: &str,
        at: &str,
        options: &str,
    ) -> Vec<String> {
        let at = self.dir(at).to_str().expect("UTF-8").to_owned();
        let options = if options.is_empty() { "rw" } else { options };
        ["-t", fstype, "-o", options, spec, &at].map(str::to_owned).into()
    }

    /// mount(8) with `-t mmp.ext4`, to its end.
    pub(crate) fn mount(&self, device: &Loop, at: &str, options: &str) -> Ended {
        run("mount", &self.arguments(device, at, options))
    }

    /// mount(8) with `-t ext4`.
    pub(crate) fn plain(&self, device: &Loop, at: &str) -> Ended {
        run("mount", &self.arguments_for("ext4", device.name(), at, ""))
    }

    /// The helper itself.
    pub(crate) fn helper(&self, arguments: &[&str]) -> Ended {
        ended(Command::new("/sbin/mount.mmp").args(arguments).env("LC_ALL", "C"))
    }

    pub(crate) fn umount(&self, at: &str) {
        tool("umount", &[self.dir(at)]);
    }

    /// The type of what is mounted there; empty where nothing is.
    pub(crate) fn mounted(&self, at: &str) -> String {
        let dir = self.dir(at);
        let arguments = ["-n", "-o", "FSTYPE", "--mountpoint"].map(std::ffi::OsStr::new);
        run("findmnt", &[&arguments[..], &[dir.as_os_str()]].concat()).out.trim().to_owned()
    }

    /// The guard interval of the disk as it is: a kernel leaves a check interval of 5 to 10 s
    /// behind, by how long ago it wrote when it was unmounted.
    pub(crate) fn guard_interval(&self) -> Duration {
        let interval = self.image.block().check_interval().max(5);
        Duration::from_secs(2 * u64::from(interval) + 1)
    }

    pub(crate) fn set_sequence(&self, value: &str) {
        let request = format!("set_mmp_value seq {value}");
        tool("debugfs", &["-w", "-c", "-R", &request, self.a.name()]);
    }
}
