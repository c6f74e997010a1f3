//! Many devices watched that others hold, and one place where what is seen is judged.
//!
//! A thread a device only looks (`gaze`); a further one asks the kernel's tables for devices and
//! mounts. The sentinels run in `watcher`, where nothing waits for a device: one that hangs delays
//! no other, and is noticed.

mod gaze;
mod watcher;

pub use watcher::{Discovery, Incident, WatchedDevice, Watcher};
