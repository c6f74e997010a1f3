//! Heartbeat v1: haresources, no cluster resource manager.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::program::tool;
use crate::common::suite::Suite;
use crate::pair::{Pair, address};
use crate::{GUARD, SLACK, guide, tell, tries};

/// `deadtime` and `initdead` of ha.cf.
const DEAD: Duration = Duration::from_secs(8);
const INIT_DEAD: Duration = Duration::from_secs(12);
/// How long a first start may take: the nodes find each other or give up, and mount.
pub(crate) const START: Duration = Duration::from_secs(60);
const TOOLS: &str = "/usr/share/heartbeat";

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("heartbeat: active/passive: death, failback, clean stop", || {
        active_passive(Pair::kill);
    });
    suite.case("heartbeat: active/passive: crash", || active_passive(Pair::crash));
    suite.case("heartbeat: active/active: death, failback, clean stop", active_active);
    suite.case("heartbeat: the old node is still unmounting", slow_unmount);
    for number in 1..=tries() {
        suite.case(format!("heartbeat: split brain, try {number}"), split_brain);
    }
}

/// The line of haresources for the first target.
fn line(pair: &Pair, options: &str) -> String {
    let (name, device, dir) = (&pair.names[0], pair.device(0), pair.dir(0));
    format!("{name} mmp-target::{device}::{dir}::ext4::{options}\n")
}

/// Boots a node and starts Heartbeat on it, after whatever else must be prepared there.
pub(crate) fn boot(pair: &mut Pair, which: usize, resources: &str, prepare: impl Fn(&Pair)) {
    pair.boot(which);
    prepare(pair);
    let cf = guide::block("deadtime 8", pair)
        .replace("initdead 60", &format!("initdead {}\nrealtime off", INIT_DEAD.as_secs()))
        .replace("eth1 10.77.0.2", &format!("eth0 {}", address(1 - which)));
    pair.write(which, "/etc/ha.d/ha.cf", &cf);
    pair.write(which, "/etc/ha.d/haresources", resources);
    pair.write(which, "/etc/ha.d/authkeys", "auth 1\n1 sha1 secret\n");
    pair.sh(which, "ulimit -l unlimited; /usr/libexec/heartbeat/heartbeat >/dev/null 2>&1");
}

pub(crate) fn stop(pair: &Pair, which: usize) {
    pair.sh(which, "/usr/libexec/heartbeat/heartbeat -k");
}

/// Waits until a node that was booted has joined the other and the two have settled who has what:
/// before that, Heartbeat hears no request to move anything.
fn await_joined(pair: &Pair, which: usize) {
    let settled = "grep -q 'Initial resource acquisition complete' /var/log/ha-log";
    pair.wait("it has joined", START, || pair.run(which, &["sh", "-c", settled]).code == 0);
    thread::sleep(Duration::from_secs(5));
}

fn active_passive(die: impl FnOnce(&mut Pair, usize)) {
    let mut pair = Pair::new(1);
    let resources = guide::block("mmp-target::", &pair);
    let resources = resources.lines().next().expect("a line").to_owned() + "\n";
    boot(&mut pair, 0, &resources, |_| {});
    boot(&mut pair, 1, &resources, |_| {});
    pair.await_mount(0, 0, START);
    pair.sh(0, &format!("echo precious > {0}/file; sync {0}/file", pair.dir(0)));
    // Owned for more than a moment, as in life: the block asks for the longer guard interval.
    thread::sleep(Duration::from_secs(6));

    die(&mut pair, 0);
    let died = Instant::now();
    let stale = pair.image(0).block().sequence() != mmp::layout::Sequence::Clean;
    let guards = pair.guard(0) * if stale { 2 } else { 1 };
    pair.await_mount(1, 0, DEAD + guards + SLACK);
    tell(&format!("heartbeat: death to mount (dead time 8 s, {guards:?} guarded)"), died);
    assert_eq!(pair.sh(1, &format!("cat {}/file", pair.dir(0))), "precious\n");

    // Repaired, it does not take the target back by itself; told to, it does.
    boot(&mut pair, 0, &resources, |_| {});
    await_joined(&pair, 0);
    assert!(pair.has(1, 0) && !pair.has(0, 0));
    let asked = Instant::now();
    pair.sh(0, &guide::command("/usr/share/heartbeat/hb_takeover", &pair));
    pair.await_mount(0, 0, START);
    tell("heartbeat: hb_takeover to mount", asked);
    // A transition has to be over before another is heard.
    thread::sleep(Duration::from_secs(5));
    let asked = Instant::now();
    pair.sh(0, &guide::command("/usr/share/heartbeat/hb_standby", &pair));
    pair.await_mount(1, 0, START);
    tell("heartbeat: hb_standby to mount", asked);
    assert_eq!(pair.sh(1, &format!("cat {}/file", pair.dir(0))), "precious\n");

    stop(&pair, 0);
    stop(&pair, 1);
    pair.wait("it is unmounted", START, || !pair.has(1, 0));
    let log = pair.sh(1, "cat /var/log/ha-log");
    for word in ["mmptarget: ", ": mounted on ", ": unmounted; its MMP block is clean"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    pair.finish();
}

fn active_active() {
    let mut pair = Pair::new(2);
    let resources = guide::block("mmp-target::", &pair);
    boot(&mut pair, 0, &resources, |_| {});
    boot(&mut pair, 1, &resources, |_| {});
    pair.await_mount(0, 0, START);
    pair.await_mount(1, 1, START);
    pair.sh(1, &format!("echo precious > {0}/file; sync {0}/file", pair.dir(1)));
    thread::sleep(Duration::from_secs(6));

    pair.kill(1);
    let died = Instant::now();
    let guard = pair.guard(1);
    pair.await_mount(0, 1, DEAD + guard + SLACK);
    tell(&format!("heartbeat: death to mount, active/active (guard {guard:?})"), died);
    assert!(pair.has(0, 0), "its own target was not touched");
    assert_eq!(pair.sh(0, &format!("cat {}/file", pair.dir(1))), "precious\n");

    boot(&mut pair, 1, &resources, |_| {});
    await_joined(&pair, 1);
    pair.sh(1, &guide::command("/usr/share/heartbeat/hb_takeover local", &pair));
    pair.await_mount(1, 1, START);
    assert!(pair.has(0, 0));
    thread::sleep(Duration::from_secs(5));
    stop(&pair, 1);
    // A clean stop hands over.
    pair.await_mount(0, 1, START);
    stop(&pair, 0);
    pair.wait("all is unmounted", START, || !pair.has(0, 0) && !pair.has(0, 1));
    pair.finish();
}

/// The cluster manager is gone and the target is still being unmounted when the other node starts.
fn slow_unmount() {
    let mut pair = Pair::new(1);
    let resources = line(&pair, "mmp.wait=60");
    boot(&mut pair, 0, &resources, |_| {});
    boot(&mut pair, 1, &resources, |_| {});
    pair.await_mount(0, 0, START);
    thread::sleep(Duration::from_secs(6));
    // Only Heartbeat dies; what it had mounted stays, until it is unmounted at last.
    pair.sh(0, "pkill -9 heartbeat");
    let died = Instant::now();
    let log = || pair.sh(1, "cat /var/log/ha-log");
    pair.wait("the other node tries", DEAD + SLACK, || {
        log().contains("mmp-target") && log().contains(" start")
    });
    // What happens today: refused, and the resource failed.
    let (device, dir) = (pair.path(1, 0), pair.folder().join("plain"));
    std::fs::create_dir(&dir).expect("create");
    let plain = crate::common::program::run(
        "mount",
        &["-t", "ext4", device.name(), dir.to_str().expect("UTF-8")],
    );
    assert_eq!(plain.code, 32, "{}", plain.said());
    assert!(!pair.has(1, 0));
    pair.sh(0, &format!("umount {}", pair.dir(0)));
    let released = Instant::now();
    let guard = pair.guard(0);
    pair.await_mount(1, 0, guard + Duration::from_secs(1) + SLACK);
    tell("heartbeat: unmounted at last to mount", released);
    tell("heartbeat: of which since the death", died);
    stop(&pair, 1);
    pair.wait("it is unmounted", START, || !pair.has(1, 0));
    pair.finish();
}

/// Both nodes lose sight of each other before either has the target, and both try to take it.
fn split_brain() {
    let mut pair = Pair::new(1);
    pair.connect(false);
    // Both give the other up after `initdead`, and each takes what is its own and the other's.
    let resources = line(&pair, "mmp.mode=guard");
    boot(&mut pair, 0, &resources, |_| {});
    boot(&mut pair, 1, &resources, |_| {});
    let one = || pair.has(0, 0) || pair.has(1, 0);
    pair.wait("one has it", START, one);
    let winner = usize::from(pair.has(1, 0));
    let loser = 1 - winner;
    let log = || pair.sh(loser, "cat /var/log/ha-log");
    if !log().contains(" start\n") {
        // Its scripts write to Heartbeat's FIFO in pieces, and now and then two at a time: then it
        // does not understand itself, and this is what it would have run.
        println!("    heartbeat: split brain: {} lost its own message", pair.names[loser]);
        let take = format!(
            "HA_CURHOST={} HA_RESOURCEDIR=/etc/ha.d/resource.d HA_LOGFILE=/var/log/ha-log \
             HA_DEBUGLOG=/var/log/ha-log {TOOLS}/ResourceManager takegroup mmp-target::{}::{}::ext4::mmp.mode=guard",
            pair.names[loser],
            pair.device(0),
            pair.dir(0),
        );
        pair.run(loser, &["sh", "-c", &take]);
    }
    pair.wait("the other is refused", START, || log().contains("in use by node"));
    // Well beyond anything that was still going on.
    thread::sleep(2 * GUARD);
    assert!(pair.has(winner, 0) && !pair.has(loser, 0), "{}", pair.logs());
    println!("    heartbeat: split brain: {} has it", pair.names[winner]);
    let monitor = pair.run(
        winner,
        &[
            "mmptarget",
            "monitor",
            "--node",
            tool("uname", &["-n"]).trim(),
            &pair.device(0),
            &pair.dir(0),
        ],
    );
    assert_eq!(monitor.code, 0, "{}", monitor.said());
    pair.end();
}
