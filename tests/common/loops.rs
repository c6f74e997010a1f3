//! Loop devices and mounts that go away with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use tempfile::TempDir;

use super::program::{run, tool};

/// A loop device with direct I/O: one path to the disk that an image file plays. Two over one file
/// are two paths, with page caches of their own.
pub(crate) struct Loop {
    path: PathBuf,
    bound: AtomicBool,
}

impl Loop {
    /// Binds a free loop device to `image`; `options` are losetup's.
    pub(crate) fn with(image: &Path, options: &[&str]) -> Self {
        let image = image.to_str().expect("UTF-8");
        // Between finding a free one and binding it somebody else may be quicker.
        for _ in 0..50 {
            let arguments = [&["--find", "--show", "--direct-io=on"], options, &[image]].concat();
            let ended = run("losetup", &arguments);
            if ended.code == 0 {
                let path = ended.out.trim().into();
                return Loop { path, bound: true.into() };
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("no loop device for {image}");
    }

    pub(crate) fn new(image: &Path) -> Self {
        Self::with(image, &[])
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text, for command lines.
    pub(crate) fn name(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// The kernel's name for it, as it is written into MMP blocks.
    pub(crate) fn kernel_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("UTF-8")
    }

    /// Gives the device back, once: right after it may be another test's.
    pub(crate) fn detach(&self) {
        if self.bound.swap(false, Ordering::SeqCst) {
            run("losetup", &["--detach", self.name()]);
        }
    }

    /// Takes over the present size of the file below.
    pub(crate) fn resize(&self) {
        tool("losetup", &["--set-capacity", self.name()]);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.detach();
    }
}

/// A file system mounted by the kernel.
pub(crate) struct Mount {
    dir: TempDir,
}

impl Mount {
    /// Mounts by the system call itself: mount(8) would look at the device first.
    pub(crate) fn new(device: &Path) -> Result<Self, Errno> {
        Self::of("ext4", device)
    }

    /// The same for another file system.
    pub(crate) fn of(fstype: &str, device: &Path) -> Result<Self, Errno> {
        let dir = TempDir::new().expect("folder");
        let flags = MsFlags::MS_NOATIME;
        mount(Some(device), dir.path(), Some(fstype), flags, None::<&str>)?;
        Ok(Mount { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..100 {
            if umount(self.dir.path()) != Err(Errno::EBUSY) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}
