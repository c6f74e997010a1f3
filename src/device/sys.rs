//! The kernel calls that no library wraps safely. The only module with `unsafe` in it.
#![expect(
    unsafe_code,
    reason = "these calls have no safe form; everything else of the crate is safe"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::sys::mman::MlockAllFlags;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    rest: [u64; 22],
}

const LO_FLAGS_AUTOCLEAR: u32 = 4;

impl LoopInfo64 {
    const EMPTY: Self = LoopInfo64 {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        rest: [0; 22],
    };
}

mod raw {
    use super::{LoopInfo64, c_int};

    nix::ioctl_read_bad!(blksszget, 0x1268, c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_none_bad!(blkflsbuf, 0x1261);
    nix::ioctl_read_bad!(loop_get_status64, 0x4C05, LoopInfo64);
    nix::ioctl_write_ptr_bad!(loop_set_status64, 0x4C04, LoopInfo64);
    nix::ioctl_write_int_bad!(loop_set_fd, 0x4C00);
    nix::ioctl_none_bad!(loop_clr_fd, 0x4C01);
    nix::ioctl_write_int_bad!(loop_set_direct_io, 0x4C08);
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
    nix::ioctl_readwrite!(watchdog_set_timeout, b'W', 6, c_int);
}

/// The logical sector size of a block device in bytes (`BLKSSZGET`).
pub(super) fn sector_size(device: BorrowedFd<'_>) -> nix::Result<usize> {
    let mut size: c_int = 0;
    // SAFETY: BLKSSZGET writes one int to the pointer, which points to a live int.
    unsafe { raw::blksszget(device.as_raw_fd(), &raw mut size) }?;
    Ok(usize::try_from(size).unwrap_or(0))
}

/// The size of a block device in bytes (`BLKGETSIZE64`).
pub(super) fn device_size(device: BorrowedFd<'_>) -> nix::Result<u64> {
    let mut size = 0u64;
    // SAFETY: BLKGETSIZE64 writes one u64 to the pointer, which points to a live u64; the macro's
    // `usize` only gives the request number the size that the kernel's header has.
    unsafe { raw::blkgetsize64(device.as_raw_fd(), (&raw mut size).cast()) }?;
    Ok(size)
}

/// Which file, by device and inode number, a loop device is bound to (`LOOP_GET_STATUS64`);
/// `ENXIO` where it is bound to none.
pub(super) fn loop_backing(device: BorrowedFd<'_>) -> nix::Result<(u64, u64)> {
    let mut info = LoopInfo64::EMPTY;
    // SAFETY: LOOP_GET_STATUS64 writes one struct loop_info64, 232 bytes; `LoopInfo64` has that
    // size (asserted below) and accepts any bit pattern.
    unsafe { raw::loop_get_status64(device.as_raw_fd(), &raw mut info) }?;
    Ok((info.device, info.inode))
}

/// Drops what the page cache holds of a block device (`BLKFLSBUF`), except pages somebody maps.
pub(super) fn drop_pages(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    unsafe { raw::blkflsbuf(device.as_raw_fd()) }.map(drop)
}

/// The number of a loop device that is bound to nothing (`LOOP_CTL_GET_FREE` on
/// `/dev/loop-control`).
pub(super) fn free_loop(control: BorrowedFd<'_>) -> nix::Result<c_int> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    unsafe { raw::loop_ctl_get_free(control.as_raw_fd()) }
}

/// Binds a loop device to a file, to be unbound when its last user closes it. `offset` and
/// `size_limit` in bytes; a limit of 0 is none.
pub(super) fn bind_loop(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    size_limit: u64,
) -> nix::Result<()> {
    let device = device.as_raw_fd();
    let info = LoopInfo64 { offset, size_limit, flags: LO_FLAGS_AUTOCLEAR, ..LoopInfo64::EMPTY };
    // SAFETY: LOOP_SET_FD takes a descriptor by value; the kernel checks that it is one.
    unsafe { raw::loop_set_fd(device, file.as_raw_fd()) }?;
    // SAFETY: LOOP_SET_STATUS64 reads one struct loop_info64 from the pointer, which points to one.
    if let Err(errno) = unsafe { raw::loop_set_status64(device, &raw const info) } {
        // SAFETY: LOOP_CLR_FD takes no argument.
        let _ = unsafe { raw::loop_clr_fd(device) };
        return Err(errno);
    }
    // A file system that cannot do O_DIRECT is read and written through its page cache.
    // SAFETY: LOOP_SET_DIRECT_IO takes a flag by value.
    let _ = unsafe { raw::loop_set_direct_io(device, 1) };
    Ok(())
}

/// Priority within `SCHED_RR`: before every ordinary process, behind the kernel's own threads.
const PRIORITY: c_int = 10;
/// `IOPRIO_WHO_PROCESS`; with the number 0, the calling thread.
const IOPRIO_WHO_PROCESS: c_int = 1;
/// Class `IOPRIO_CLASS_RT`, level 4 of 0 to 7.
const IOPRIO_REALTIME: c_int = 1 << 13 | 4;

/// Undoes what a parent may have set for signals and no program expects: ended children are to be
/// waited for, and a file that may not grow further (`ulimit -f`) is to be an error of the write.
pub fn expected_signals() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for (number, handler) in
        [(Signal::SIGCHLD, SigHandler::SigDfl), (Signal::SIGXFSZ, SigHandler::SigIgn)]
    {
        // SAFETY: no handler is a function, so none can run where it must not. It fails for no
        // valid signal but SIGKILL and SIGSTOP.
        let _ = unsafe { signal(number, handler) };
    }
}

/// Puts the calling thread into `SCHED_RR`. What it forks or starts is an ordinary process again.
/// The system call itself, for musl has a function of that name that always fails.
pub fn round_robin() -> nix::Result<()> {
    let (policy, priority) = (libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, PRIORITY);
    // SAFETY: the kernel reads its `struct sched_param`, one int, from the pointer to a live int.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    Errno::result(result).map(drop)
}

/// Has the calling thread's disk accesses served first, where the disk's scheduler knows classes.
pub fn realtime_io() -> nix::Result<()> {
    // SAFETY: ioprio_set takes three integers.
    let result =
        unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_REALTIME) };
    Errno::result(result).map(drop)
}

/// Has all threads allocate from one arena, for the sake of memory. Where the C library has no
/// such setting, nothing happens.
pub fn one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// `MCL_ONFAULT` of mlockall(2): pages are locked when they are first used.
pub fn lock_on_fault() -> MlockAllFlags {
    MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT)
}

/// Sets after how many seconds without food a watchdog resets the machine
/// (`WDIOC_SETTIMEOUT`); returns what the watchdog made of it.
pub fn set_watchdog_timeout(watchdog: BorrowedFd<'_>, seconds: c_int) -> nix::Result<c_int> {
    let mut timeout = seconds;
    // SAFETY: WDIOC_SETTIMEOUT reads and writes one int at the pointer, which points to a live int.
    unsafe { raw::watchdog_set_timeout(watchdog.as_raw_fd(), &raw mut timeout) }?;
    Ok(timeout)
}

/// Takes over a descriptor that this process was started with; closed on exec from here on. To be
/// called once, before anything else could own it.
pub fn inherited(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer, and fails on a number that is no open descriptor.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open, as just seen, and nobody else has it: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && size_of::<c_ulong>() == size_of::<usize>());
