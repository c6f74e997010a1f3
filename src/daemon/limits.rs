//! Limits of the process that many devices run into.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A device and its lock or its timer.
const FILES_PER_DEVICE: u64 = 2;
/// Everything else: standard streams, event and signal descriptors, a few to spare.
const FILES_BESIDE: u64 = 64;

/// Raises the limit on open files as far as `devices` need it. A limit that cannot be raised shows
/// when a device cannot be opened, with that device's name.
pub fn allow_devices(devices: usize) {
    let needed = (devices as u64).saturating_mul(FILES_PER_DEVICE).saturating_add(FILES_BESIDE);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < needed
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
    }
}
