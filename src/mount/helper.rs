//! One mount, from the first look to the last.

use std::convert::Infallible;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::error::MountError;
use super::fenced::fenced_since;
use super::interrupt::Interrupt;
use super::options::{Mode, Options};
use super::real::{Flags, RealMount};
use super::source::Source;
use crate::daemon::{Alarm, Child, drive, now, our_names, random};
use crate::device::{
    Kind, MmpDevice, MountPoint, Reader, Writer, block_devices, device_number, mounted_on,
    mounts_of, resolve, shown,
};
use crate::layout::{BlockNumber, MmpBlock, Sequence};
use crate::protocol::{
    Check, ClaimRequest, Confirm, Confirmation, DEFAULT_CHECK_INTERVAL, Handed, Handover,
    HandoverMode, HandoverOutcome, Instant, Lookout, LookoutOutcome, Machine, POLL, Phase, Refusal,
    Verdict, effective_interval, guard_interval,
};
use crate::report::exit::MOUNT_FAILED;
use crate::report::{Holder, Narrator, Progress, ProgressLine, complain, date, seconds_text};

/// How often a running mount is asked whether it has ended.
const REAP: Duration = Duration::from_millis(20);
/// What a broken-off mount gets to end by itself.
const GRACE: Duration = Duration::from_millis(500);

/// What is to be mounted.
#[derive(Clone, Debug)]
pub struct Request {
    /// A device, an image, `LABEL=…` or `UUID=…`.
    pub spec: OsString,
    /// Where.
    pub dir: PathBuf,
    /// The real type.
    pub fstype: OsString,
    /// All options.
    pub options: Options,
    /// mount(8)'s flags.
    pub flags: Flags,
    /// The mount namespace asked for.
    pub namespace: Option<OsString>,
    /// The program's name, for messages.
    pub program: &'static str,
}

impl Request {
    fn read_only(&self) -> bool {
        let flag = self.flags.read_only && !self.options.has("rw");
        (flag || self.options.read_only()) && !self.flags.read_write
    }

    fn real(&self, source: PathBuf) -> RealMount {
        RealMount {
            fstype: self.fstype.clone(),
            source,
            dir: self.dir.clone(),
            options: self.options.passed_on(),
            flags: self.flags,
            namespace: self.namespace.clone(),
        }
    }
}

/// Mounts; returns the exit code of the real mount.
pub fn mount(mut request: Request, interrupt: &Interrupt) -> Result<u8, MountError> {
    let alarm = Alarm::new(interrupt.stop())?;
    if request.flags.fake || request.options.mode == Mode::Off {
        let real = request.real(request.spec.clone().into());
        return real
            .start()
            .map_err(MountError::CannotRun)
            .and_then(|mut child| Ok(wait_for(&mut child, &alarm)?.unwrap_or(MOUNT_FAILED)));
    }
    if !request.options.has("remount") && request.namespace.is_none() && !request.dir.is_dir() {
        return Err(MountError::NoMountPoint(request.dir));
    }
    let read_only = request.read_only();
    let remount = request.options.has("remount");
    let source = match remount {
        true => mounted_source(&request)?,
        false => Source::open(&request.spec, &mut request.options, read_only)?,
    };
    let path = source.path().to_owned();
    let began = now().instant;
    let mut mounting = Mounting {
        before: mounts_at(&path, &request.dir).len(),
        real: request.real(path.clone()),
        line: Progress::new(true).line(&path, 0),
        patience: began + request.options.wait.unwrap_or_default(),
        alarm,
        path,
        began,
        read_only,
        request: &request,
        narrator: Narrator::default(),
    };
    if remount { mounting.remount() } else { mounting.run() }
}

/// The device of what is mounted where a remount is to happen, by whatever name that was asked for:
/// an image is mounted through a loop device.
fn mounted_source(request: &Request) -> Result<Source, MountError> {
    let dir = request.dir.canonicalize().unwrap_or_else(|_| request.dir.clone());
    let number = mounted_on(&dir).map(|(number, _)| number).filter(|number| *number != 0);
    let mut devices = resolve(&request.spec).into_iter().chain(block_devices());
    let device = match number {
        Some(number) if request.namespace.is_none() => {
            devices.find(|device| device_number(device) == Some(number))
        }
        _ => None,
    };
    Ok(Source::device(device.ok_or(MountError::NotMounted(dir))?))
}

/// How a device is mounted on a directory; more than once where mounts are stacked.
fn mounts_at(device: &Path, dir: &Path) -> Vec<MountPoint> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let number = device_number(device).unwrap_or(0);
    mounts_of(number).into_iter().filter(|mount| mount.dir == dir).collect()
}

/// Waits for a mount to end. Told to stop, it breaks it off and gives no code.
fn wait_for(child: &mut Child, alarm: &Alarm) -> std::io::Result<Option<u8>> {
    loop {
        if let Some(code) = child.try_wait()? {
            return Ok(Some(code));
        }
        if alarm.is_stopped() {
            return break_off(child, alarm).map(|_| None);
        }
        alarm.wait(now().instant + REAP, true)?;
    }
}

/// Ends a mount; tells its code, for it may have succeeded.
fn break_off(child: &mut Child, alarm: &Alarm) -> std::io::Result<u8> {
    child.signal(Signal::SIGTERM);
    let deadline = now().instant + GRACE;
    loop {
        if let Some(code) = child.try_wait()? {
            return Ok(code);
        }
        alarm.wait(now().instant + REAP, false)?;
        if now().instant >= deadline {
            child.signal(Signal::SIGKILL);
        }
    }
}

/// Where an attempt got.
enum Attempt {
    /// The real mount has ended with this code.
    Ended(u8),
    /// The block was released while we looked: from the top.
    Again,
}

struct Mounting<'a> {
    request: &'a Request,
    real: RealMount,
    path: PathBuf,
    read_only: bool,
    /// How often the device was mounted there already.
    before: usize,
    began: Instant,
    /// Until when a device in use is waited for.
    patience: Instant,
    alarm: Alarm,
    line: ProgressLine,
    narrator: Narrator,
}

impl Mounting<'_> {
    fn say(&self, text: &str) {
        complain(self.request.program, format!("{}: {text}", shown(&self.path)));
    }

    /// Tells a step and its time, where that is wanted.
    fn step(&self, text: &str) {
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

    fn interrupted(&self, outcome: &str) -> MountError {
        MountError::Interrupted { path: self.path.clone(), outcome: outcome.to_owned() }
    }

    fn refused(&self, mmp_block: BlockNumber, why: Refusal, left_behind: bool) -> MountError {
        if why == Refusal::Stopped || why == Refusal::NotSafe(Verdict::Stopped) {
            let left = if left_behind { "the MMP block is not clean" } else { "nothing was left" };
            return self.interrupted(left);
        }
        MountError::Refused { path: self.path.clone(), mmp_block, why, left_behind }
    }

    fn run(&mut self) -> Result<u8, MountError> {
        loop {
            let attempt = if self.read_only { self.reading() } else { self.writing() };
            match attempt {
                Ok(Attempt::Ended(code)) => return Ok(code),
                Ok(Attempt::Again) => self.step("the MMP block was released; looking again"),
                Err(error) if error.may_pass() && now().instant < self.patience => {
                    self.await_release(&error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for whoever is in the way to let go.
    fn await_release(&mut self, because: &MountError) -> Result<(), MountError> {
        let left = seconds_text(self.patience.since(now().instant));
        self.say(&format!("waiting up to {left}: {because}"));
        if matches!(because, MountError::Device(_)) {
            while now().instant < self.patience {
                self.alarm.wait(now().instant + POLL, true)?;
                if self.alarm.is_stopped() {
                    return Err(self.interrupted("nothing was left"));
                }
                match Writer::open(&self.path) {
                    Err(error) if error.is_busy() => {}
                    _ => break,
                }
            }
            return Ok(());
        }
        self.check(false, self.patience).map(drop)
    }

    /// Reads and watches only, until it is safe to mount; the device is as it was then.
    fn check(&mut self, guard: bool, patience: Instant) -> Result<MmpDevice<Reader>, MountError> {
        let mut device = MmpDevice::new(Reader::open(&self.path)?)?;
        let area = *device.area();
        let verdict =
            self.drive(&mut Check::new(area.update_interval, guard, patience), &mut device)?;
        if verdict.is_safe() {
            return Ok(device);
        }
        Err(self.refused(area.block, Refusal::NotSafe(verdict), false))
    }

    fn drive<M: Machine>(
        &mut self,
        machine: &mut M,
        device: &mut impl crate::daemon::BlockIo<M::Write>,
    ) -> std::io::Result<M::Outcome> {
        let alarm = self.alarm.again()?;
        let ControlFlow::Continue(outcome) = drive(machine, device, &alarm, |machine| {
            self.show(machine.phase());
            ControlFlow::<Infallible>::Continue(())
        })?;
        Ok(outcome)
    }

    /// A read-only mount: the kernel looks at no MMP block but may replay a journal that is in
    /// use. Nothing is written, so nobody is kept from claiming at the same moment.
    fn reading(&mut self) -> Result<Attempt, MountError> {
        let mut device = self.check(self.request.options.mode != Mode::Check, self.patience)?;
        device.drop_stale_pages()?;
        self.step("nobody is seen to use it; mounting read-only");
        let mut child = self.start()?;
        self.ended(wait_for(&mut child, &self.alarm)?).map(Attempt::Ended)
    }

    /// A remount of what is mounted here. Only a file system that is read-only as a whole lacks a
    /// heartbeat; making it writable is a mount as far as MMP goes, but the kernel has the device
    /// and nothing can be claimed: it is watched instead.
    fn remount(&mut self) -> Result<u8, MountError> {
        let Kind::Block { number } = Reader::open(&self.path)?.kind() else {
            return Err(MountError::NotMounted(self.real.dir.clone()));
        };
        let idle = !mounts_of(number).is_empty() && mounts_of(number).iter().all(|m| m.read_only);
        if idle && !self.read_only {
            let mut device = self.check(self.request.options.mode != Mode::Check, self.patience)?;
            device.drop_stale_pages()?;
        }
        let mut child = self.start()?;
        self.ended(wait_for(&mut child, &self.alarm)?)
    }

    fn start(&self) -> Result<Child, MountError> {
        self.real.start().map_err(MountError::CannotRun)
    }

    /// Judges the end of a mount beside which nothing was watched.
    fn ended(&mut self, code: Option<u8>) -> Result<u8, MountError> {
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
    fn undo_mount(&self) -> String {
        let dir = shown(&self.real.dir);
        if self.request.options.has("remount") {
            return format!("{dir} stays mounted; see with 'findmnt {dir}' how");
        }
        if self.request.namespace.is_some() {
            return format!("see in its mount namespace whether {dir} is mounted");
        }
        if mounts_at(&self.path, &self.real.dir).len() <= self.before {
            return "nothing is mounted".to_owned();
        }
        match self.real.unmount() {
            Ok(status) if status.success() => "it was unmounted here".to_owned(),
            _ => format!("IT IS STILL MOUNTED on {dir} and could not be unmounted: do that now"),
        }
    }

    fn claim_request(&self, update_interval: u16) -> Result<ClaimRequest, MountError> {
        Ok(ClaimRequest {
            update_interval,
            check_interval: DEFAULT_CHECK_INTERVAL,
            names: our_names(&self.path),
            draw: random()?,
            patience: self.patience,
        })
    }

    /// A mount for writing: claimed before, or watched beside.
    fn writing(&mut self) -> Result<Attempt, MountError> {
        // All that is read is read before: from our last write on it must go fast.
        let mut device = Writer::open(&self.path)?;
        let superblock = device.superblock()?;
        let mut device = MmpDevice::with_superblock(device, &superblock)?;
        let reader = Reader::open(&self.path)?;
        let mut reader = MmpDevice::with_superblock(reader, &superblock)?;
        let area = *device.area();
        let mode = match self.request.options.mode {
            Mode::Strict => HandoverMode::Strict,
            Mode::Check => HandoverMode::Check,
            Mode::Guard | Mode::Off => HandoverMode::Guard,
        };
        let claim = self.claim_request(area.update_interval)?;
        let mut handover = Handover::new(mode, claim);
        if let Some(block) = self.orphan(&mut reader, mode) {
            handover = handover.after_fencing(block);
        }
        let outcome = self.drive(&mut handover, &mut device)?;
        let handed = match outcome {
            HandoverOutcome::HandOver(handed) => handed,
            HandoverOutcome::Refused { why, left_behind } => {
                return Err(self.refused(area.block, why, left_behind));
            }
        };
        // The kernel wants the device for itself.
        drop(device);
        let result = match reader.drop_stale_pages() {
            Ok(()) => self.hand_over(&handed, &mut reader),
            Err(error) => Err(error.into()),
        };
        if let (Handed::Unclean { block, original: Some(original), .. }, true) =
            (&handed, !matches!(result, Ok(Attempt::Ended(0))))
        {
            self.take_back(block, original)?;
        }
        result
    }

    /// The block as it is, if its writer was fenced after it wrote it and that is to count.
    fn orphan(&self, device: &mut MmpDevice<Reader>, mode: HandoverMode) -> Option<MmpBlock> {
        if !self.request.options.fenced || mode != HandoverMode::Guard {
            return None;
        }
        let area = *device.area();
        let block = device.read().ok().filter(|block| block.verify(area.checksum).is_ok())?;
        if !matches!(block.sequence(), Sequence::Active(_)) || block.is_by(&our_names(&self.path)) {
            return None;
        }
        match fenced_since(&block) {
            Ok(at) => {
                let holder = Holder(&block);
                self.say(&format!("last written by {holder}, which was fenced at {}; its heartbeat is not watched for", date(at)));
                Some(block)
            }
            Err(why) => {
                let node = block.nodename();
                self.say(&format!("no proof that node '{node}' was fenced: {why}"));
                None
            }
        }
    }

    fn take_back(&mut self, block: &MmpBlock, original: &MmpBlock) -> Result<(), MountError> {
        let mut device = MmpDevice::new(Writer::open(&self.path)?)?;
        let claim = self.claim_request(device.area().update_interval)?;
        let mut undo =
            Handover::new(HandoverMode::Strict, claim).take_back(block.clone(), original.clone());
        if let HandoverOutcome::Refused { left_behind: true, .. } =
            self.drive(&mut undo, &mut device)?
        {
            self.say("the MMP block is left not clean: the next mount waits two guard intervals");
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        handed: &Handed,
        device: &mut MmpDevice<Reader>,
    ) -> Result<Attempt, MountError> {
        if self.alarm.is_stopped() {
            return Err(self.interrupted("nothing is mounted"));
        }
        let mut child = self.start()?;
        let code = match handed {
            Handed::Unclean { block, since, .. } => {
                let interval = device.area().update_interval;
                let lookout = Lookout::new(block.clone(), *since, interval);
                self.tell_unclean(block, interval);
                match self.look_out(lookout, device, &mut child)? {
                    ControlFlow::Continue(code) => code,
                    ControlFlow::Break((block, after)) => match break_off(&mut child, &self.alarm)?
                    {
                        0 => Some(0),
                        _ => return self.changed(device, block, after),
                    },
                }
            }
            Handed::Guarded { .. } | Handed::Unguarded => {
                self.step("handed to mount");
                wait_for(&mut child, &self.alarm)?
            }
        };
        let code = self.ended(code)?;
        if code != 0 {
            return self.failed(device, handed, code);
        }
        if handed.needs_confirmation(now().instant) {
            self.confirm(device)?;
        }
        Ok(Attempt::Ended(0))
    }

    fn tell_unclean(&self, block: &MmpBlock, update_interval: u16) {
        let c = effective_interval(update_interval, block.check_interval());
        let wait = seconds_text(guard_interval(c));
        self.say(&format!(
            "not clean, last written by {}; the kernel waits {wait} twice before it mounts it",
            Holder(block),
        ));
    }

    /// Watches beside the mount. The mount's end with its code (none if told to stop), or why the
    /// mount must be broken off.
    fn look_out(
        &mut self,
        mut lookout: Lookout,
        device: &mut MmpDevice<Reader>,
        child: &mut Child,
    ) -> Result<ControlFlow<(MmpBlock, Duration), Option<u8>>, MountError> {
        let alarm = self.alarm.again()?;
        let watched = drive(&mut lookout, device, &alarm, |lookout| {
            self.line.show(lookout.phase(), now().instant);
            match child.try_wait() {
                Ok(None) => ControlFlow::Continue(()),
                ended => ControlFlow::Break(ended),
            }
        })?;
        match watched {
            ControlFlow::Break(ended) => return Ok(ControlFlow::Continue(ended?)),
            ControlFlow::Continue(LookoutOutcome::Changed { block, after }) => {
                return Ok(ControlFlow::Break((block, after)));
            }
            ControlFlow::Continue(LookoutOutcome::Stopped) => {}
            ControlFlow::Continue(LookoutOutcome::Quiet) => {
                self.step("nobody else wrote it during the kernel's first wait");
            }
        }
        Ok(ControlFlow::Continue(wait_for(child, &self.alarm)?))
    }

    fn changed(
        &self,
        device: &MmpDevice<Reader>,
        block: MmpBlock,
        after: Duration,
    ) -> Result<Attempt, MountError> {
        let verdict = match block.sequence() {
            Sequence::Clean => return Ok(Attempt::Again),
            Sequence::Fsck => Verdict::Fsck { block },
            Sequence::Active(_) => Verdict::InUse { block, after },
            Sequence::Unknown(_) => Verdict::Unknown { block },
        };
        Err(self.refused(device.area().block, Refusal::NotSafe(verdict), false))
    }

    /// The real mount has said why it failed, except that the kernel does not say who was faster.
    fn failed(
        &mut self,
        device: &mut MmpDevice<Reader>,
        handed: &Handed,
        code: u8,
    ) -> Result<Attempt, MountError> {
        let before = match handed {
            Handed::Unclean { block, .. } => Some(block),
            Handed::Guarded { .. } | Handed::Unguarded => None,
        };
        match device.read() {
            Ok(block)
                if matches!(block.sequence(), Sequence::Active(_)) && before != Some(&block) =>
            {
                Err(MountError::Taken { path: self.path.clone(), block })
            }
            _ => Ok(Attempt::Ended(code)),
        }
    }

    /// Whether the kernel here has stopped writing the block, and so left it clean itself: because
    /// of somebody on this machine, who unmounted it or made it read-only.
    fn was_left_here(&self) -> std::io::Result<bool> {
        if self.request.namespace.is_some() {
            return Ok(false);
        }
        self.alarm.wait(now().instant + POLL, false)?;
        let mounts = mounts_at(&self.path, &self.real.dir);
        Ok(mounts.len() <= self.before || mounts.iter().all(|mount| mount.read_only))
    }

    /// Somebody else may have been let in: is our mount the only one?
    fn confirm(&mut self, device: &mut MmpDevice<Reader>) -> Result<(), MountError> {
        self.say(
            "mounted, but not within the time that was guarded; watching that nobody else did",
        );
        let mut confirm = Confirm::new(device.area().update_interval);
        let path = self.path.clone();
        match self.drive(&mut confirm, device)? {
            Confirmation::Alone => {
                self.step("nobody else writes the MMP block");
                Ok(())
            }
            Confirmation::SecondWriter { other, .. }
                if other.sequence() == Sequence::Clean && self.was_left_here()? =>
            {
                Err(MountError::Left(path))
            }
            Confirmation::SecondWriter { one, other } => {
                let outcome = self.undo_mount();
                Err(MountError::SecondWriter { path, one, other, outcome })
            }
            Confirmation::Unreadable(error) => {
                let outcome = self.undo_mount();
                Err(MountError::Unconfirmed { path, error, outcome })
            }
            Confirmation::Stopped => {
                let outcome = self.undo_mount();
                Err(MountError::Interrupted { path, outcome })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_is_what_mount_makes_of_flags_and_options() {
        let request = |flags, options: &str| Request {
            spec: "/dev/sdb".into(),
            dir: "/mnt".into(),
            fstype: "ext4".into(),
            options: Options::parse(options.as_ref()).expect("valid"),
            flags,
            namespace: None,
            program: "mount.mmp",
        };
        let read_only = Flags { read_only: true, ..Flags::default() };
        let read_write = Flags { read_write: true, ..Flags::default() };
        assert!(request(read_only, "").read_only());
        assert!(request(Flags::default(), "ro").read_only());
        assert!(!request(read_write, "").read_only());
        // What mounts for writing whatever else is said must be claimed.
        assert!(!request(read_only, "rw").read_only());
        assert!(!request(read_write, "ro").read_only());
    }
}
