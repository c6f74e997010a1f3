//! Carries out what a machine of the protocol asks for, on a real device and in real time.

use std::io;
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::clock::{Alarm, Woken, now};
use crate::device::{MmpDevice, Reader, Writer};
use crate::protocol::{Action, Event, IoFault, Machine, NeverWrites, ReadError, ReadResult, Write};

/// Where a machine's reads and writes go. `W` is what it may write: a reader serves only machines
/// that never do.
pub trait BlockIo<W> {
    /// Reads and verifies the block.
    fn read(&mut self) -> ReadResult;
    /// Writes the block.
    fn write(&mut self, write: W) -> Result<(), IoFault>;
}

fn fault(error: &io::Error) -> IoFault {
    IoFault(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

fn read<D: AsMut<Reader>>(device: &mut MmpDevice<D>) -> ReadResult {
    let block = device.read().map_err(|error| ReadError::Io(fault(&error)))?;
    match block.verify(device.area().checksum) {
        Ok(()) => Ok(block),
        Err(why) => Err(ReadError::Invalid { block, why }),
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

/// Runs a machine until it is done, or until `observe`, called after each step, breaks it off. An
/// `observe` that breaks with [`std::convert::Infallible`] never does.
pub fn drive<M: Machine, B>(
    machine: &mut M,
    device: &mut impl BlockIo<M::Write>,
    alarm: &Alarm,
    mut observe: impl FnMut(&mut M) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B, M::Outcome>> {
    let mut event = Event::Begin;
    let mut heed_stop = true;
    loop {
        let action = machine.on(event, now());
        if let ControlFlow::Break(why) = observe(machine) {
            return Ok(ControlFlow::Break(why));
        }
        event = match action {
            Action::Done(outcome) => return Ok(ControlFlow::Continue(outcome)),
            Action::Read => {
                let submitted = now().instant;
                Event::Read { submitted, result: device.read() }
            }
            Action::Write(write) => {
                let submitted = now().instant;
                Event::Wrote { submitted, result: device.write(write) }
            }
            Action::Wait(until) => match alarm.wait(until, heed_stop)? {
                Woken::Timer => Event::Timer,
                Woken::Stop => {
                    heed_stop = false;
                    Event::Stop
                }
            },
        };
    }
}
