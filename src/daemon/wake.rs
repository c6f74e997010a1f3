//! Waking a thread that waits for descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A descriptor that is readable once it was rung, until it is quieted.
#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Bell(EventFd::from_value_and_flags(0, flags)?))
    }

    pub(super) fn ring(&self) {
        // Fails only when the counter is full, and then it is readable already.
        let _ = self.0.write(1);
    }

    pub(super) fn quiet(&self) -> io::Result<()> {
        match self.0.read() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of these can be read. Who was woken looks what there is: a signal may end the
/// wait, too.
pub(super) fn wait_for(fds: &mut [PollFd<'_>], at_most: PollTimeout) -> io::Result<()> {
    match poll(fds, at_most) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
