//! That the referee sees what it is there to see: the same split brain, without MMP's protection.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::suite::Suite;
use crate::heartbeat::{START, boot};
use crate::pair::Pair;

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("control: the referee sees a split brain that nobody prevents", unprevented);
}

/// A resource script that mounts whatever the MMP block says.
const RECKLESS: &str = "#!/bin/sh
case $3 in
start) tune2fs -f -E clear_mmp \"$1\" && mount -t ext4 \"$1\" \"$2\" ;;
stop) ! mountpoint -q \"$2\" || umount \"$2\" ;;
status) ! mountpoint -q \"$2\" || echo running ;;
esac
";

fn unprevented() {
    // Now and then Heartbeat garbles a message to itself ("NV failure"), and a node asks for nothing.
    let faults = (0..3).find_map(|_| split()).expect("no try in which both nodes have it");
    for fault in ["is mounted on both nodes", "both nodes' kernels wrote it"] {
        assert!(faults.iter().any(|told| told.contains(fault)), "{fault}: {faults:?}");
    }
}

/// What the referee tells of a split brain in which both nodes got the target.
fn split() -> Option<Vec<String>> {
    let mut pair = Pair::new(1);
    pair.connect(false);
    let resources = format!("oss1 reckless::{}::{}\n", pair.device(0), pair.dir(0));
    for which in [0, 1] {
        let script = |pair: &Pair| {
            pair.write(which, "/etc/ha.d/resource.d/reckless", RECKLESS);
            pair.sh(which, "chmod +x /etc/ha.d/resource.d/reckless");
        };
        boot(&mut pair, which, &resources, script);
    }
    let end = Instant::now() + START;
    while !(pair.has(0, 0) && pair.has(1, 0)) {
        if Instant::now() > end {
            return None;
        }
        thread::sleep(Duration::from_millis(200));
    }
    // Each kernel writes twice.
    thread::sleep(Duration::from_secs(12));
    Some(pair.faults())
}
