//! Pacemaker with corosync: the agent `ocf:mmp:target`.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::{Names, Sequence};

use crate::cluster::{
    DEAD, FENCED, START, THINK, UNFENCED, await_both, boot, both_online, cib, failures, host,
    shut_down, switch, target, wait, with_switch,
};
use crate::common::beside::beside;
use crate::common::suite::Suite;
use crate::pair::Pair;
use crate::{GUARD, SLACK, guide, tell, tries};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("pacemaker: ocf-tester", ocf_tester);
    suite.case("pacemaker: set up by crm: move, standby, clean stop", life);
    suite.case("pacemaker: active/active, node death with a power switch", node_death);
    // Right after a monitor, and right after the kernel's next write.
    for (interval, late) in [(10, 0), (20, 0), (10, 5500)] {
        let case = format!("pacemaker: frozen {late} ms after a monitor, asked every {interval} s");
        suite.case(case, move || frozen(interval, Duration::from_millis(late)));
    }
    suite.case("pacemaker: fails when another node writes the block", foreign);
    suite.case("pacemaker: the old node is still unmounting", slow_unmount);
    suite.case("pacemaker: refuses clones and timeouts that are too short", refusals);
    for number in 1..=tries() {
        suite.case(format!("pacemaker: split brain, try {number}"), split_brain);
    }
}

fn ocf_tester() {
    let mut pair = Pair::new(1);
    pair.boot(0);
    let agent = "/usr/lib/ocf/resource.d/mmp/target";
    let line = format!(
        "ocf-tester -n ost0 -o device={} -o directory={} -o fstype=ext4 -o node={} \
         -o CRM_meta_timeout=60000 {agent}",
        pair.device(0),
        pair.dir(0),
        host(),
    );
    let ended = pair.run(0, &["sh", "-c", &line]);
    assert!(ended.code == 0 && ended.out.contains("passed all tests"), "{}", ended.said());
    let lint =
        format!("{agent} meta-data | (cd /usr/share/resource-agents && xmllint --noout --valid -)");
    pair.sh(0, &lint);
    // A probe on a node that does not have the programs.
    let bare = format!(
        "rm /usr/sbin/mmptarget; OCF_ROOT=/usr/lib/ocf OCF_RESKEY_device=x OCF_RESKEY_directory=y \
         OCF_RESKEY_CRM_meta_interval=0 __OCF_ACTION=monitor {agent} monitor; echo $?"
    );
    assert_eq!(pair.sh(0, &bare), "7\n");
    pair.end();
}

fn life() {
    let mut pair = Pair::new(1);
    boot(&mut pair, 0, None);
    boot(&mut pair, 1, None);
    await_both(&pair);
    pair.sh(0, "crm configure property stonith-enabled=false");
    pair.sh(0, &guide::command("crm node standby oss2", &pair));
    pair.sh(0, &guide::block("crm configure load update - ", &pair));
    pair.sh(0, "crm_verify --live-check");
    pair.await_mount(0, 0, START);
    pair.sh(0, &guide::command("crm node online oss2", &pair));
    pair.sh(0, &format!("echo precious > {0}/file; sync {0}/file", pair.dir(0)));
    let asked = Instant::now();
    pair.sh(0, &guide::command("crm resource move ost0001 oss2", &pair));
    pair.await_mount(1, 0, START);
    tell("pacemaker: crm resource move to mount", asked);
    pair.sh(0, &guide::command("crm resource clear ost0001", &pair));
    let asked = Instant::now();
    pair.sh(0, &guide::command("crm node standby oss2", &pair));
    pair.await_mount(0, 0, START);
    tell("pacemaker: crm node standby to mount", asked);
    pair.sh(0, &guide::command("crm node online oss2", &pair));
    assert_eq!(pair.sh(0, &format!("cat {}/file", pair.dir(0))), "precious\n");
    pair.sh(0, "crm resource stop ost0001");
    pair.wait("it is unmounted", START, || !pair.has(0, 0));
    shut_down(&pair, 0);
    shut_down(&pair, 1);
    pair.finish();
}

fn node_death() {
    let mut pair = Pair::new(2);
    let prefer = |pair: &Pair, target: usize, node: usize| {
        let name = &pair.names[node];
        format!(
            "<rsc_location id=\"l{target}\" rsc=\"ost{target}\" node=\"{name}\" score=\"100\"/>"
        )
    };
    let resources = switch(&pair) + &target(&pair, 0, 120, 20) + &target(&pair, 1, 120, 20);
    let places = prefer(&pair, 0, 0) + &prefer(&pair, 1, 1);
    let cib = cib(&FENCED, &resources)
        .replace("<constraints/>", &format!("<rsc_defaults><meta_attributes id=\"d\"><nvpair id=\"s\" name=\"resource-stickiness\" value=\"200\"/></meta_attributes></rsc_defaults><constraints>{places}</constraints>"));
    let cib = reorder(&cib);
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    let off = Mutex::new(None);
    let act = |pair: &mut Pair, which: usize| {
        pair.kill(which);
        *off.lock().expect("lock") = Some(Instant::now());
    };
    let (pair, ()) = with_switch(pair, act, |pair| {
        wait(pair, "each has its own", START, |pair| pair.has(0, 0) && pair.has(1, 1));
        {
            let pair = pair.lock().expect("lock");
            pair.sh(1, &format!("echo precious > {0}/file; sync {0}/file", pair.dir(1)));
        }
        thread::sleep(Duration::from_secs(6));
        *off.lock().expect("lock") = None;
        pair.lock().expect("lock").kill(1);
        let died = Instant::now();
        let guard = pair.lock().expect("lock").guard(1);
        wait(pair, "the survivor has both", DEAD + THINK + guard + SLACK, |pair| pair.has(0, 1));
        tell(&format!("pacemaker: node death to mount (token 4 s, guard {guard:?})"), died);
        let off = off.lock().expect("lock").expect("it was fenced first");
        println!("    pacemaker: fenced after {:.1} s", (off - died).as_secs_f64());
        let mut pair = pair.lock().expect("lock");
        assert!(pair.has(0, 0), "its own target was not touched");
        assert_eq!(pair.sh(0, &format!("cat {}/file", pair.dir(1))), "precious\n");
        boot(&mut pair, 1, Some(&cib));
    });
    let (pair, ()) = with_switch(
        pair,
        |_, _| {},
        |pair| {
            wait(pair, "it is back", START, both_online);
            let pair = pair.lock().expect("lock");
            assert!(pair.has(0, 1), "it does not fail back by itself");
            pair.sh(0, "crm resource move ost1 oss2");
        },
    );
    pair.await_mount(1, 1, START);
    pair.sh(0, "crm resource stop ost0; crm resource stop ost1");
    pair.wait("all is unmounted", START, || !pair.has(0, 0) && !pair.has(1, 1));
    shut_down(&pair, 0);
    shut_down(&pair, 1);
    pair.finish();
}

/// The order that the CIB's schema asks for.
fn reorder(cib: &str) -> String {
    let (from, to) = (cib.find("<rsc_defaults>"), cib.find("</rsc_defaults>"));
    let (Some(from), Some(to)) = (from, to) else { return cib.to_owned() };
    let to = to + "</rsc_defaults>".len();
    let defaults = &cib[from..to];
    let rest = format!("{}{}", &cib[..from], &cib[to..]);
    rest.replace("</constraints>", &format!("</constraints>{defaults}"))
}

/// A cluster without fencing that has its one target mounted on the node told.
fn unfenced(interval: u32) -> (Pair, usize) {
    let mut pair = Pair::new(1);
    let cib = cib(&UNFENCED, &target(&pair, 0, 120, interval));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    pair.wait("it is mounted", START, || pair.has(0, 0) || pair.has(1, 0));
    let which = usize::from(pair.has(1, 0));
    let started = || pair.run(0, &["crm_mon", "-1"]).out.contains("Started oss");
    pair.wait("the cluster knows", START, started);
    (pair, which)
}

/// `interval` is the monitor's, and the file system is frozen `late` after one. The next sees in a
/// second that nothing was written since; or, after a write, watches for the beat that should follow.
fn frozen(interval: u32, late: Duration) {
    let (pair, which) = unfenced(interval);
    let dir = pair.outside(which, &pair.dir(0));
    // Keeps it from being unmounted while it is frozen, after which nobody could thaw it.
    let held = fs::File::open(&dir).expect("open");
    // A monitor has just ended, and seen the heartbeat.
    let monitors = || pair.run(which, &["pgrep", "-f", "mmptarget monitor"]).code == 0;
    pair.wait("a monitor runs", START, monitors);
    pair.wait("it has ended", START, || !monitors());
    thread::sleep(late);
    pair.sh(which, &format!("fsfreeze --freeze {}", pair.dir(0)));
    let frozen = Instant::now();
    let within = Duration::from_secs(interval.into()) + Duration::from_secs(1);
    pair.wait("the monitor fails", within + SLACK, || {
        failures(&pair, 0).contains("its heartbeat stands still")
    });
    let late = late.as_secs_f32();
    tell(&format!("pacemaker: frozen to a failed monitor (interval {interval} s, {late})"), frozen);
    // The stop under way ends whoever uses the file system, and that is one.
    let thaw = ["fsfreeze", "--unfreeze", &pair.dir(0)];
    while pair.run(which, &thaw).code > 128 {}
    drop(held);
    pair.wait("it is stopped and started again", START, || {
        let state = failures(&pair, 0);
        state.contains("Started oss") && (pair.has(0, 0) || pair.has(1, 0))
    });
    pair.end();
}

fn foreign() {
    let (pair, _) = unfenced(20);
    let names = Names::new(b"other-node", b"sdx");
    let mut sequence = Sequence::Active(1000);
    let write = || {
        let block = pair.image(0).block().with_names(&names).with_sequence(sequence);
        pair.image(0).put(&block);
        sequence = sequence.next();
    };
    beside(Duration::from_secs(3), write, || {
        let began = Instant::now();
        let within = Duration::from_secs(20 + 10) + THINK;
        pair.wait("the monitor fails", within, || {
            failures(&pair, 0).contains("block is written by node 'other-node'")
        });
        tell("pacemaker: taken by another to a failed monitor (interval 20 s)", began);
    });
    pair.end();
}

fn slow_unmount() {
    let mut pair = Pair::new(1);
    let resources = switch(&pair) + &target(&pair, 0, 120, 20);
    let cib = cib(&FENCED, &resources);
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    // An operator acknowledges the node's death, too early.
    let (pair, ()) = with_switch(
        pair,
        |_, _| {},
        |pair| {
            wait(pair, "it is mounted", START, |pair| pair.has(0, 0) || pair.has(1, 0));
            thread::sleep(Duration::from_secs(6));
            let old = usize::from(pair.lock().expect("lock").has(1, 0));
            let new = 1 - old;
            pair.lock().expect("lock").sh(old, "pkill -9 pacemaker; pkill -9 corosync; true");
            let starts = |pair: &Pair| pair.run(new, &["pgrep", "mmptarget"]).code == 0;
            wait(pair, "the other node tries", DEAD + THINK + SLACK, starts);
            thread::sleep(Duration::from_secs(5));
            let released = {
                let pair = pair.lock().expect("lock");
                assert!(!pair.has(new, 0));
                pair.sh(old, &format!("umount {}", pair.dir(0)));
                Instant::now()
            };
            let guard = pair.lock().expect("lock").guard(0);
            wait(pair, "it is mounted", guard + Duration::from_secs(1) + SLACK, |pair| {
                pair.has(new, 0)
            });
            tell("pacemaker: unmounted at last to mount", released);
            let state = failures(&pair.lock().expect("lock"), new);
            assert!(!state.contains("Failed Resource Actions"), "{state}");
        },
    );
    pair.end();
}

fn refusals() {
    let mut pair = Pair::new(2);
    let clone = target(&pair, 1, 120, 20);
    let clone = format!("<clone id=\"clone\">{clone}</clone>");
    let cib = cib(&UNFENCED, &(target(&pair, 0, 30, 20) + &clone));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    pair.wait("both are refused", START, || {
        let state = failures(&pair, 0);
        state.contains("17 s too short") && state.contains("a target must not be cloned")
    });
    for which in [0, 1] {
        assert!(!pair.has(which, 0) && !pair.has(which, 1));
    }
    pair.finish();
}

/// Both nodes lose sight of each other before either has the target, and both try to take it.
fn split_brain() {
    let mut pair = Pair::new(1);
    pair.connect(false);
    let cib = cib(&UNFENCED, &target(&pair, 0, 55, 20));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    pair.wait("one has it", START, || pair.has(0, 0) || pair.has(1, 0));
    let winner = usize::from(pair.has(1, 0));
    let loser = 1 - winner;
    let refused =
        || failures(&pair, loser).contains("in use") || pair.logs().contains("in use by node");
    pair.wait("the other is refused", START, refused);
    // Well beyond anything that was still going on.
    thread::sleep(2 * GUARD);
    assert!(pair.has(winner, 0) && !pair.has(loser, 0), "{}", pair.logs());
    println!("    pacemaker: split brain: {} has it", pair.names[winner]);
    pair.end();
}
