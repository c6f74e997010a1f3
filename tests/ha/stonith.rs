//! Fencing: agents that confirm, the timeline of a fencing, and what a mount makes of one.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::suite::Suite;
use crate::pacemaker::{DEAD, START, THINK, boot, cib, host, switch, target, wait, with_switch};
use crate::pair::Pair;
use crate::{SLACK, tell};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("stonith: fence_mmp and external/mmp confirm only who does not write", confirms);
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

fn confirmed_death() {
    let mut pair = Pair::new(1);
    let options =
        [("stonith-enabled", "true"), ("dc-deadtime", "5s"), ("startup-fencing", "false")];
    let parameter = |name: &str, value: &str| {
        format!("<nvpair id=\"f-{name}\" name=\"{name}\" value=\"{value}\"/>")
    };
    let host = host();
    let (one, two) = (&pair.names[0], &pair.names[1]);
    let parameters = parameter("devices", &pair.device(0))
        + &parameter("node", &host)
        + &parameter("pcmk_host_check", "static-list")
        + &parameter("pcmk_host_list", &format!("{one} {two}"))
        + &parameter("pcmk_host_map", &format!("{one}:{host};{two}:{host}"));
    let fence = format!(
        "<primitive id=\"confirm\" class=\"stonith\" type=\"fence_mmp\">\
         <instance_attributes id=\"f\">{parameters}</instance_attributes></primitive>"
    );
    let cib = cib(&options, &(fence + &target(&pair, 0, 120, 20, 0)));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
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
    let options =
        [("stonith-enabled", "true"), ("dc-deadtime", "5s"), ("startup-fencing", "false")];
    let mut target = target(&pair, 0, 120, 20, 0);
    if fenced {
        let option = "<nvpair id=\"o\" name=\"options\" value=\"mmp.fenced=pacemaker\"/>";
        target = target.replacen(
            "</instance_attributes>",
            &format!("{option}</instance_attributes>"),
            1,
        );
    }
    let cib = cib(&options, &(switch(&pair) + &target));
    boot(&mut pair, 0, Some(&cib));
    boot(&mut pair, 1, Some(&cib));
    let off = Mutex::new(None);
    let act = |pair: &mut Pair, which: usize| {
        // The victim's heartbeat goes on until the switch acts.
        pair.crash(which);
        *off.lock().expect("lock") = Some(Instant::now());
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
