//! One mount, from the first look to the last: which course it takes, and how often.

use super::error::MountError;
use super::mounting::{Attempt, Mounting};
use super::options::Mode;
use super::real::wait_for;
use super::remount::mounted_source;
use super::request::Request;
use super::source::Source;
use crate::daemon::{Interrupt, Sleeper, now};
use crate::device::{Writer, image_behind};
use crate::protocol::POLL;
use crate::report::exit::MOUNT_FAILED;
use crate::report::seconds_text;

/// Mounts; returns the exit code of the real mount.
pub fn mount(mut request: Request, interrupt: &Interrupt) -> Result<u8, MountError> {
    if request.flags.fake || request.options.mode == Mode::Off {
        let real = request.real(request.spec.clone().into());
        let sleeper = Sleeper::new(interrupt.stop())?;
        let mut child = real.start().map_err(MountError::CannotRun)?;
        return Ok(wait_for(&mut child, &sleeper)?.unwrap_or(MOUNT_FAILED));
    }
    let remount = request.options.has("remount");
    if !remount && request.namespace.is_none() && !request.dir.is_dir() {
        return Err(MountError::NoMountPoint(request.dir));
    }
    let read_only = request.read_only();
    let source = match remount {
        true => mounted_source(&request)?,
        false => Source::open(&request.spec, &mut request.options, read_only)?,
    };
    let path = source.path();
    let name = image_behind(path).unwrap_or_else(|| path.to_owned());
    let mut mounting = Mounting::new(&request, path, &name, interrupt)?;
    let done = if remount { mounting.remount(read_only) } else { mounting.run(read_only) };
    done.map_err(|error| match error {
        MountError::Device(error) => MountError::Device(error.named(&name)),
        error => error,
    })
}

impl Mounting<'_> {
    fn run(&mut self, read_only: bool) -> Result<u8, MountError> {
        loop {
            let attempt = if read_only { self.reading() } else { self.writing() };
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
                self.sleeper.wait(now().instant + POLL, true)?;
                if self.sleeper.is_stopped() {
                    return Err(self.interrupted("nothing was left"));
                }
                match Writer::open(&self.path) {
                    Err(error) if error.is_busy() => {}
                    _ => break,
                }
            }
            return Ok(());
        }
        self.check(false).map(drop)
    }

    /// A read-only mount: the kernel looks at no MMP block but may replay a journal that is in
    /// use. Nothing is written, so nobody is kept from claiming at the same moment.
    fn reading(&mut self) -> Result<Attempt, MountError> {
        let mut device = self.check(self.request.options.mode != Mode::Check)?;
        device.drop_stale_pages()?;
        self.step("nobody is seen to use it; mounting read-only");
        let mut child = self.start()?;
        self.ended(wait_for(&mut child, &self.sleeper)?).map(Attempt::Ended)
    }
}
