//! The programs themselves on devices that fail: errors, short transfers, a device that hangs or
//! vanishes, and the programs killed at any moment. After each, e2fsck finds nothing.
//!
//! A device is an image on a file system of the test's own (FUSE), opened with O_DIRECT as every
//! other. The image below it is another path to the same disk.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod errors;
mod fencing;
mod hanging;
mod kills;
mod load;
mod tune;

use std::ffi::OsStr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::GUARD;
use common::program::{Running, command_of, held};
use common::suite::{Need, Suite};
use nix::unistd::Pid;

/// How late a step may be on a loaded machine.
const SLACK: Duration = Duration::from_secs(5);

/// How long after the lease a command may live.
const HALF: Duration = Duration::from_millis(500);

/// A command that only SIGKILL ends.
const STUBBORN: &str = "trap '' TERM; exec sleep 300";

/// `mmprun` with a command that stays, once that runs; and the command's process.
fn running(device: &Path) -> (Running, Pid) {
    running_with(&[], device, "exec sleep 300")
}

/// The same with options, and what the shell is to run.
fn running_with(options: &[&str], device: &Path, script: &str) -> (Running, Pid) {
    let script = format!("echo pid=$$ >&2; {script}");
    let begin = [&["--grace", "1s"], options].concat();
    let end = ["--", "sh", "-c", &script];
    let arguments = begin.iter().map(OsStr::new).chain([device.as_os_str()]);
    let arguments: Vec<&OsStr> = arguments.chain(end.iter().map(OsStr::new)).collect();
    let mut holder = Running::start("mmprun", &arguments);
    holder.wait_for("pid=", 3 * GUARD);
    let pid = command_of(&holder.err());
    (holder, pid)
}

fn wait_until(what: &str, at_most: Duration, met: impl Fn() -> bool) {
    let deadline = Instant::now() + at_most;
    while !met() {
        assert!(Instant::now() < deadline, "not within {at_most:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[Need::Root, Need::E2fsprogs, Need::Fuse]);
    errors::cases(&mut suite);
    fencing::cases(&mut suite);
    hanging::cases(&mut suite);
    kills::cases(&mut suite);
    load::cases(&mut suite);
    tune::cases(&mut suite);
    suite.run(64)
}
