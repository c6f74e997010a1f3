//! What this machine does with its devices: mounts, and the kernel's own writers of MMP blocks.
//!
//! Asks only the kernel's tables, so that no device can delay it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::sysfs::{device_number, kernel_name};
use super::users::{MountPoint, all_mounts};

/// The kernel's symbols in which a thread waits that must not write to a frozen file system.
const FREEZE: [&str; 3] = ["percpu_rwsem_wait", "percpu_down_read", "sb_start_write"];
/// A thread's name as older kernels tell it ends here.
const COMM_LEN: usize = 15;

/// What the kernel thread does that writes a mounted file system's MMP block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelWriter {
    /// It cannot be seen: another process namespace, or no right to look.
    Unseen,
    /// There is none.
    Absent,
    /// It sleeps or writes.
    Running,
    /// It waits for the file system to be thawed.
    Frozen,
}

/// A look at the whole machine.
#[derive(Clone, Debug, Default)]
pub struct LocalView {
    mounts: Vec<(u64, MountPoint)>,
    /// The name of each `kmmpd-DEVICE` thread, and whether it was seen to do anything.
    writers: Vec<(String, KernelWriter)>,
    /// Whether kernel threads can be seen at all.
    sees_threads: bool,
}

impl LocalView {
    /// Looks now.
    pub fn take() -> io::Result<Self> {
        let mounts = all_mounts()?;
        let sees_threads =
            fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm.trim_end() == "kthreadd");
        let processes = fs::read_dir("/proc")?.flatten();
        let writers = processes.filter_map(|entry| writer(&entry.path())).collect();
        Ok(LocalView { mounts, writers, sees_threads })
    }

    /// The mounts, in this mount namespace, of the block device with this number.
    pub fn mounts(&self, number: u64) -> impl Iterator<Item = &MountPoint> {
        self.mounts.iter().filter(move |(device, _)| *device == number).map(|(_, mount)| mount)
    }

    /// What the kernel's writer for a device does, by the kernel's name for it, such as `dm-3`.
    pub fn writer(&self, kernel_name: &str) -> KernelWriter {
        let name = format!("kmmpd-{kernel_name}");
        let is_it = |comm: &str| comm == name || (comm.len() == COMM_LEN && name.starts_with(comm));
        let found = self.writers.iter().find(|(comm, _)| is_it(comm));
        match found {
            Some((_, state)) => *state,
            None if self.sees_threads => KernelWriter::Absent,
            None => KernelWriter::Unseen,
        }
    }
}

/// The thread of that folder of `/proc`, if it is one that writes MMP blocks.
fn writer(process: &Path) -> Option<(String, KernelWriter)> {
    let name = process.file_name()?.to_str()?;
    name.parse::<u32>().ok()?;
    let comm = fs::read_to_string(process.join("comm")).ok()?;
    let comm = comm.trim_end();
    if !comm.starts_with("kmmpd-") {
        return None;
    }
    // A process may call itself what it likes; only a kernel thread has no memory, and so no
    // program.
    if fs::read_link(process.join("exe")).is_ok() {
        return None;
    }
    let waits_in = fs::read_to_string(process.join("wchan")).unwrap_or_default();
    Some((comm.to_owned(), state(&waits_in)))
}

fn state(waits_in: &str) -> KernelWriter {
    match waits_in {
        "" | "0" => KernelWriter::Unseen,
        symbol if FREEZE.iter().any(|freeze| symbol.contains(freeze)) => KernelWriter::Frozen,
        _ => KernelWriter::Running,
    }
}

/// The block devices among `devices` that are mounted here, or that the kernel writes for.
pub fn mounted_among(devices: Vec<PathBuf>, view: &LocalView) -> Vec<PathBuf> {
    let is_mounted = |path: &PathBuf| {
        let by_number = device_number(path).is_some_and(|n| view.mounts(n).next().is_some());
        let name = kernel_name(path);
        let writer = name.map_or(KernelWriter::Absent, |name| view.writer(&name));
        by_number || matches!(writer, KernelWriter::Running | KernelWriter::Frozen)
    };
    devices.into_iter().filter(is_mounted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_found_by_its_device() {
        let view = LocalView {
            writers: vec![
                ("kmmpd-dm-3".to_owned(), KernelWriter::Running),
                ("kmmpd-nvme0n1p1".to_owned(), KernelWriter::Frozen),
            ],
            sees_threads: true,
            ..LocalView::default()
        };
        assert_eq!(view.writer("dm-3"), KernelWriter::Running);
        assert_eq!(view.writer("dm-31"), KernelWriter::Absent);
        assert_eq!(view.writer("nvme0n1p12"), KernelWriter::Frozen);
        let blind = LocalView { sees_threads: false, ..view };
        assert_eq!(blind.writer("dm-31"), KernelWriter::Unseen);
    }

    #[test]
    fn where_it_waits_tells_what_it_does() {
        assert_eq!(state("percpu_rwsem_wait"), KernelWriter::Frozen);
        assert_eq!(state("kmmpd"), KernelWriter::Running);
        assert_eq!(state("bit_wait_io"), KernelWriter::Running);
        assert_eq!(state("0"), KernelWriter::Unseen);
    }
}
