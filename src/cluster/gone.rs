//! Whether a node is gone, as far as its devices show.
//!
//! For a fence that confirms: a node that takes itself down when it cannot keep up its heartbeat
//! (`mmpd` with fencing) is down once its blocks have stood still for the guard interval. Of a node
//! without that it shows only that its kernel does not write: a frozen file system or a paused
//! machine looks the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;

use super::Target;
use crate::daemon::{Sleeper, Stop, drive};
use crate::device::{DeviceError, MmpDevice, Reader};
use crate::protocol::{Still, Stillness};

/// What one device shows of a node.
#[derive(Debug)]
pub enum Presence {
    /// What watching the block showed.
    Watched(Stillness),
    /// The device has no MMP, or cannot be read.
    Unknown(DeviceError),
    /// The kernel refused something every process may do.
    System(std::io::Error),
}

/// Watches all devices at the same time for writes of `node`, each for its guard interval.
/// `here` is this machine's name in MMP blocks, where it is another than its host name.
pub fn watch_for(node: &OsStr, devices: &[OsString], here: Option<&OsString>) -> Vec<Presence> {
    thread::scope(|scope| {
        let watch = |device: &OsString| {
            let dir = PathBuf::new();
            let target = Target { device: device.clone(), dir, node: here.cloned() };
            scope.spawn(move || watch_one(node, &target))
        };
        let threads: Vec<_> = devices.iter().map(watch).collect();
        let lost = || Presence::System(std::io::ErrorKind::Other.into());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    })
}

fn watch_one(node: &OsStr, target: &Target) -> Presence {
    let opened = target.path().and_then(|path| Ok((MmpDevice::new(Reader::open(&path)?)?, path)));
    let (mut device, path) = match opened {
        Ok(opened) => opened,
        Err(error) => return Presence::Unknown(error),
    };
    let names = target.names(&path);
    let mut still = Still::of_node(device.area().update_interval, node.as_bytes(), names);
    let watched = Stop::new()
        .and_then(|stop| Sleeper::new(&stop))
        .and_then(|sleeper| drive(&mut still, &mut device, &sleeper, |_| {}));
    watched.map_or_else(Presence::System, Presence::Watched)
}
