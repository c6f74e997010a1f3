//! Ending in time although a device never answers.
//!
//! A thread that waits for a device cannot be killed, and a process with such a thread cannot end:
//! whoever waits for it (a shell, cron, systemd) waits for the device. So the work is done by a
//! child, which reports its exit code on a pipe and lets go of its outputs; the parent ends then.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdout, write};

/// Set for the child.
const VARIABLE: &str = "MMP_LIFELINE";

/// Does `work` in a child of this process, which runs the same program with the same arguments;
/// its exit code. The child, and a process that cannot start one, do the work themselves.
pub fn survive(work: impl FnOnce() -> u8) -> u8 {
    if std::env::var_os(VARIABLE).is_some() {
        // Who has killed the parent wants no answer.
        let _ = prctl::set_pdeathsig(Signal::SIGTERM);
        let code = work();
        let _ = let_go(code);
        return code;
    }
    wait_for_child().unwrap_or_else(|_| work())
}

/// The pipe is the child's standard input. A thread that stays behind keeps all descriptors open:
/// a reader of our outputs must not have to wait for it.
fn let_go(code: u8) -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    write(io::stdin(), &[code])?;
    Ok(())
}

fn wait_for_child() -> io::Result<u8> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, "1").stdin(writer);
    let mut child = command.spawn()?;
    // The command keeps a writing end of the pipe.
    drop(command);
    let mut code = [0];
    match reader.read_exact(&mut code) {
        Ok(()) => Ok(code[0]),
        // It has died without an answer.
        Err(_) => {
            let status = child.wait()?;
            let code = status.code().or(status.signal().map(|signal| 128 + signal));
            Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
        }
    }
}
