//! The programs themselves on devices that fail: errors, short transfers, a device that hangs or
//! vanishes, and the programs killed at any moment. After each, e2fsck finds nothing.
//!
//! A device is an image on a file system of the test's own (FUSE), opened with O_DIRECT as every
//! other. The image below it is another path to the same disk.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod disk;
mod errors;
mod hanging;
mod kills;
mod load;
mod tune;

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use common::program::Running;
use common::suite::{Need, Suite};
use nix::unistd::Pid;

/// The guard interval at the default update interval.
const GUARD: Duration = Duration::from_secs(11);
/// How late a step may be on a loaded machine.
const SLACK: Duration = Duration::from_secs(5);

/// `mmpd hold`, once it holds the device.
fn held(device: &Path) -> Running {
    let mut holder = Running::start("mmpd", &["hold".as_ref(), device.as_os_str()]);
    holder.wait_for(": held\n", 3 * GUARD);
    holder
}

/// `mmprun` with a command that stays, once that runs; and the command's process.
fn running(device: &Path) -> (Running, Pid) {
    let stays = ["--grace", "1s", "--", "sh", "-c", "echo pid=$$ >&2; exec sleep 300"];
    let mut arguments = vec![device.as_os_str()];
    arguments.extend(stays.iter().map(OsStr::new));
    let mut holder = Running::start("mmprun", &arguments);
    holder.wait_for("pid=", 3 * GUARD);
    let err = holder.err();
    let pid = err.lines().find_map(|line| line.strip_prefix("pid=")).expect("pid");
    (holder, Pid::from_raw(pid.parse().expect("number")))
}

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[Need::Root, Need::E2fsprogs, Need::Fuse]);
    errors::cases(&mut suite);
    hanging::cases(&mut suite);
    kills::cases(&mut suite);
    load::cases(&mut suite);
    tune::cases(&mut suite);
    suite.run(64)
}
