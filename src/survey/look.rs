//! The looks at all devices, side by side, and what each comes to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::finding::judge;
use super::{FileSystem, State, Surveyed};
use crate::daemon::{Answer, Asked, Due, Sleeper, Stop, ask_all, drive, node_name, now};
use crate::device::{
    DeviceError, KernelWriter, LocalView, MmpDevice, Plain, device_number, filesystem,
    is_read_only, kernel_name, shown,
};
use crate::layout::MmpBlock;
use crate::protocol::{Check, Machine, Phase};

/// What to look for, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After so long no device is watched any more.
    pub timeout: Option<Duration>,
    /// Whether a device that holds something else is left out; otherwise that is an error.
    pub skip_others: bool,
}

/// What is known of a device before its result is.
#[derive(Debug, Default)]
struct Progress {
    filesystem: Option<FileSystem>,
    seen: Option<MmpBlock>,
}

/// Shared by the thread that looks and the one that waits.
type Board = Mutex<Progress>;

fn progress(board: &Board) -> MutexGuard<'_, Progress> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
enum End {
    /// There is no file system of this kind.
    Nothing,
    State(State),
}

/// Looks at all devices: what holds a file system of ext4's kind, or may for all that could be seen.
/// Takes as long as the longest guard interval plus the patience with a device that does not answer,
/// and no longer than `timeout`.
pub fn look_at_all(paths: &[PathBuf], limits: Limits) -> io::Result<Vec<Surveyed>> {
    let before = LocalView::take()?;
    let boards: Arc<[Board]> = paths.iter().map(|_| Board::default()).collect();
    let (theirs, devices, stop) = (Arc::clone(&boards), paths.to_owned(), Stop::new()?);
    let until = limits.timeout.map(|timeout| now().instant + timeout);
    let answers = ask_all(paths.len(), until, move |index, due| {
        let path = &devices[index];
        look(path, limits.skip_others, &theirs[index], due, &stop)
            .unwrap_or_else(|error| End::State(failed(path, &error)))
    })?;
    let mut surveyed: Vec<_> = paths.iter().map(|_| None).collect();
    for (index, answer) in answers {
        let Progress { filesystem, seen } = std::mem::take(&mut *progress(&boards[index]));
        let state = match (answer, seen) {
            (Answer::Is(End::Nothing), _) => continue,
            (Answer::Is(End::State(state)), _) => state,
            (Answer::Late, Some(block)) => State::Active(block),
            (Answer::Late | Answer::Hung, _) => State::Hung,
        };
        let path = paths[index].clone();
        surveyed[index] = Some(Surveyed { path, filesystem, state, findings: Vec::new() });
    }
    let mut surveyed: Vec<_> = surveyed.into_iter().flatten().collect();
    let after = LocalView::take()?;
    for device in &mut surveyed {
        if let Some(filesystem) = &mut device.filesystem {
            locate(&device.path, filesystem, &before, &after);
        }
    }
    judge(&mut surveyed, &node_name(), now().wall);
    Ok(surveyed)
}

/// What held at the beginning and at the end: what a mount or an unmount in between did to the block
/// is nothing to be alarmed by.
fn locate(path: &Path, filesystem: &mut FileSystem, before: &LocalView, after: &LocalView) {
    let Some(number) = device_number(path) else { return };
    let was: Vec<_> = before.mounts(number).collect();
    filesystem.mounts = after.mounts(number).filter(|mount| was.contains(mount)).cloned().collect();
    let is_there = |writer| matches!(writer, KernelWriter::Running | KernelWriter::Frozen);
    let writers = [before, after].map(|view| view.writer(&filesystem.kernel_name));
    if writers[0] == writers[1] || writers.into_iter().all(is_there) {
        filesystem.writer = writers[1];
    }
}

/// An error of the device names it, and its source; others do not.
fn failed(path: &Path, error: &anyhow::Error) -> State {
    let device = error.downcast_ref::<DeviceError>();
    let unreadable = matches!(device, Some(DeviceError::Read { .. }));
    let message = match device {
        Some(error) => error.to_string(),
        None => match error.root_cause().downcast_ref() {
            Some(cause) => format!("{}: {error}: {}", shown(path), Plain(cause)),
            None => format!("{}: {error}", shown(path)),
        },
    };
    State::Error { unreadable, message }
}

fn look(
    path: &Path,
    skip_others: bool,
    board: &Board,
    due: &Due,
    stop: &Stop,
) -> anyhow::Result<End> {
    let (reader, superblock) = match filesystem(path) {
        Err(error) if skip_others && error.is_nothing_there() => return Ok(End::Nothing),
        result => result?,
    };
    let device = MmpDevice::with_superblock(reader, &superblock);
    progress(board).filesystem = Some(FileSystem {
        superblock,
        area: device.as_ref().ok().map(|device| *device.area()),
        kernel_name: kernel_name(path).unwrap_or_default(),
        read_only: is_read_only(path),
        mounts: Vec::new(),
        writer: KernelWriter::Unseen,
    });
    due.answered();
    let device = match device {
        Err(error) if error.is_no_mmp() => return Ok(End::State(State::NoMmp)),
        device => device?,
    };
    let mut machine = Check::new(device.area().update_interval, false, now().instant);
    let sleeper = Sleeper::new(stop).context("cannot make a timer")?;
    let verdict = drive(&mut machine, &mut Asked { device, due }, &sleeper, |machine| {
        if let Phase::Watching { seen, .. } = machine.phase() {
            progress(board).seen = Some(seen.clone());
        }
    });
    Ok(End::State(State::Verdict(verdict.context("cannot wait")?)))
}
