//! Fencing: agents that confirm, the timeline of a fencing, and what a mount makes of one.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{
    DEAD, FENCED, START, THINK, await_both, boot, cib, host, switch, target, wait, with_switch,
};
use crate::common::disk::Observer;
use crate::common::faulty::Fault;
use crate::common::program::ended;
use crate::common::suite::Suite;
use crate::pair::Pair;
use crate::{GUARD, SLACK, guide, tell};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("stonith: fence_mmp and external/mmp confirm only who does not write", confirms);
    suite.case("stonith: fence_mmp confirms a node that took itself down", fenced_itself);
    suite.case("stonith: a cluster that confirms a death by fence_mmp", confirmed_death);
    for fenced in [false, true] {
        let how = if fenced { "believed" } else { "watched all the same" };
        suite.case(format!("stonith: the timeline of a fencing, {how}"), move || timeline(fenced));
    }
}

fn confirms() {
    let mut pair = Pair::new(2);
    pair.boot(0);
    pair.boot(1);
    let (device, dir, host) = (pair.device(0), pair.dir(0), host());
    pair.sh(0, &format!("mmptarget start -t ext4 {device} {dir}"));
    let devices = format!("{device},{}", pair.device(1));
    let agent = |action: &str| {
        let command = format!("fence_mmp -o {action} -n {host} --devices={devices} --node={host}");
        pair.run(1, &["sh", "-c", &command]).code
    };
    let plugin = |what: &str| {
        let settings = format!("hostlist={host} devices={devices} node={host}");
        pair.run(1, &["sh", "-c", &format!("stonith -t external/mmp {settings} {what}")])
    };
    assert_eq!((agent("off"), agent("status"), agent("monitor"), agent("on")), (1, 0, 0, 1));
    assert_ne!(plugin(&format!("-T reset {host}")).code, 0);
    assert_eq!(plugin("-S").code, 0);
    assert_eq!(plugin("-l").out.trim(), host);
    pair.sh(1, "fence_mmp -o metadata | xmllint --noout -");
    let listed = pair.sh(1, "stonith -L");
    assert!(listed.contains("external/mmp"), "{listed}");
    pair.crash(0);
    let agent = |action: &str| {
        // On standard input, as Pacemaker does it.
        let command = format!(
            "printf 'action={action}\\nplug={host}\\ndevices={devices}\\nnode={host}\\n' | fence_mmp"
        );
        pair.run(1, &["sh", "-c", &command]).code
    };
    assert_eq!((agent("reboot"), agent("status")), (0, 2));
    let settings = format!("hostlist={host} devices={devices} node={host}");
    let reset = format!("stonith -t external/mmp {settings} -T reset {host}");
    let reset = pair.run(1, &["sh", "-c", &reset]);
    assert_eq!(reset.code, 0, "{}", reset.said());
    pair.finish_stale();
}

/// A node that holds two devices under `mmpd hold --fence` loses one: it takes itself down, and is
/// confirmed only when both have stood still for the guard interval after that.
fn fenced_itself() {
    let mut pair = Pair::with_cables(2);
    pair.boot(0);
    pair.boot(1);
    let devices = [0, 1].map(|target| pair.device(target));
    let observers = [0, 1].map(|target| Observer::start(pair.image(target).path()));
    let request = pair.folder().join("off-oss1");
    let hold = format!(
        "setsid mmpd hold --fence 'touch {}' {} >/var/log/mmpd 2>&1 </dev/null &",
        request.display(),
        devices.join(" "),
    );
    pair.sh(0, &hold);
    let log = |pair: &Pair| pair.sh(0, "cat /var/log/mmpd");
    pair.wait("both are held", START, || log(&pair).matches(": held").count() == 2);
    let agent = |pair: &Pair, action: &str| {
        let devices = devices.join(",");
        let said = pair
            .run(1, &["fence_mmp", "-o", action, "-n", "oss1", &format!("--devices={devices}")]);
        (said.code, said.took)
    };
    // As long as it lives it is not confirmed, and that is known at its next heartbeat.
    for (action, code) in [("off", 1), ("reboot", 1), ("status", 0)] {
        let (said, took) = agent(&pair, action);
        assert_eq!(said, code, "{action} of a node that lives");
        assert!(took < GUARD, "{action} took {took:?}");
    }
    let off = Mutex::new(None);
    let act = |pair: &mut Pair, which: usize| {
        pair.power_off(which);
        *off.lock().expect("lock") = Some(Instant::now());
    };
    pair.pull(0, 0, Fault::Hang);
    let hung = Instant::now();
    let (pair, (asked, confirmed)) = with_switch(pair, act, |pair| {
        // As a cluster manager does it: asked again and again from the first suspicion on. The
        // other device is well, and so the node lives until it takes itself down.
        let agent = |action: &str| {
            let mut enter =
                pair.lock().expect("lock").command(1, &["fence_mmp", "-o", action, "-n", "oss1"]);
            ended(enter.arg(format!("--devices={}", devices.join(",")))).code
        };
        let deadline = hung + GUARD * 6;
        loop {
            let asked = Instant::now();
            let code = agent("off");
            if code == 0 {
                break (asked, Instant::now());
            }
            assert!(code == 1 && Instant::now() < deadline, "{code}");
        }
    });
    let off = off.lock().expect("lock").expect("it took itself down");
    assert!(off < confirmed, "confirmed before it was down");
    let last = observers.map(|observer| observer.stop().last().expect("a block").present);
    for last in last {
        assert!(last < off, "written after it was down");
        assert!(confirmed - last > GUARD, "confirmed {:?} after a heartbeat", confirmed - last);
    }
    println!(
        "    stonith: a disk hangs: the node was down after {:.1} s, confirmed after {:.1} s (by a \
         fence_mmp that took {:.1} s)",
        (off - hung).as_secs_f64(),
        (confirmed - hung).as_secs_f64(),
        (confirmed - asked).as_secs_f64(),
    );
    assert_eq!(agent(&pair, "status").0, 2, "it is off");
    let plugin = format!(
        "stonith -t external/mmp hostlist=oss1 devices={} node={} -T reset oss1",
        devices.join(","),
        host(),
    );
    pair.sh(1, &plugin);
    pair.finish_stale();
}

fn confirmed_death() {
    let mut pair = Pair::new(2);
    let cib = cib(&FENCED, &target(&pair, 0, 120, 20));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    await_both(&pair);
    // All kernels here are one, and call themselves by the machine's name.
    let host = host();
    let more = format!(
        "pcmk_host_check=static-list pcmk_host_map=\"oss1:{host};oss2:{host}\" node={host}"
    );
    let fence = guide::block("stonith:fence_mmp", &pair);
    pair.sh(0, &format!("{} {more}", fence.trim_end()));
    pair.wait("it is mounted", START, || pair.has(0, 0) || pair.has(1, 0));
    thread::sleep(Duration::from_secs(6));
    let old = usize::from(pair.has(1, 0));
    pair.kill(old);
    let died = Instant::now();
    // One guard interval to confirm, one to claim.
    let guards = pair.guard(0) * 2;
    pair.wait("it has moved", DEAD + THINK + guards + SLACK, || pair.has(1 - old, 0));
    tell("pacemaker: node death to mount, confirmed by fence_mmp", died);
    pair.end();
}

/// The victim is down before the new holder's mount returns; what each step took. With
/// `mmp.fenced=pacemaker` the first of the two waits is saved.
fn timeline(fenced: bool) {
    let mut pair = Pair::new(1);
    let mut target = target(&pair, 0, 120, 20);
    if fenced {
        let option = "<nvpair id=\"o\" name=\"options\" value=\"mmp.fenced=pacemaker\"/>";
        target = target.replacen(
            "</instance_attributes>",
            &format!("{option}</instance_attributes>"),
            1,
        );
    }
    let cib = cib(&FENCED, &(switch(&pair) + &target));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    let off = Mutex::new(None);
    let act = |pair: &mut Pair, which: usize| {
        // The victim's heartbeat goes on until the switch acts.
        pair.crash(which);
        *off.lock().expect("lock") = Some(Instant::now());
        // No switch answers within the second of that last heartbeat, which would be no proof.
        thread::sleep(Duration::from_millis(1100));
    };
    let (pair, ()) = with_switch(pair, act, |pair| {
        wait(pair, "it is mounted", START, |pair| pair.has(0, 0) || pair.has(1, 0));
        thread::sleep(Duration::from_secs(6));
        let old = usize::from(pair.lock().expect("lock").has(1, 0));
        let new = 1 - old;
        *off.lock().expect("lock") = None;
        pair.lock().expect("lock").sh(old, "pkill -9 pacemaker; pkill -9 corosync; true");
        let died = Instant::now();
        let within = Duration::from_secs(60);
        let mounted = wait(pair, "it has moved", DEAD + THINK + within, |pair| pair.has(new, 0));
        let off = off.lock().expect("lock").expect("fenced");
        assert!(off < mounted, "fenced before the mount");
        let guard = pair.lock().expect("lock").guard(0);
        println!(
            "    timeline (mmp.fenced {fenced}): 0.0 s cluster manager killed, target still mounted; \
             {:.1} s victim down by the switch; {:.1} s mounted by {} (guard interval now {guard:?})",
            (off - died).as_secs_f64(),
            (mounted - died).as_secs_f64(),
            pair.lock().expect("lock").names[new],
        );
        // The agent hands over what was said when all is done.
        let log = |pair: &Pair| pair.sh(new, "cat /var/log/pacemaker.log");
        wait(pair, "it is logged", THINK, |pair| log(pair).contains(": mounted on "));
        let log = log(&pair.lock().expect("lock"));
        assert_eq!(log.contains("its heartbeat is not watched for"), fenced, "{log}");
    });
    pair.end();
}
