//! Real clusters of two nodes, in namespaces on this machine: Heartbeat v1 and Pacemaker with
//! corosync. Started by `tests/ha/run`, which installs them.
//!
//! Each case has a pair of nodes of its own, and a referee that watches that never two mount. Nearly
//! all of the time everybody waits, so the cases run side by side.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod cluster;
mod control;
mod disk;
mod guide;
mod heartbeat;
mod moving;
mod pacemaker;
mod pair;
mod referee;
mod stonith;

use std::time::{Duration, Instant};

use common::suite::{Need, Suite};

/// The guard interval at the default update interval, if the last user was not a kernel.
const GUARD: Duration = Duration::from_secs(11);
/// What is promised beyond dead time and guard intervals, and as much again for cluster managers
/// that start many programs, on a machine that does so for several clusters at a time.
const SLACK: Duration = Duration::from_secs(4);

/// How often a split is tried: often if asked to, else a few times.
fn tries() -> usize {
    std::env::var("MMP_HA_TRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// Says how long something took, which docs/failover.md quotes.
fn tell(what: &str, since: Instant) -> Duration {
    let took = since.elapsed();
    println!("    {what}: {:.1} s", took.as_secs_f64());
    took
}

fn main() -> std::process::ExitCode {
    let needs = [Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4, Need::Fuse];
    let mut suite = Suite::new(&needs);
    heartbeat::cases(&mut suite);
    pacemaker::cases(&mut suite);
    stonith::cases(&mut suite);
    moving::cases(&mut suite);
    control::cases(&mut suite);
    guide::cases(&mut suite);
    // Last: while a disk hangs, no Heartbeat of another case starts, for it begins with sync(2),
    // which waits for every disk of the kernel that all nodes share.
    disk::cases(&mut suite);
    suite.run(8)
}
