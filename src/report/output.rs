//! Writing to standard output and standard error without dying of it.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Milliseconds that a supervisor waits for whoever reads its messages.
const PATIENCE: u8 = 100;

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no error.
pub fn emit(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes one line to standard error, under the program's name. That nobody may be listening
/// changes nothing.
pub fn complain(program: &str, message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{program}: {message}");
}

/// Whether standard error takes a line at once. A pipe that nobody empties, or a stopped terminal,
/// would keep a supervisor from its work.
pub(super) fn is_listened_to() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::from(PATIENCE)) != Ok(0)
}
