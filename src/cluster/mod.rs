//! A target as a cluster's resource: start it, stop it, say how it does, say whether a node is gone.
//!
//! What cluster managers want to know in the words they want it in. The agents in `dist/` are doors
//! to this room and know nothing themselves. Every action may be repeated, and ends within the time
//! it was given by itself: a manager that has to kill one would leave a claim behind.

mod gone;
mod memory;
mod monitor;
mod processes;
mod start;
mod stop;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use gone::{Presence, watch_for};
pub use memory::{keep, recall};
pub use monitor::{Health, MonitorError, monitor};
pub use start::{StartError, StartRequest, start, validate};
pub use stop::{StopError, StopRequest, stop};

use crate::daemon::our_names;
use crate::device::{DeviceError, MountPoint, device_number, mounted_on, resolve};
use crate::layout::Names;

/// How long before the time given to it is over an action ends by itself.
const LEAVE: Duration = Duration::from_millis(1500);

/// A device and the directory it belongs on.
#[derive(Clone, Debug)]
pub struct Target {
    /// A device, an image's loop device, `LABEL=…` or `UUID=…`.
    pub device: OsString,
    /// Where it is mounted.
    pub dir: PathBuf,
    /// The host name that this machine's kernel writes into MMP blocks, where that is not the one
    /// this process sees (in a container).
    pub node: Option<OsString>,
}

impl Target {
    /// The device's path.
    fn path(&self) -> Result<PathBuf, DeviceError> {
        resolve(&self.device)
    }

    /// Its mount on the directory, if it is mounted there. Asks the device nothing: it may be gone
    /// or hang. Fails where it cannot be told: not knowing is not stopped.
    pub fn mounted(&self) -> io::Result<Option<MountPoint>> {
        let dir = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        let Some((number, here)) = mounted_on(&dir)? else { return Ok(None) };
        let is_it = match self.path().ok().and_then(|path| device_number(&path)) {
            Some(device) => device == number,
            // Whose could it be else? To leave it mounted is the greater risk.
            None => here.fstype == "lustre" || here.fstype == "ext4",
        };
        Ok(is_it.then_some(here))
    }

    /// What the kernel writes into the block of `path`.
    fn names(&self, path: &Path) -> Names {
        match &self.node {
            Some(node) => our_names(path).on_node(node.as_bytes()),
            None => our_names(path),
        }
    }
}
