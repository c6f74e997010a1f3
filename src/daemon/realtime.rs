//! What keeps a heartbeat on time whatever else the machine does.
//!
//! Locked memory, so that no tick waits for a page; a scheduling class before that of ordinary
//! processes, for the processor and for the disk; and no being chosen when memory runs out. Each is
//! done where it is allowed, and one line tells of each that is not.

use std::fs;
use std::hint::black_box;

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};

use crate::device::kernel;

/// Bytes of its stack that a thread touches beforehand: more than a tick uses.
const STACK_TOUCHED: usize = 20 * 1024;
/// Bit of CAP_IPC_LOCK in a set of capabilities.
const CAP_IPC_LOCK: u32 = 14;
/// The file with which a process asks to be spared when memory runs out, and its strongest plea.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const SPARED: &str = "-1000";

/// How much this process is spared when memory runs out; what it starts inherits that.
#[derive(Debug)]
pub(super) struct Spared {
    before: Option<String>,
    asked: Option<String>,
}

impl Spared {
    /// As it is now, before real time is prepared.
    pub(super) fn now() -> Self {
        Spared { before: fs::read_to_string(OOM_SCORE).ok(), asked: None }
    }

    /// Back to what it was, for the sake of a process that is about to be started.
    pub(super) fn give_up(&mut self) {
        self.asked = fs::read_to_string(OOM_SCORE).ok();
        if let Some(before) = &self.before {
            // Where this is refused, so was the plea.
            let _ = fs::write(OOM_SCORE, before.trim());
        }
    }

    /// And again as asked.
    pub(super) fn ask(&mut self) {
        if let Some(asked) = self.asked.take() {
            let _ = fs::write(OOM_SCORE, asked.trim());
        }
    }
}

/// Whether this process runs in real time.
#[derive(Clone, Copy, Debug)]
pub struct Realtime {
    wanted: bool,
}

impl Realtime {
    /// Real time if `wanted`; nothing happens yet.
    pub fn new(wanted: bool) -> Self {
        Realtime { wanted }
    }

    /// Whether it is wanted.
    pub fn is_wanted(self) -> bool {
        self.wanted
    }

    /// Sets up the process; called before there are other threads, and after every program that is
    /// to be started beforehand. Gives a line for each thing that is not permitted.
    pub fn prepare(self) -> Vec<String> {
        if !self.wanted {
            return Vec::new();
        }
        kernel::one_arena();
        let late = "heartbeats may be late under load";
        let ended = "it may be ended then";
        let steps = [
            ("lock its memory (CAP_IPC_LOCK)", lock_memory(), late),
            ("be spared when memory runs out (CAP_SYS_RESOURCE)", spare(), ended),
            ("run in real time (CAP_SYS_NICE)", kernel::round_robin(), late),
            ("get real-time disk access (CAP_SYS_ADMIN)", kernel::realtime_io(), late),
        ];
        let line = |(what, result, so): (&str, nix::Result<()>, &str)| {
            let why = result.err()?.desc();
            Some(format!("may not {what}: {why}; {so}"))
        };
        steps.into_iter().filter_map(line).collect()
    }

    /// Sets up the calling thread.
    pub fn enter(self) {
        if self.wanted {
            touch_stack();
            // What was refused to the process was told then.
            let _ = kernel::round_robin();
            let _ = kernel::realtime_io();
        }
    }
}

/// Locks what there is, and from now on every page once it is used.
fn lock_memory() -> nix::Result<()> {
    touch_stack();
    if !may_lock() {
        // Within a limit, later threads could get no stacks.
        return Err(Errno::EPERM);
    }
    mlockall(MlockAllFlags::MCL_CURRENT)?;
    mlockall(MlockAllFlags::MCL_FUTURE | kernel::lock_on_fault())
}

fn may_lock() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1)
}

fn spare() -> nix::Result<()> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    fs::write(OOM_SCORE, SPARED).map_err(errno)
}

#[inline(never)]
fn touch_stack() {
    black_box(&mut [0u8; STACK_TOUCHED]);
}
