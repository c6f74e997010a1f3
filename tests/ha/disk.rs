//! The disk is pulled from the node that has the target: its path fails, or hangs.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::cluster::{
    FENCED, START, THINK, UNFENCED, boot, cib, switch, target, wait, with_switch,
};
use crate::common::faulty::Fault;
use crate::common::suite::Suite;
use crate::pair::Pair;
use crate::{SLACK, tell};

/// Seconds: of the monitor, and how long it and a stop may take.
const INTERVAL: u32 = 10;
const TIMEOUT: u32 = 20;

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("disk: pulled, and its path fails: moved, without fencing", fails);
    suite.case("disk: pulled, and its path hangs: fenced, then moved", hangs);
}

fn resource(pair: &Pair) -> String {
    let timeout = format!("timeout=\"{TIMEOUT}s\"");
    target(pair, 0, 120, INTERVAL).replace("timeout=\"60s\"", &timeout)
}

/// What a crash leaves is watched for a guard interval and claimed for another.
fn takeover(pair: &Pair) -> Duration {
    pair.guard(0) * 2 + THINK + SLACK
}

fn write(pair: &Pair, which: usize) {
    pair.sh(which, &format!("echo precious > {0}/file; sync {0}/file", pair.dir(0)));
    // Beyond the first heartbeat.
    thread::sleep(Duration::from_secs(6));
}

fn fails() {
    let mut pair = Pair::with_cables(1);
    let cib = cib(&UNFENCED, &resource(&pair));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    pair.wait("it is mounted", START, || pair.has(0, 0) || pair.has(1, 0));
    let old = usize::from(pair.has(1, 0));
    let new = 1 - old;
    write(&pair, old);
    pair.pull(old, 0, Fault::Error(Errno::EIO));
    let pulled = Instant::now();
    let state = || pair.run(new, &["crm_mon", "-1"]).out;
    let within = Duration::from_secs(INTERVAL.into()) + THINK;
    pair.wait("the monitor fails", within, || state().contains("Failed Resource Actions"));
    tell("pacemaker: disk pulled to a failed monitor (interval 10 s)", pulled);
    pair.await_mount(new, 0, takeover(&pair));
    tell("pacemaker: disk pulled to mount on the other node", pulled);
    assert!(!pair.has(old, 0), "{}", pair.logs());
    assert_eq!(pair.sh(new, &format!("cat {}/file", pair.dir(0))), "precious\n");
    pair.end();
}

fn hangs() {
    let mut pair = Pair::with_cables(1);
    let cib = cib(&FENCED, &(switch(&pair) + &resource(&pair)));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    let (pair, ()) = with_switch(pair, Pair::power_off, |pair| {
        wait(pair, "it is mounted", START, |pair| pair.has(0, 0) || pair.has(1, 0));
        let old = usize::from(pair.lock().expect("lock").has(1, 0));
        let new = 1 - old;
        write(&pair.lock().expect("lock"), old);
        pair.lock().expect("lock").pull(old, 0, Fault::Hang);
        let pulled = Instant::now();
        // The monitor and the stop each run into their timeout.
        let given_up = Duration::from_secs((INTERVAL + 2 * TIMEOUT).into()) + 3 * THINK;
        let is_off = |pair: &Pair| !pair.is_up(old);
        wait(pair, "it is fenced", given_up, is_off);
        tell("pacemaker: disk hangs to fenced (monitor and stop 20 s each)", pulled);
        let takeover = takeover(&pair.lock().expect("lock"));
        wait(pair, "it has moved", takeover, |pair| pair.has(new, 0));
        tell("pacemaker: disk hangs to mount on the other node", pulled);
        let pair = pair.lock().expect("lock");
        assert_eq!(pair.sh(new, &format!("cat {}/file", pair.dir(0))), "precious\n");
    });
    pair.end();
}
