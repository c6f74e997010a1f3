//! The devices that `mmpd watch` and `mmpwatch` are given to watch.

use std::ffi::OsString;

use anyhow::{Context, bail};
use clap::{Args, ValueHint};

use super::common::resolve_all;
use crate::daemon::{Discovery, ENDING, Watcher};

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Watched {
    /// Watch whatever is mounted on this machine, as it comes and goes
    #[arg(long)]
    mounted: bool,
    /// Watch every block device with ext4 and MMP, as they come and go
    #[arg(long, conflicts_with = "mounted")]
    all: bool,
    /// Block devices, images, LABEL=… or UUID=…
    #[arg(value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
    devices: Vec<OsString>,
}

impl Watched {
    /// Starts to watch them; a signal that asks the program to end is an incident from here on.
    pub(super) fn start(&self) -> anyhow::Result<Watcher> {
        let paths = resolve_all(&self.devices)?;
        let discovery = match (self.all, self.mounted) {
            (true, _) => Discovery::All,
            (false, true) => Discovery::Mounted,
            (false, false) => Discovery::Off,
        };
        Watcher::start(&paths, discovery, &ENDING).context("cannot start")
    }
}

/// Refuses to watch nothing where there is something that cannot be opened.
pub(super) fn refuse_blind(watcher: &Watcher) -> anyhow::Result<()> {
    if let (unopened, true) = watcher.unopened()
        && let Some(error) = unopened.first()
    {
        bail!("{error}, nor can any other be opened; it takes root to watch devices");
    }
    Ok(())
}
