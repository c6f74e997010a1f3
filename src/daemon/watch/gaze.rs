//! The thread that looks at one device, when told to.
//!
//! A device is opened for each look and closed after it. Held open, even for reading, it could not
//! be deactivated, detached or removed; and what a path means may change.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use nix::errno::Errno;

use crate::daemon::clock::{Sleeper, Woken, now};
use crate::daemon::drive::{fault, read};
use crate::device::{DeviceError, MmpDevice, Reader, device_number, kernel_name};
use crate::layout::Superblock;
use crate::protocol::{Instant, IoFault, ReadError, ReadResult};

/// How long a superblock is relied on.
const SUPERBLOCK_AGE: Duration = Duration::from_secs(30);

/// The fault of a device that is smaller than it was, or nothing at all.
const GONE: IoFault = IoFault(Errno::ENXIO as i32);

/// What is known of a device beside its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) uuid: [u8; 16],
    pub(super) mmp_block: u64,
    pub(super) update_interval: u16,
    pub(super) label: Vec<u8>,
    /// The device's number, if it is a block device.
    pub(super) number: Option<u64>,
    /// The kernel's name for it.
    pub(super) kernel_name: String,
}

/// What the thread tells.
#[derive(Debug)]
pub(super) enum Glimpse {
    /// Told before a look, whenever the superblock was read.
    Facts(Facts),
    /// A look ended.
    Looked { submitted: Instant, result: ReadResult },
    /// There is nothing to look at: no such device, no file system, no MMP.
    Nothing(DeviceError),
}

/// Looks at the device at each time that is ordered, until told to stop, or until nobody orders any
/// more. Each order is answered with [`Glimpse::Looked`] or [`Glimpse::Nothing`].
pub(super) fn gaze(
    path: &Path,
    orders: &Receiver<Instant>,
    timer: &Sleeper,
    tell: &dyn Fn(Glimpse),
) -> io::Result<()> {
    let mut known: Option<(Superblock, Instant)> = None;
    for at in orders {
        if timer.wait(at, true)? == Woken::Stop {
            return Ok(());
        }
        let submitted = now().instant;
        let fresh = known.as_ref().is_some_and(|(_, read)| submitted.since(*read) < SUPERBLOCK_AGE);
        if !fresh && let ControlFlow::Break(glimpse) = refresh(path, &mut known, tell) {
            tell(glimpse);
            continue;
        }
        let Some((superblock, _)) = &known else { continue };
        let submitted = now().instant;
        match look(path, superblock) {
            Ok(result) => {
                if result.is_err() {
                    // MMP may be off, or elsewhere, or this be another file system now.
                    known = known.map(|(superblock, _)| (superblock, Instant(0)));
                }
                tell(Glimpse::Looked { submitted, result });
            }
            Err(error) => {
                known = None;
                tell(Glimpse::Nothing(error));
            }
        }
    }
    Ok(())
}

/// Reads the superblock anew. A device that fails keeps the one that is known.
fn refresh(
    path: &Path,
    known: &mut Option<(Superblock, Instant)>,
    tell: &dyn Fn(Glimpse),
) -> ControlFlow<Glimpse> {
    let read = Reader::open(path).and_then(|mut reader| {
        let superblock = reader.superblock()?;
        let area = *MmpDevice::with_superblock(reader, &superblock)?.area();
        Ok((superblock, area))
    });
    match read {
        Ok((superblock, area)) => {
            tell(Glimpse::Facts(Facts {
                uuid: superblock.uuid(),
                mmp_block: area.block.0,
                update_interval: area.update_interval,
                label: superblock.volume_name().0.to_owned(),
                number: device_number(path),
                kernel_name: kernel_name(path).unwrap_or_default(),
            }));
            *known = Some((superblock, now().instant));
            ControlFlow::Continue(())
        }
        Err(DeviceError::Open { source, .. } | DeviceError::Read { source, .. })
            if known.is_some() && !is_ours(&source) =>
        {
            let (submitted, result) = (now().instant, Err(ReadError::Io(fault(&source))));
            ControlFlow::Break(Glimpse::Looked { submitted, result })
        }
        // A path that leads to nothing any more: a loop device that was detached is left without size.
        Err(DeviceError::TooSmall { .. }) if known.is_some() => {
            let (submitted, result) = (now().instant, Err(ReadError::Io(GONE)));
            ControlFlow::Break(Glimpse::Looked { submitted, result })
        }
        Err(error) => {
            *known = None;
            ControlFlow::Break(Glimpse::Nothing(error))
        }
    }
}

/// What the device has to show; fails where that is not the device's fault.
fn look(path: &Path, superblock: &Superblock) -> Result<ReadResult, DeviceError> {
    let opened =
        Reader::open(path).and_then(|reader| MmpDevice::with_superblock(reader, superblock));
    match opened {
        Ok(mut device) => Ok(read(&mut device)),
        Err(DeviceError::Open { source, .. }) if !is_ours(&source) => {
            Ok(Err(ReadError::Io(fault(&source))))
        }
        Err(error @ DeviceError::Open { .. }) => Err(error),
        // Smaller than it was.
        Err(_) => Ok(Err(ReadError::Io(GONE))),
    }
}

/// Whether it is this process that has run out of something, and not the device that fails.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| ours.contains(&Errno::from_raw(code)))
}
