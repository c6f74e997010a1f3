//! The kernel calls that no library wraps safely. The only module with `unsafe` in it.
#![expect(unsafe_code, reason = "ioctl(2) has no safe form; everything else of the crate is safe")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc::{c_int, c_ulong};

/// `struct loop_info64` of `linux/loop.h`, as far as its size matters and its first fields are used.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rest: [u64; 27],
}

mod raw {
    use super::{LoopInfo64, c_int};

    nix::ioctl_read_bad!(blksszget, 0x1268, c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_read_bad!(loop_get_status64, 0x4C05, LoopInfo64);
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
    let mut info = LoopInfo64 { device: 0, inode: 0, rest: [0; 27] };
    // SAFETY: LOOP_GET_STATUS64 writes one struct loop_info64, 232 bytes; `LoopInfo64` has that
    // size (asserted below) and accepts any bit pattern.
    unsafe { raw::loop_get_status64(device.as_raw_fd(), &raw mut info) }?;
    Ok((info.device, info.inode))
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && size_of::<c_ulong>() == size_of::<usize>());
