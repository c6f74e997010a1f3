//! A thread a device, and one that waits no longer than it must.

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::finding::judge;
use super::{FileSystem, State, Surveyed};
use crate::daemon::{Alarm, BlockIo, Stop, allow_devices, drive, node_name, now};
use crate::device::{
    DeviceError, KernelWriter, LocalView, MmpDevice, Reader, device_number, filesystem,
    is_read_only, kernel_name, shown,
};
use crate::layout::MmpBlock;
use crate::protocol::{Check, Instant, IoFault, NeverWrites, POLL, ReadResult};

/// A thread that looks needs little stack, and there may be a thousand.
const STACK: usize = 256 * 1024;

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A device that has not answered for so long is called hung.
    pub patience: Duration,
    /// After so long no device is watched any more.
    pub timeout: Option<Duration>,
    /// Whether a device that holds something else is left out; otherwise that is an error.
    pub skip_others: bool,
}

/// What a thread has found out so far.
#[derive(Debug)]
struct Progress {
    /// Since when an answer of the device is due.
    asked: Option<Instant>,
    filesystem: Option<FileSystem>,
    seen: Option<MmpBlock>,
    end: Option<End>,
}

#[derive(Clone, Debug)]
enum End {
    /// There is no file system of this kind.
    Nothing,
    State(State),
}

/// All threads' progress, and a bell for the one who waits.
struct Board {
    rows: Mutex<Vec<Progress>>,
    bell: Condvar,
}

impl Board {
    fn rows(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, index: usize, change: impl FnOnce(&mut Progress)) {
        change(&mut self.rows()[index]);
    }
}

/// Looks at all devices side by side: what holds a file system of ext4's kind, or may for all that
/// could be seen. Takes as long as the longest guard interval plus `patience`, and no longer than
/// `timeout`; a thread that waits for a device that does not answer stays behind.
pub fn look_at_all(paths: &[PathBuf], limits: Limits) -> io::Result<Vec<Surveyed>> {
    allow_devices(paths.len());
    let began = now().instant;
    let before = LocalView::take();
    let fresh = || Progress { asked: Some(began), filesystem: None, seen: None, end: None };
    let rows = paths.iter().map(|_| fresh()).collect();
    let board = Arc::new(Board { rows: Mutex::new(rows), bell: Condvar::new() });
    let stop = Stop::new()?;
    for (index, path) in paths.iter().enumerate() {
        let (board, path, stop) = (Arc::clone(&board), path.clone(), stop.clone());
        thread::Builder::new().stack_size(STACK).spawn(move || {
            let end = look(&path, limits.skip_others, index, &board, &stop)
                .unwrap_or_else(|error| End::State(failed(&path, &error)));
            board.note(index, |row| row.end = Some(end));
            board.bell.notify_one();
        })?;
    }
    let is_hung = |row: &Progress| {
        row.asked.is_some_and(|asked| now().instant.since(asked) >= limits.patience)
    };
    let mut rows = board.rows();
    loop {
        let over = limits.timeout.is_some_and(|timeout| now().instant >= began + timeout);
        if over || rows.iter().all(|row| row.end.is_some() || is_hung(row)) {
            break;
        }
        let woken = board.bell.wait_timeout(rows, POLL);
        (rows, _) = woken.unwrap_or_else(PoisonError::into_inner);
    }
    let sums = paths.iter().zip(&*rows).filter_map(|(path, row)| sum_up(path, row, is_hung(row)));
    let mut surveyed: Vec<_> = sums.collect();
    drop(rows);
    let after = LocalView::take();
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
        None => format!("{}: {error:#}", shown(path)),
    };
    State::Error { unreadable, message }
}

/// A thread's progress as the result it comes to, whether or not it has ended.
fn sum_up(path: &Path, row: &Progress, is_hung: bool) -> Option<Surveyed> {
    let state = match (&row.end, &row.seen) {
        (Some(End::Nothing), _) => return None,
        (Some(End::State(state)), _) => state.clone(),
        (None, Some(block)) if !is_hung => State::Active(block.clone()),
        (None, _) => State::Hung,
    };
    let (path, filesystem) = (path.to_owned(), row.filesystem.clone());
    Some(Surveyed { path, filesystem, state, findings: Vec::new() })
}

/// Tells when the device is asked, and when it has answered.
struct Told<'a> {
    device: MmpDevice<Reader>,
    board: &'a Board,
    index: usize,
}

impl BlockIo<NeverWrites> for Told<'_> {
    fn read(&mut self) -> ReadResult {
        self.board.note(self.index, |row| row.asked = Some(now().instant));
        let result = BlockIo::<NeverWrites>::read(&mut self.device);
        self.board.note(self.index, |row| {
            row.asked = None;
            row.seen = result.as_ref().ok().cloned().or(row.seen.take());
        });
        result
    }

    fn write(&mut self, write: NeverWrites) -> Result<(), IoFault> {
        match write {}
    }
}

fn look(
    path: &Path,
    skip_others: bool,
    index: usize,
    board: &Board,
    stop: &Stop,
) -> anyhow::Result<End> {
    let (reader, superblock) = match filesystem(path) {
        Err(error) if skip_others && error.is_nothing_there() => return Ok(End::Nothing),
        result => result?,
    };
    let device = MmpDevice::with_superblock(reader, &superblock);
    let known = FileSystem {
        superblock,
        area: device.as_ref().ok().map(|device| *device.area()),
        kernel_name: kernel_name(path).unwrap_or_default(),
        read_only: is_read_only(path),
        mounts: Vec::new(),
        writer: KernelWriter::Unseen,
    };
    board.note(index, |row| (row.asked, row.filesystem) = (None, Some(known)));
    let device = match device {
        Err(error) if error.is_no_mmp() => return Ok(End::State(State::NoMmp)),
        device => device?,
    };
    let mut machine = Check::new(device.area().update_interval, false, now().instant);
    let alarm = Alarm::new(stop).context("cannot make a timer")?;
    let mut told = Told { device, board, index };
    let ControlFlow::Continue(verdict) =
        drive(&mut machine, &mut told, &alarm, |_| ControlFlow::<Infallible>::Continue(()))
            .context("cannot wait")?;
    Ok(End::State(State::Verdict(verdict)))
}
