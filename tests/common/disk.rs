//! A disk seen from outside, past every cache, by code that shares nothing with the suite's own.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The unit of direct I/O that every disk of the tests accepts.
const UNIT: usize = 4096;

/// A file or device open with O_DIRECT.
pub(crate) struct Disk(File);

impl Disk {
    pub(crate) fn open(path: &Path) -> Self {
        let direct = nix::libc::O_DIRECT;
        Disk(OpenOptions::new().read(true).custom_flags(direct).open(path).expect("open"))
    }

    /// The unit that contains `offset`.
    fn unit(&self, offset: u64) -> Vec<u8> {
        let mut memory = vec![0; 2 * UNIT];
        let start = memory.as_ptr().align_offset(UNIT);
        let place = offset / UNIT as u64 * UNIT as u64;
        self.0.read_exact_at(&mut memory[start..start + UNIT], place).expect("read");
        memory[start..start + UNIT].to_vec()
    }

    fn kilobyte(&self, offset: u64) -> [u8; 1024] {
        let within = usize::try_from(offset % UNIT as u64).expect("small");
        self.unit(offset)[within..within + 1024].try_into().expect("1024 bytes")
    }

    /// Where the superblock says that the MMP block begins.
    fn mmp_offset(&self) -> u64 {
        let superblock = self.kilobyte(1024);
        let number = u64::from_le_bytes(superblock[0x168..0x170].try_into().expect("8 bytes"));
        number << (10 + superblock[0x18])
    }

    /// The MMP block as it is now.
    pub(crate) fn mmp(&self) -> Mmp {
        Mmp(self.kilobyte(self.mmp_offset()))
    }
}

/// An MMP block's bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mmp(pub(crate) [u8; 1024]);

pub(crate) const CLEAN: u32 = 0xFF4D_4D50;

impl Mmp {
    pub(crate) fn sequence(&self) -> u32 {
        u32::from_le_bytes(self.0[4..8].try_into().expect("4 bytes"))
    }

    pub(crate) fn node(&self) -> String {
        self.text(0x10..0x50)
    }

    pub(crate) fn device(&self) -> String {
        self.text(0x50..0x70)
    }

    fn text(&self, field: std::ops::Range<usize>) -> String {
        let text = self.0[field].split(|byte| *byte == 0).next();
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }
}

impl std::fmt::Debug for Mmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x} by {}", self.sequence(), self.device())
    }
}

/// One content of the block, and when it appeared: after `absent`, the start of the last read that
/// did not find it, and before `present`, the end of the first that did.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) block: Mmp,
    pub(crate) absent: Instant,
    pub(crate) present: Instant,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.block.fmt(f)
    }
}

/// Watches the MMP block of a disk and notes each content.
pub(crate) struct Observer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Observer {
    pub(crate) fn start(path: &Path) -> Self {
        let disk = Disk::open(path);
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let place = disk.mmp_offset();
            let mut samples: Vec<Sample> = Vec::new();
            let mut absent = Instant::now();
            while !told.load(Ordering::SeqCst) {
                let submitted = Instant::now();
                let block = Mmp(disk.kilobyte(place));
                if samples.last().is_none_or(|last| last.block != block) {
                    samples.push(Sample { block, absent, present: Instant::now() });
                }
                absent = submitted;
                thread::sleep(Duration::from_millis(10));
            }
            samples
        });
        Observer { over, thread }
    }

    /// Everything seen.
    pub(crate) fn stop(self) -> Vec<Sample> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("observer")
    }
}
