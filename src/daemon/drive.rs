//! Carries out what a machine of the protocol asks for, on a real device and in real time.

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::clock::{Sleeper, Woken, now};
use crate::device::{MmpDevice, Reader, Writer};
use crate::protocol::{
    Action, Event, Instant, IoFault, Machine, NeverWrites, ReadError, ReadResult, Write,
};

/// Where a machine's reads and writes go. `W` is what it may write: a reader serves only machines
/// that never do.
pub trait BlockIo<W> {
    /// Reads and verifies the block.
    fn read(&mut self) -> ReadResult;
    /// Writes the block.
    fn write(&mut self, write: W) -> Result<(), IoFault>;
}

/// The device's fault. One that ends where there was more before is gone.
pub(super) fn fault(error: &io::Error) -> IoFault {
    let ended = error.kind() == io::ErrorKind::UnexpectedEof;
    let other = if ended { Errno::ENXIO } else { Errno::EIO };
    IoFault(error.raw_os_error().unwrap_or(other as i32))
}

/// The block, if it is a valid one.
pub(super) fn read<D: AsMut<Reader>>(device: &mut MmpDevice<D>) -> ReadResult {
    let block = device.read().map_err(|error| ReadError::Io(fault(&error)))?;
    match block.verify(device.area().checksum) {
        Ok(()) => Ok(block),
        Err(why) => Err(ReadError::Invalid { block: Box::new(block), why }),
    }
}

impl<D: AsMut<Reader>> BlockIo<NeverWrites> for MmpDevice<D> {
    fn read(&mut self) -> ReadResult {
        read(self)
    }

    fn write(&mut self, write: NeverWrites) -> Result<(), IoFault> {
        match write {}
    }
}

impl BlockIo<Write> for MmpDevice<Writer> {
    fn read(&mut self) -> ReadResult {
        read(self)
    }

    fn write(&mut self, write: Write) -> Result<(), IoFault> {
        MmpDevice::write(self, &write.block, write.flush).map_err(|error| fault(&error))
    }
}

/// How far a machine has come.
#[derive(Debug)]
pub enum Step<O, B> {
    /// It waits until then; with `heed_stop`, it must also be told of a stop.
    Wait {
        /// When it wants to go on.
        until: Instant,
        /// Whether a stop ends the wait.
        heed_stop: bool,
    },
    /// The matter is settled.
    Done(O),
    /// The observer broke it off.
    Broken(B),
}

/// What a machine is to be told next: all that must be kept while it waits.
#[derive(Debug)]
pub struct Driver {
    event: Event,
    heed_stop: bool,
}

impl Driver {
    /// For a machine not yet begun.
    pub fn new() -> Self {
        Driver { event: Event::Begin, heed_stop: true }
    }

    /// Notes how a wait ended.
    pub(crate) fn wake(&mut self, woken: Woken) {
        self.event = match woken {
            Woken::Timer => Event::Timer,
            Woken::Stop => {
                self.heed_stop = false;
                Event::Stop
            }
        };
    }

    /// Runs a machine until it waits or is done, or until `observe`, called after each step,
    /// breaks it off. It reads and writes, and so may hang.
    pub fn run<M: Machine, B>(
        &mut self,
        machine: &mut M,
        device: &mut impl BlockIo<M::Write>,
        mut observe: impl FnMut(&mut M) -> ControlFlow<B>,
    ) -> Step<M::Outcome, B> {
        loop {
            let action = machine.on(std::mem::replace(&mut self.event, Event::Timer), now());
            if let ControlFlow::Break(why) = observe(machine) {
                return Step::Broken(why);
            }
            self.event = match action {
                Action::Done(outcome) => return Step::Done(outcome),
                Action::Wait(until) => return Step::Wait { until, heed_stop: self.heed_stop },
                Action::Read => {
                    let submitted = now().instant;
                    Event::Read { submitted, result: device.read() }
                }
                Action::Write(write) => {
                    let submitted = now().instant;
                    Event::Wrote { submitted, result: device.write(write) }
                }
            };
        }
    }
}

impl Default for Driver {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a machine until it is done; `observe` is called after each step.
pub fn drive<M: Machine>(
    machine: &mut M,
    device: &mut impl BlockIo<M::Write>,
    sleeper: &Sleeper,
    mut observe: impl FnMut(&M),
) -> io::Result<M::Outcome> {
    let ControlFlow::Continue(outcome) = drive_until(machine, device, sleeper, |machine| {
        observe(machine);
        ControlFlow::<Infallible>::Continue(())
    })?;
    Ok(outcome)
}

/// The same, until `observe` breaks it off.
pub fn drive_until<M: Machine, B>(
    machine: &mut M,
    device: &mut impl BlockIo<M::Write>,
    sleeper: &Sleeper,
    mut observe: impl FnMut(&mut M) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B, M::Outcome>> {
    let mut driver = Driver::new();
    loop {
        match driver.run(machine, device, &mut observe) {
            Step::Wait { until, heed_stop } => driver.wake(sleeper.wait(until, heed_stop)?),
            Step::Done(outcome) => return Ok(ControlFlow::Continue(outcome)),
            Step::Broken(why) => return Ok(ControlFlow::Break(why)),
        }
    }
}
