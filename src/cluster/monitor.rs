//! How a mounted target does.

use std::time::Duration;

use super::{LEAVE, Target};
use crate::daemon::{Sleeper, Stop, drive};
use crate::device::{DeviceError, MmpDevice, Reader};
use crate::protocol::{Beat, Pulse, PulseRequest, PulseWatch};

/// How a target does.
#[derive(Debug)]
pub enum Health {
    /// It is not mounted on its directory.
    NotMounted,
    /// It is mounted and has no heartbeat, as is right for a read-only mount.
    ReadOnly,
    /// The kernel has made it read-only by itself: it met an error.
    BecameReadOnly,
    /// It is mounted, and this is what its heartbeat looks like.
    Mounted(Pulse),
    /// It is mounted without MMP.
    Unprotected,
}

/// Looks at a target: is it mounted, does its heartbeat advance, and is it this machine's? That
/// takes up to the update interval, and not longer than `timeout`. What has not
/// come since `last`, as the monitor before told it, is not waited for again.
pub fn monitor(
    target: &Target,
    timeout: Option<Duration>,
    last: Option<Beat>,
) -> Result<Health, MonitorError> {
    let Some(mount) = target.mounted()? else {
        return Ok(Health::NotMounted);
    };
    if mount.read_only {
        return Ok(if mount.emergency { Health::BecameReadOnly } else { Health::ReadOnly });
    }
    let path = target.path()?;
    let mut device = match MmpDevice::new(Reader::open(&path)?) {
        Err(error) if error.is_no_mmp() => return Ok(Health::Unprotected),
        device => device?,
    };
    let names = target.names(&path);
    let patience = timeout.map(|timeout| timeout.saturating_sub(LEAVE));
    let update_interval = device.area().update_interval;
    let mut watch = PulseWatch::new(PulseRequest { update_interval, names, patience, last });
    let sleeper = Sleeper::new(&Stop::new()?)?;
    Ok(Health::Mounted(drive(&mut watch, &mut device, &sleeper, |_| {})?))
}

/// Why a target could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The device cannot be read.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The kernel does not tell what is mounted, or refused a timer.
    #[error("{}", crate::device::Plain(.0))]
    System(#[from] std::io::Error),
}
