//! The mount helper on the running kernel: loop devices, real mounts, real time.
//!
//! Guard intervals are real, so every case waits; they run side by side.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod clean;
mod ending;
mod lustre;
mod refusing;
mod stage;
mod unclean;

use std::time::Duration;

use common::GUARD;
use common::program::{Ended, assert_ended};
use common::suite::{Need, Suite};

/// What may be added to it: half a second is promised, half is for a machine with two cores on
/// which twenty cases run.
const SLACK: Duration = Duration::from_millis(1000);

#[track_caller]
fn assert_took(ended: &Ended, at_least: Duration, at_most: Duration) {
    let (took, said) = (ended.took, ended.said());
    assert!(
        (at_least..=at_most).contains(&took),
        "{took:?}, not {at_least:?}..{at_most:?}: {said}"
    );
}

fn main() -> std::process::ExitCode {
    let needs = [Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4];
    let mut suite = Suite::new(&needs);
    // Those that take longest begin first.
    lustre::cases(&mut suite);
    unclean::cases(&mut suite);
    clean::cases(&mut suite);
    ending::cases(&mut suite);
    refusing::cases(&mut suite);
    // More at a time, and their own load delays what is measured.
    suite.run(20)
}
