//! Starting a target: a guarded mount within a given time.

use std::ffi::OsString;
use std::io;
use std::thread;
use std::time::Duration;

use super::{LEAVE, Target};
use crate::daemon::Interrupt;
use crate::device::{DeviceError, MmpDevice, Plain, Reader, shown};
use crate::layout::MmpBlock;
use crate::mount::{Flags, Mode, MountError, OptionError, Options, Request, mount};
use crate::protocol::{
    MAX_CHECK_INTERVAL, Refusal, SETTLE, Verdict, effective_interval, guard_interval,
};
use crate::report::exit::{DONE, REFUSED, TARGET_NOT_HERE, TARGET_NOWHERE};
use crate::report::seconds_text;

/// What a start needs beyond its guard intervals: looking, handing over, the real mount.
const MARGIN: Duration = Duration::from_secs(5);

/// How a target is to be started.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The real type.
    pub fstype: OsString,
    /// Options, those of `mount.mmp` among them.
    pub options: OsString,
    /// The time it has. Without a `mmp.wait` among the options, what is left of it beyond the
    /// longest guarded mount is spent on waiting for a holder to let go.
    pub timeout: Option<Duration>,
    /// Whose name stands before messages.
    pub program: &'static str,
}

/// Why a target was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// The time given is less than a start may take.
    #[error(
        "{device}: the start's timeout of {} is {} too short: a start may take {} here, twice the \
         guard interval of {} and the mount. Give it that, and more to wait for a partner that is \
         still unmounting",
        seconds_text(*.given), seconds_text(.needed.saturating_sub(*.given)),
        seconds_text(*.needed), seconds_text(*.guard)
    )]
    TooShort {
        /// The device, safe to print.
        device: String,
        /// What a start may take.
        needed: Duration,
        /// The guard interval in that.
        guard: Duration,
        /// What it was given.
        given: Duration,
    },
    /// It was not mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The real mount failed; it has said why.
    #[error("{device}: the mount failed with code {code}")]
    Failed {
        /// The device, safe to print.
        device: String,
        /// The real mount's exit code.
        code: u8,
    },
    /// The kernel refused something every process may do.
    #[error("{}", Plain(.0))]
    System(#[from] io::Error),
}

impl StartError {
    /// What a cluster manager should do: try again or elsewhere, only elsewhere, or nowhere.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Options(_) | StartError::TooShort { .. } => TARGET_NOWHERE,
            StartError::Mount(MountError::Device(error)) => match error {
                error if error.is_no_mmp() => TARGET_NOWHERE,
                error if error.is_busy() => REFUSED,
                _ => TARGET_NOT_HERE,
            },
            StartError::Mount(error) => match error {
                MountError::Options(_) => TARGET_NOWHERE,
                // The path to the disk is at fault, or what is installed.
                MountError::NotMounted(_)
                | MountError::NoMountPoint(_)
                | MountError::CannotRun(_)
                | MountError::Refused {
                    why:
                        Refusal::NotSafe(Verdict::Unreadable(_))
                        | Refusal::Unwritable(_)
                        | Refusal::Unverified(_),
                    ..
                } => TARGET_NOT_HERE,
                _ => REFUSED,
            },
            StartError::Failed { .. } | StartError::System(_) => REFUSED,
        }
    }
}

impl From<DeviceError> for StartError {
    fn from(error: DeviceError) -> Self {
        StartError::Mount(error.into())
    }
}

/// The guard interval of a device whose user was a kernel, which publishes twice the update
/// interval while it has it mounted; and the longest that a guarded mount of it takes.
pub(super) fn longest(update_interval: u16, block: &MmpBlock) -> (Duration, Duration) {
    let c = effective_interval(update_interval, block.check_interval());
    let by_kernel = effective_interval(update_interval, 0).saturating_mul(2);
    let guard = guard_interval(c.max(by_kernel.min(MAX_CHECK_INTERVAL)));
    (guard, guard * 2 + SETTLE + MARGIN)
}

/// Checks all that can be checked without touching the target; gives the options and how long a
/// start may take.
pub fn validate(
    target: &Target,
    start: &StartRequest,
) -> Result<(Options, Option<Duration>), StartError> {
    let options = Options::parse(&start.options)?;
    if options.mode == Mode::Off {
        return Ok((options, None));
    }
    let path = target.path()?;
    let mut device = MmpDevice::new(Reader::open(&path)?)?;
    let block = device.block()?;
    let (guard, needed) = longest(device.area().update_interval, &block);
    match start.timeout {
        Some(given) if given < needed => {
            let device = shown(&path).to_string();
            Err(StartError::TooShort { device, needed, guard, given })
        }
        _ => Ok((options, Some(needed))),
    }
}

/// Mounts a target, unless it is mounted already; tells whether it had to.
pub fn start(target: &Target, start: &StartRequest) -> Result<bool, StartError> {
    if target.mounted()?.is_some() {
        return Ok(false);
    }
    let (mut options, needed) = validate(target, start)?;
    if options.wait.is_none() {
        options.wait = start.timeout.zip(needed).map(|(given, needed)| given - needed);
    }
    // Before any other thread exists.
    let interrupt = Interrupt::catch()?;
    if let Some(timeout) = start.timeout {
        let stop = interrupt.stop().clone();
        thread::Builder::new().spawn(move || {
            // To take the claim back.
            thread::sleep(timeout.saturating_sub(LEAVE));
            stop.raise();
        })?;
    }
    let request = Request {
        spec: target.device.clone(),
        dir: target.dir.clone(),
        fstype: start.fstype.clone(),
        options,
        flags: Flags::default(),
        namespace: None,
        program: start.program,
    };
    match mount(request, &interrupt)? {
        DONE => Ok(true),
        code => Err(StartError::Failed { device: shown(&target.device).to_string(), code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MMP_SIZE;

    #[test]
    fn the_longest_start_reckons_with_what_a_kernel_leaves_behind() {
        let block = |seconds| MmpBlock::from_bytes([0; MMP_SIZE]).with_check_interval(seconds);
        for (update, check, guard, needed) in
            [(5, 5, 21, 47), (0, 0, 21, 47), (5, 30, 61, 127), (20, 5, 81, 167), (300, 5, 360, 725)]
        {
            let (found, longest) = longest(update, &block(check));
            assert_eq!((found.as_secs(), longest.as_secs()), (guard, needed), "{update} {check}");
        }
    }
}
