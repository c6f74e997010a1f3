//! What a holder tells its supervisor, and the way by which it does.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::daemon::wake::Bell;
use crate::device::{DeviceError, Plain, shown};
use crate::layout::{BlockNumber, MmpBlock};
use crate::protocol::{Loss, Notice, ReadError, Refusal};
use crate::report::{describe_found, describe_loss, describe_refusal};

/// What a holder tells its supervisor.
#[derive(Debug)]
pub enum News {
    /// A sentence for the log: what is waited for, or a warning.
    Remark(String),
    /// The device is ours; the first heartbeat is on the disk.
    Held,
    /// Something was seen and dealt with.
    Notice(Notice),
    /// The task is done with the device.
    Ended(Box<Ending>),
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
        /// What stands in the block now, where that is not ours.
        found: io::Result<Option<MmpBlock>>,
    },
    /// The kernel refused a timer.
    Clock(io::Error),
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
            Ending::Revoked { found: Ok(found) } => format!(
                "{device}: lost: it answered again after its lease had run out; {}",
                describe_found(found.as_ref()),
            ),
            Ending::Revoked { found: Err(error) } => format!(
                "{device}: lost: it failed after its lease had run out: {}. See its paths and the \
                 kernel's log",
                Plain(error),
            ),
            Ending::Clock(error) => {
                format!("{device}: the kernel refused a timer: {}", Plain(error))
            }
        }
    }
}

/// How a holder reaches its supervisor.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    /// The holder's place in the list.
    pub(super) index: usize,
    pub(super) news: SyncSender<(usize, News)>,
    pub(super) wake: Arc<Bell>,
}

impl Teller {
    /// Tells something that must be heard.
    pub(super) fn say(&self, news: News) {
        // Fails only when nobody listens any more.
        let _ = self.news.send((self.index, news));
        self.wake.ring();
    }

    /// Tells something that is dropped where it would have to wait.
    pub(super) fn mention(&self, news: News) {
        let _ = self.news.try_send((self.index, news));
        self.wake.ring();
    }
}
