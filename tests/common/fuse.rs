//! A disk that stops answering: an image behind a FUSE file system of one file, served from here.
//!
//! The protocol is `linux/fuse.h`; only what a loop device on the file needs is served.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use nix::libc::{EIO, ENOSYS};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// What the disk does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Serves it.
    Well,
    /// Keeps whoever asks waiting until it is well again.
    Hung,
    /// Fails every read and write.
    Failing,
}

/// Everything but `Drop` may be used while the disk hangs.
pub(crate) struct Fuse {
    dir: TempDir,
    mood: Arc<(Mutex<Mood>, Condvar)>,
    server: Option<JoinHandle<()>>,
}

const FILE: &str = "disk.img";
const ROOT: u64 = 1;
const NODE: u64 = 2;
const MAX_WRITE: u32 = 128 * 1024;

impl Fuse {
    /// Shows `image` as a file of its own. Needs root.
    pub(crate) fn over(image: &Path) -> Self {
        let image = OpenOptions::new().read(true).write(true).open(image).expect("image");
        let dir = TempDir::new().expect("folder");
        let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("fuse");
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(Some("disk"), dir.path(), Some("fuse"), flags, Some(options.as_str()))
            .expect("mount");
        let mood = Arc::new((Mutex::new(Mood::Well), Condvar::new()));
        let mut server = Server { fuse, image, mood: Arc::clone(&mood) };
        let server = Some(thread::spawn(move || while server.serve().is_some() {}));
        Fuse { dir, mood, server }
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }

    /// From here on the disk does this, also with requests that wait.
    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.0.lock().expect("lock") = mood;
        self.mood.1.notify_all();
    }
}

impl Drop for Fuse {
    /// Whoever still waits for the disk gets an error.
    fn drop(&mut self) {
        self.set(Mood::Failing);
        let _ = umount2(self.dir.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

struct Server {
    fuse: File,
    image: File,
    mood: Arc<(Mutex<Mood>, Condvar)>,
}

/// A struct's fields one after the other, as the kernel lays them out.
macro_rules! bytes {
    ($($field:expr),* $(,)?) => {{
        let mut out: Vec<u8> = Vec::new();
        $(out.extend_from_slice(&$field.to_ne_bytes());)*
        out
    }};
}

fn u32_at(raw: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(raw[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(raw: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(raw[at..at + 8].try_into().expect("8 bytes"))
}

impl Server {
    /// One request; `None` once the file system is gone.
    fn serve(&mut self) -> Option<()> {
        let mut request = vec![0; MAX_WRITE as usize + 8192];
        let len = self.fuse.read(&mut request).ok()?;
        let (header, body) = request[..len].split_at(40);
        let (opcode, unique, node) = (u32_at(header, 4), u64_at(header, 8), u64_at(header, 16));
        let answer = match opcode {
            // FORGET, INTERRUPT, BATCH_FORGET: nobody waits for an answer.
            2 | 36 | 42 => return Some(()),
            // Those of the disk itself: READ, WRITE, FSYNC.
            15 | 16 | 20 => match self.wait_until_not_hung() {
                Mood::Failing => Err(EIO),
                _ => self.disk(opcode, body),
            },
            // LOOKUP
            1 => {
                let mut entry = bytes![NODE, 0u64, 0u64, 0u64, 0u32, 0u32];
                entry.extend(self.attributes(NODE));
                Ok(entry)
            }
            // GETATTR, SETATTR
            3 | 4 => {
                let mut out = bytes![0u64, 0u32, 0u32];
                out.extend(self.attributes(node));
                Ok(out)
            }
            // OPEN, OPENDIR: past the page cache.
            14 | 27 => Ok(bytes![0u64, 1u32, 0u32]),
            // RELEASE, FLUSH, RELEASEDIR
            18 | 25 | 29 => Ok(Vec::new()),
            // INIT: version 7.31
            26 => Ok([
                bytes![7u32, 31u32, 0u32, 0u32, 16u16, 12u16, MAX_WRITE, 1u32, 32u16, 0u16],
                vec![0; 32],
            ]
            .concat()),
            _ => Err(ENOSYS),
        };
        let (error, data) = match answer {
            Ok(data) => (0, data),
            Err(error) => (-error, Vec::new()),
        };
        let len = u32::try_from(16 + data.len()).expect("small");
        // Who was interrupted no longer waits.
        let _ = self.fuse.write(&[bytes![len, error, unique], data].concat());
        Some(())
    }

    fn wait_until_not_hung(&self) -> Mood {
        let (mood, changed) = &*self.mood;
        let mood = mood.lock().expect("lock");
        *changed.wait_while(mood, |mood| *mood == Mood::Hung).expect("lock")
    }

    fn disk(&self, opcode: u32, body: &[u8]) -> Result<Vec<u8>, i32> {
        let code = |error: std::io::Error| error.raw_os_error().unwrap_or(EIO);
        if opcode == 20 {
            self.image.sync_data().map_err(code)?;
            return Ok(Vec::new());
        }
        let (offset, size) = (u64_at(body, 8), u32_at(body, 16));
        if opcode == 15 {
            let mut data = vec![0; size as usize];
            let len = self.image.read_at(&mut data, offset).map_err(code)?;
            data.truncate(len);
            return Ok(data);
        }
        self.image.write_all_at(&body[40..40 + size as usize], offset).map_err(code)?;
        Ok(bytes![size, 0u32])
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let size = self.image.metadata().expect("image").len();
        let (size, mode) = if node == ROOT { (0, 0o040_700u32) } else { (size, 0o100_600) };
        let links = 1u32;
        bytes![
            node,
            size,
            size / 512,
            0u64,
            0u64,
            0u64,
            0u32,
            0u32,
            0u32,
            mode,
            links,
            0u32,
            0u32,
            0u32,
            4096u32,
            0u32
        ]
    }
}
