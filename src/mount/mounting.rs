//! What all courses of a mount have in common: what is known, said, watched and undone.

use std::io;
use std::path::{Path, PathBuf};

use super::error::MountError;
use super::real::RealMount;
use super::request::Request;
use crate::daemon::{BlockIo, Child, Interrupt, Sleeper, drive, now};
use crate::device::{MmpDevice, MountPoint, Reader, device_number, mounts_of, shown};
use crate::layout::{BlockNumber, Sequence};
use crate::protocol::{Check, Instant, Machine, Phase, Refusal, Verdict};
use crate::report::{Narrator, Progress, ProgressLine, complain};

/// Where an attempt got.
pub(super) enum Attempt {
    /// The real mount has ended with this code.
    Ended(u8),
    /// The block was released while we looked: from the top.
    Again,
}

/// A mount under way.
pub(super) struct Mounting<'a> {
    pub(super) request: &'a Request,
    pub(super) real: RealMount,
    pub(super) path: PathBuf,
    /// What it is called before people.
    pub(super) name: PathBuf,
    /// How often the device was mounted there already.
    before: usize,
    began: Instant,
    /// Until when a device in use is waited for.
    pub(super) patience: Instant,
    pub(super) sleeper: Sleeper,
    pub(super) line: ProgressLine,
    narrator: Narrator,
}

impl<'a> Mounting<'a> {
    /// Nothing is done yet; `path` is the device, `name` what it is called before people.
    pub(super) fn new(
        request: &'a Request,
        path: &Path,
        name: &Path,
        interrupt: &Interrupt,
    ) -> io::Result<Self> {
        let began = now().instant;
        let mut mounting = Mounting {
            request,
            real: request.real(path.to_owned()),
            path: path.to_owned(),
            name: name.to_owned(),
            before: 0,
            began,
            patience: began + request.options.wait.unwrap_or_default(),
            sleeper: Sleeper::new(interrupt.stop())?,
            line: Progress::new(true).line(name, 0),
            narrator: Narrator::default(),
        };
        mounting.before = mounting.mounts()?.len();
        Ok(mounting)
    }

    /// How the device is mounted on the directory; more than once where mounts are stacked.
    pub(super) fn mounts(&self) -> io::Result<Vec<MountPoint>> {
        let dir = self.real.dir.canonicalize().unwrap_or_else(|_| self.real.dir.clone());
        let number = device_number(&self.path).unwrap_or(0);
        Ok(mounts_of(number)?.into_iter().filter(|mount| mount.dir == dir).collect())
    }

    /// Whether no more is seen to be mounted there than was before.
    pub(super) fn is_gone(&self) -> bool {
        self.mounts().is_ok_and(|mounts| mounts.len() <= self.before)
    }

    pub(super) fn say(&self, text: &str) {
        complain(self.request.program, format!("{}: {text}", shown(&self.name)));
    }

    /// Tells a step and its time, where that is wanted.
    pub(super) fn step(&self, text: &str) {
        if self.request.flags.verbose {
            let after = now().instant.since(self.began).as_secs_f64();
            self.say(&format!("after {after:.2} s: {text}"));
        }
    }

    fn show(&mut self, phase: Phase<'_>) {
        let instant = now().instant;
        self.line.show(phase, instant);
        let unclean =
            matches!(phase, Phase::Watching { seen, .. } if seen.sequence() != Sequence::Clean);
        match self.narrator.line(phase, instant) {
            Some(sentence) if unclean && !self.request.flags.verbose => self.say(&sentence),
            Some(sentence) => self.step(&sentence),
            None => {}
        }
    }

    pub(super) fn interrupted(&self, outcome: &str) -> MountError {
        MountError::Interrupted { path: self.name.clone(), outcome: outcome.to_owned() }
    }

    pub(super) fn refused(
        &self,
        mmp_block: BlockNumber,
        why: Refusal,
        left_behind: bool,
    ) -> MountError {
        if why == Refusal::Stopped || why == Refusal::NotSafe(Verdict::Stopped) {
            let left = if left_behind { "the MMP block is not clean" } else { "nothing was left" };
            return self.interrupted(left);
        }
        let (path, waited) = (self.name.clone(), self.request.options.wait);
        MountError::Refused { path, mmp_block, why, waited, left_behind }
    }

    /// Reads and watches only, until it is safe to mount; the device is as it was then.
    pub(super) fn check(&mut self, guard: bool) -> Result<MmpDevice<Reader>, MountError> {
        let mut device = MmpDevice::new(Reader::open(&self.path)?)?;
        let area = *device.area();
        let verdict =
            self.drive(&mut Check::new(area.update_interval, guard, self.patience), &mut device)?;
        if verdict.is_safe() {
            return Ok(device);
        }
        Err(self.refused(area.block, Refusal::NotSafe(verdict), false))
    }

    pub(super) fn drive<M: Machine>(
        &mut self,
        machine: &mut M,
        device: &mut impl BlockIo<M::Write>,
    ) -> io::Result<M::Outcome> {
        let sleeper = self.sleeper.again()?;
        drive(machine, device, &sleeper, |machine| self.show(machine.phase()))
    }

    pub(super) fn start(&self) -> Result<Child, MountError> {
        self.real.start().map_err(MountError::CannotRun)
    }

    /// Judges the end of a mount beside which nothing was watched.
    pub(super) fn ended(&mut self, code: Option<u8>) -> Result<u8, MountError> {
        match code {
            Some(code) if code < 128 => {
                self.step(&format!("mount ended with code {code}"));
                Ok(code)
            }
            _ => Err(self.interrupted(&self.undo_mount())),
        }
    }

    /// Unmounts what an interrupted or refused mount may have mounted all the same, and nothing
    /// else: what was mounted before stays.
    pub(super) fn undo_mount(&self) -> String {
        let dir = shown(&self.real.dir);
        if self.request.options.has("remount") {
            return format!("{dir} stays mounted; see with 'findmnt {dir}' how");
        }
        if self.request.namespace.is_some() {
            return format!("see in its mount namespace whether {dir} is mounted");
        }
        if self.is_gone() {
            return "nothing is mounted".to_owned();
        }
        match self.real.unmount() {
            Ok(status) if status.success() => "it was unmounted here".to_owned(),
            _ => format!("IT IS STILL MOUNTED on {dir} and could not be unmounted: do that now"),
        }
    }
}
