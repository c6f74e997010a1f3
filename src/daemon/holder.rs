//! The thread that claims and holds one device.

use std::convert::Infallible;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{Alarm, Stop, now};
use super::drive::drive;
use crate::device::{DeviceError, MmpDevice, Writer, kernel_path, shown};
use crate::layout::{BlockNumber, MmpBlock, Names};
use crate::protocol::{
    Claim, ClaimOutcome, ClaimRequest, Claimed, Hold, HoldOutcome, HoldRequest, Instant, Loss,
    Machine, Notice, POLL, ReadError, Refusal,
};
use crate::report::{Narrator, ProgressLine, describe_found, describe_loss, describe_refusal};

/// How to hold.
#[derive(Clone, Copy, Debug)]
pub struct HolderOptions {
    /// How often to rewrite the block.
    pub interval: Duration,
    /// How long to wait for a device that is in use.
    pub wait: Duration,
}

/// How a holder ended.
#[derive(Debug)]
pub enum Ending {
    /// The device cannot be used.
    Device(DeviceError),
    /// The claim was refused.
    Refused {
        /// Why.
        why: Refusal,
        /// The MMP block's number; 0 where it was not yet known.
        mmp_block: BlockNumber,
        /// Whether our own claim may still stand in the block.
        left_behind: bool,
    },
    /// Released: the block is clean.
    Released,
    /// Held to the end, but the block could not be left clean.
    NotReleased(ReadError),
    /// No longer the holder.
    Lost(Loss),
    /// Declared lost by the supervisor while the device did not answer; it has answered now.
    Revoked {
        /// What stands in the block now, where it could be read and is not ours.
        found: Option<MmpBlock>,
    },
    /// The kernel refused a timer.
    Clock(std::io::Error),
}

impl Ending {
    /// How it ended, in a sentence.
    pub fn describe(&self, path: &Path) -> String {
        let device = shown(path);
        match self {
            Ending::Device(error) => error.to_string(),
            Ending::Refused { why, mmp_block, left_behind } => {
                let mut text = describe_refusal(path, *mmp_block, why);
                if *left_behind {
                    text += "; our own claim may be left in the MMP block: it is stale after the \
                             guard interval";
                }
                text
            }
            Ending::Released => format!("{device}: released, MMP is clean"),
            Ending::NotReleased(error) => format!(
                "{device}: not left clean: {error}; the next mount waits two guard intervals",
            ),
            Ending::Lost(loss) => describe_loss(path, loss),
            Ending::Revoked { found } => format!(
                "{device}: lost: it answered again after its lease had run out; {}",
                describe_found(found.as_ref()),
            ),
            Ending::Clock(error) => format!("{device}: the kernel refused a timer: {error}"),
        }
    }
}

/// What a holder tells its supervisor.
#[derive(Debug)]
pub enum News {
    /// Waits for something: a sentence for the log.
    Waiting(String),
    /// The device is ours; the first heartbeat is on the disk.
    Held,
    /// Something was seen and dealt with.
    Notice(Notice),
    /// The thread is done with the device.
    Ended(Ending),
}

/// The end of a device's lease, shared between its thread, which extends it, and the supervisor,
/// which revokes it when its time has come. Whoever changes it first wins, so that a device is
/// never both extended and declared lost.
#[derive(Debug, Default)]
pub(super) struct Lease(AtomicU64);

impl Lease {
    const NONE: u64 = 0;
    const REVOKED: u64 = u64::MAX;

    /// The end of the lease while there is one.
    pub(super) fn end(&self) -> Option<Instant> {
        match self.0.load(Ordering::SeqCst) {
            Self::NONE | Self::REVOKED => None,
            end => Some(Instant(end)),
        }
    }

    /// Sets a new end; false if the lease was revoked.
    fn set(&self, end: u64) -> bool {
        let change = |old| (old != Self::REVOKED).then_some(end);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
    }

    /// Revokes a lease that still ends at `end`; false if it was extended meanwhile.
    pub(super) fn revoke(&self, end: Instant) -> bool {
        let (old, new) = (end.0, Self::REVOKED);
        self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Claims a device, holds it until told to stop, and reports.
pub(super) fn hold(
    path: &Path,
    options: HolderOptions,
    stop: &Stop,
    lease: &Lease,
    line: ProgressLine,
    tell: &dyn Fn(News),
) -> Ending {
    match claim_and_hold(path, options, stop, lease, line, tell) {
        Ok(ending) => ending,
        Err(Trouble::Device(error)) => Ending::Device(error),
        Err(Trouble::Clock(error)) => Ending::Clock(error),
    }
}

enum Trouble {
    Device(DeviceError),
    Clock(std::io::Error),
}

impl From<DeviceError> for Trouble {
    fn from(error: DeviceError) -> Self {
        Trouble::Device(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Clock(error)
    }
}

fn claim_and_hold(
    path: &Path,
    options: HolderOptions,
    stop: &Stop,
    lease: &Lease,
    line: ProgressLine,
    tell: &dyn Fn(News),
) -> Result<Ending, Trouble> {
    let patience = now().instant + options.wait;
    let alarm = Alarm::new(stop)?;
    let Some(mut device) = open(path, patience, &alarm, stop, tell)? else {
        return Ok(Ending::Refused {
            why: Refusal::Stopped,
            mmp_block: BlockNumber(0),
            left_behind: false,
        });
    };
    if device.device().is_cached() {
        tell(News::Waiting(
            "the file system below this image cannot do O_DIRECT; do not share it between machines"
                .to_owned(),
        ));
    }
    let update_interval = device.area().update_interval;
    let request = HoldRequest { update_interval, interval: options.interval };
    let mut claim = Claim::new(ClaimRequest {
        update_interval,
        check_interval: request.check_interval(Duration::ZERO),
        names: our_names(path),
        draw: random()?,
        patience,
    });
    let mut narrator = Narrator::default();
    let ControlFlow::Continue(outcome) = drive(&mut claim, &mut device, &alarm, |claim| {
        let instant = now().instant;
        line.show(claim.phase(), instant);
        if let Some(sentence) = narrator.line(claim.phase(), instant) {
            tell(News::Waiting(sentence));
        }
        ControlFlow::<Infallible>::Continue(())
    })?;
    drop(line);
    match outcome {
        ClaimOutcome::Refused { why, left_behind } => {
            let mmp_block = device.area().block;
            Ok(Ending::Refused { why, mmp_block, left_behind })
        }
        ClaimOutcome::Claimed(claimed) => {
            Ok(keep(claimed, request, &mut device, &alarm, lease, tell)?)
        }
    }
}

/// Opens a device for holding, waiting while somebody on this machine has it.
fn open(
    path: &Path,
    patience: Instant,
    alarm: &Alarm,
    stop: &Stop,
    tell: &dyn Fn(News),
) -> Result<Option<MmpDevice<Writer>>, Trouble> {
    let mut told = false;
    loop {
        match Writer::open(path) {
            Ok(writer) => return Ok(Some(MmpDevice::new(writer)?)),
            Err(error) if error.is_busy() && now().instant < patience => {
                if !std::mem::replace(&mut told, true) {
                    tell(News::Waiting(format!("{error}; waiting for it")));
                }
            }
            Err(error) => return Err(error.into()),
        }
        alarm.wait(now().instant + POLL, true)?;
        if stop.is_raised() {
            return Ok(None);
        }
    }
}

fn keep(
    claimed: Claimed,
    request: HoldRequest,
    device: &mut MmpDevice<Writer>,
    alarm: &Alarm,
    lease: &Lease,
    tell: &dyn Fn(News),
) -> std::io::Result<Ending> {
    let mut hold = Hold::new(claimed, request);
    let first_lease = hold.lease();
    let mut held = false;
    let outcome = drive(&mut hold, device, alarm, |hold| {
        if !lease.set(hold.lease().0) {
            return ControlFlow::Break(());
        }
        if !held && hold.lease() > first_lease {
            held = true;
            tell(News::Held);
        }
        if let Some(notice) = hold.take_notice() {
            tell(News::Notice(notice));
        }
        ControlFlow::Continue(())
    })?;
    lease.set(Lease::NONE);
    Ok(match outcome {
        ControlFlow::Continue(HoldOutcome::Released) => Ending::Released,
        ControlFlow::Continue(HoldOutcome::NotReleased(error)) => Ending::NotReleased(error),
        ControlFlow::Continue(HoldOutcome::NotOurs { found }) => {
            Ending::Lost(Loss::SecondWriter { found })
        }
        ControlFlow::Continue(HoldOutcome::Lost(loss)) => Ending::Lost(loss),
        ControlFlow::Break(()) => {
            let found = device.read().ok().filter(|block| !hold.is_ours(block));
            Ending::Revoked { found }
        }
    })
}

/// This machine's host name.
pub fn node_name() -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    hostname::get().unwrap_or_default().into_vec()
}

/// The names this machine writes into the block of a device: its host name, and the device's name
/// as the kernel has it (`sdb`, `dm-3`), or an image's file name.
pub fn our_names(path: &Path) -> Names {
    use std::os::unix::ffi::OsStrExt;
    let name = kernel_path(path).unwrap_or_else(|| path.to_owned());
    Names::new(&node_name(), name.file_name().unwrap_or_default().as_bytes())
}

/// A random number from the kernel.
pub fn random() -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
