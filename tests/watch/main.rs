//! `mmpd watch` on the running kernel: real double mounts, freezes, errors, e2fsck; and nothing said
//! while all is well.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod double;
mod fsck;
mod healthy;
mod local;
mod telling;
mod terminal;

use std::path::Path;
use std::time::{Duration, Instant};

use common::program::Running;
use common::suite::{Need, Suite};

/// How often kmmpd writes.
const UPDATE: Duration = Duration::from_secs(5);
/// How long the kernel watches a block that kmmpd wrote.
const KERNEL_GUARD: Duration = Duration::from_secs(21);
/// How late a step may be on a machine that also compiles.
const SLACK: Duration = Duration::from_secs(2);

/// `mmpd watch` of one device, once it watches.
fn watch(device: &Path) -> Running {
    let mut watch = Running::start("mmpd", &["watch".as_ref(), device.as_os_str()]);
    watch.wait_for(": watched\n", 2 * UPDATE);
    watch
}

/// Waits for a line, at most so long after `event`.
#[track_caller]
fn told(watch: &mut Running, line: &str, event: Instant, at_most: Duration) {
    watch.wait_for(line, at_most.saturating_sub(event.elapsed()));
    println!("       {:.1} s until '{line}'", event.elapsed().as_secs_f64());
}

/// The alarms that were raised or cleared, by name.
fn alarms(err: &str) -> Vec<&str> {
    let lines = err.lines().filter(|line| !line.ends_with(": watched"));
    lines.filter_map(|line| line.split(": ").nth(2)).collect()
}

fn main() -> std::process::ExitCode {
    let needs =
        [Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4, Need::Fio, Need::Tmux];
    let mut suite = Suite::new(&needs);
    fsck::cases(&mut suite);
    double::cases(&mut suite);
    local::cases(&mut suite);
    healthy::cases(&mut suite);
    telling::cases(&mut suite);
    terminal::cases(&mut suite);
    suite.run(16)
}
