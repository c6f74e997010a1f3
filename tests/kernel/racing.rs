//! Two claimers at once, in real time.

use std::thread;
use std::time::{Duration, Instant};

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
/// over; the other says which one did, and leaves the block to it.
///
/// Which one is open: the second may find the first one's claim, see it unchanged through the
/// guard interval, and claim in the instant before the first heartbeat. Then either the first has
/// verified already, and defends; or it sees that it has lost, and the second waits once more.
fn one_wins(apart: Duration) {
    let Shared { image: _image, a, b } = Shared::new();
    let observer = Observer::start(a.path());
    let first = Running::start("mmpd", &["hold", a.name()]);
    thread::sleep(apart);
    let second = Running::start("mmpd", &["hold", b.name()]);
    let holds = |claimer: &Running| claimer.err().contains(": held\n");
    let deadline = Instant::now() + 2 * GUARD + SLACK;
    while !holds(&first) && !holds(&second) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(SLACK);
    let (mut winner, won_by, loser, lost_by) = match (holds(&first), holds(&second)) {
        (true, false) => (first, &a, second, &b),
        (false, true) => (second, &b, first, &a),
        _ => panic!("not one winner: {}{}", first.err(), second.err()),
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
