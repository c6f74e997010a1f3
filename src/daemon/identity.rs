//! What this machine's claims are told by: its host name, its name for the device, and a number that
//! nobody else draws.

use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::device::kernel_path;
use crate::layout::Names;

/// This machine's host name.
pub fn node_name() -> Vec<u8> {
    hostname::get().unwrap_or_default().into_vec()
}

/// The names this machine writes into the block of a device: its host name, and the device's name
/// as the kernel has it (`sdb`, `dm-3`), or an image's file name.
pub fn our_names(path: &Path) -> Names {
    let name = kernel_path(path).unwrap_or_else(|| path.to_owned());
    Names::new(&node_name(), name.file_name().unwrap_or_default().as_bytes())
}

/// A random number from the kernel.
pub fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
