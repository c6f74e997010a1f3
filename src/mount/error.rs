//! Why nothing was mounted, and mount(8)'s exit code for it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::options::OptionError;
use crate::device::{DeviceError, Plain, shown};
use crate::layout::{BlockNumber, MmpBlock};
use crate::protocol::{ReadError, Refusal, Verdict};
use crate::report::exit::{MOUNT_FAILED, MOUNT_INTERRUPTED, MOUNT_SYSTEM, MOUNT_USAGE};
use crate::report::{Holder, describe_refusal};

/// Why nothing was mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// A remount of what no device is seen to be mounted on, such as in another mount namespace.
    #[error("{}: no block device is seen to be mounted there, so a remount cannot be guarded; name the directory it is mounted on, in this mount namespace", shown(.0))]
    NotMounted(PathBuf),
    /// There is no such directory.
    #[error("{}: is no directory to mount on; create it, or correct the mount point", shown(.0))]
    NoMountPoint(PathBuf),
    /// The device cannot be used.
    #[error("{0}{hint}", hint = device_hint(.0))]
    Device(#[from] DeviceError),
    /// The MMP block forbids it.
    #[error("{}", refused(.path, *.mmp_block, .why, *.waited, *.left_behind))]
    Refused {
        /// The device.
        path: PathBuf,
        /// Where its MMP block is.
        mmp_block: BlockNumber,
        /// Why.
        why: Refusal,
        /// `mmp.wait`: how long it was waited for.
        waited: Option<Duration>,
        /// Whether our own claim may still stand in the block.
        left_behind: bool,
    },
    /// The kernel refused it, for the block was not as it had been.
    #[error("{}: in use: somebody else took it while it was being mounted; the MMP block was written by {}, or by a node that is mounting it now and has yet to leave its name", shown(.path), Holder(.block))]
    Taken {
        /// The device.
        path: PathBuf,
        /// The block afterwards.
        block: MmpBlock,
    },
    /// It was mounted, and so it was elsewhere.
    #[error("{}: two nodes write its MMP block: {}, and {}; {outcome}. Stop both and run 'e2fsck -f'", shown(.path), Holder(.one), Holder(.other))]
    SecondWriter {
        /// The device.
        path: PathBuf,
        /// What one of them wrote.
        one: MmpBlock,
        /// What the other wrote.
        other: MmpBlock,
        /// What became of the mount.
        outcome: String,
    },
    /// It was mounted, and ended or made read-only again here before it was sure.
    #[error("{}: mounted, and unmounted or made read-only by somebody on this machine before it was sure that nobody else mounted it; mount it again", shown(.0))]
    Left(PathBuf),
    /// It was mounted too late to be sure, and then could not be watched.
    #[error("{}: cannot watch the MMP block after a mount that was not guarded: {error}; {outcome}", shown(.path))]
    Unconfirmed {
        /// The device.
        path: PathBuf,
        /// Why not.
        error: ReadError,
        /// What became of the mount.
        outcome: String,
    },
    /// A signal came.
    #[error("{}: interrupted; {outcome}", shown(.path))]
    Interrupted {
        /// The device.
        path: PathBuf,
        /// What was left.
        outcome: String,
    },
    /// The real mount could not be started.
    #[error("cannot run mount: {}", Plain(.0))]
    CannotRun(io::Error),
    /// The kernel refused something every process may do.
    #[error("{}", Plain(.0))]
    System(#[from] io::Error),
}

/// What else can be done about a device that cannot be used.
fn device_hint(error: &DeviceError) -> &'static str {
    if error.is_no_mmp() { ", and '-o mmp.mode=off' mounts without protection" } else { "" }
}

fn refused(
    path: &PathBuf,
    mmp_block: BlockNumber,
    why: &Refusal,
    waited: Option<Duration>,
    left_behind: bool,
) -> String {
    let mut text = describe_refusal(path, mmp_block, why);
    match why {
        Refusal::LostRace { .. } | Refusal::NotSafe(Verdict::InUse { .. }) => {
            text += &match waited {
                None => ", or wait for that with '-o mmp.wait=SECONDS'".to_owned(),
                Some(time) => {
                    format!(", or wait for that longer than '-o mmp.wait={}' did", time.as_secs())
                }
            };
        }
        Refusal::NotSafe(Verdict::Fsck { .. }) => {
            text += &format!(
                "; a running e2fsck renews that time about once a minute, one that is dead or \
                 waits at a question does not: look twice with 'mmpcheck -i {}'",
                shown(path),
            );
        }
        _ => {}
    }
    if left_behind {
        text +=
            "; our own claim may be left in the MMP block: it is stale after the guard interval";
    }
    text
}

impl MountError {
    /// The exit code, as mount(8) has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            MountError::Options(_) | MountError::NotMounted(_) => MOUNT_USAGE,
            MountError::CannotRun(_) | MountError::System(_) => MOUNT_SYSTEM,
            MountError::Interrupted { .. } => MOUNT_INTERRUPTED,
            _ => MOUNT_FAILED,
        }
    }

    /// Whether waiting may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            MountError::Device(error) => error.is_busy(),
            MountError::Taken { .. } => true,
            MountError::Refused { why, .. } => matches!(
                why,
                Refusal::LostRace { .. }
                    | Refusal::NotSafe(Verdict::InUse { .. } | Verdict::Fsck { .. })
            ),
            _ => false,
        }
    }
}
