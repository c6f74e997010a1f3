//! Two claimers at once, in real time.

use std::thread;
use std::time::Duration;

use super::common::disk::Observer;
use super::common::loops::Loop;
use super::common::program::Running;
use super::common::suite::Suite;
use super::{GUARD, SLACK, Shared};

pub(super) fn cases(suite: &mut Suite) {
    for millis in [0, 1, 20, 300, 5000, 10_500] {
        let name = format!("two_claimers_{millis}_ms_apart_one_wins");
        suite.case(name, move || one_wins(Duration::from_millis(millis)));
    }
}

/// The block is clean at the start. One claimer gets the device, not before the guard interval is
/// over; the other says which one did, and leaves the block to it. (It may see the winner's claim,
/// find it unchanged through the guard interval, and claim in the instant before the winner's first
/// heartbeat: then the winner defends, and the loser sees that.)
fn one_wins(apart: Duration) {
    let Shared { image: _image, a, b } = Shared::new();
    let observer = Observer::start(a.path());
    let first = Running::start("mmpd", &["hold", a.name()]);
    thread::sleep(apart);
    let second = Running::start("mmpd", &["hold", b.name()]);
    thread::sleep(GUARD + SLACK);
    let (mut winner, won_by, loser, lost_by) = match (first.err(), second.err()) {
        (a_said, b_said) if a_said.contains(": held\n") && !b_said.contains(": held\n") => {
            (first, &a, second, &b)
        }
        (a_said, b_said) if b_said.contains(": held\n") && !a_said.contains(": held\n") => {
            (second, &b, first, &a)
        }
        (a_said, b_said) => panic!("not one winner: {a_said}{b_said}"),
    };
    assert!(winner.wait_for(": held\n", SLACK) >= GUARD);
    let lost = loser.end(SLACK);
    assert_eq!(lost.code, 1, "{}", lost.err);
    assert!(lost.err.contains(&format!("device '{}'", won_by.kernel_name())), "{}", lost.err);
    // The loser claimed at most once, and what it wrote did not stay.
    let samples = observer.stop();
    let by =
        |device: &Loop| samples.iter().filter(|s| s.block.device() == device.kernel_name()).count();
    assert!(by(lost_by) <= 1 && by(won_by) >= 2, "{samples:?}");
    assert_eq!(samples.last().map(|s| s.block.device()).as_deref(), Some(won_by.kernel_name()));
}
