//! The one room that touches a device.
//!
//! Everything goes past the page cache (O_DIRECT), because a cached page shows what the disk was
//! like before the other server wrote it. A [`Reader`] cannot write; a [`Writer`] has the device to
//! itself on this machine. What the bytes mean is not this room's business, beyond finding the
//! superblock and the MMP block.

mod buffer;
mod direct;
mod discover;
mod error;
mod local;
mod loopdev;
mod mmp;
mod name;
mod sys;
mod sysfs;
mod users;
mod writer;

pub use direct::{Kind, Reader};
pub use discover::{block_devices, filesystem};
pub use error::{DeviceError, Plain, shown};
pub use local::{KernelWriter, LocalView, mounted_among};
pub use loopdev::LoopDevice;
pub use mmp::MmpDevice;
pub use name::{format_uuid, resolve};
pub use sysfs::{device_number, image_behind, is_read_only, kernel_name, kernel_path};
pub use users::{MountPoint, mounted_on, mounts_of};
pub use writer::Writer;

/// Calls of the kernel and of the C library that have nothing to do with devices, but are here
/// because only this room has a module for what is unsafe.
pub mod kernel {
    pub use super::sys::{
        expected_signals, inherited, lock_on_fault, one_arena, realtime_io, round_robin,
        set_watchdog_timeout,
    };
}
