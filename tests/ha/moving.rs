//! From haresources to Pacemaker, by the way that docs/failover.md shows.

use std::thread;
use std::time::Duration;

use crate::cluster::{DEAD, THINK, start};
use crate::common::suite::Suite;
use crate::pair::Pair;
use crate::{SLACK, cluster, guide, heartbeat};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("moving: from haresources to Pacemaker", haresources_to_pacemaker);
}

fn haresources_to_pacemaker() {
    let mut pair = Pair::new(2);
    let resources = guide::block("mmp-target::", &pair);
    for which in [0, 1] {
        heartbeat::boot(&mut pair, which, &resources, |_| {});
    }
    for target in [0, 1] {
        pair.await_mount(target, target, heartbeat::START);
        let file = format!("{}/file", pair.dir(target));
        pair.sh(target, &format!("echo precious {target} > {file}; sync {file}"));
    }
    thread::sleep(Duration::from_secs(6));

    heartbeat::stop(&pair, 0);
    heartbeat::stop(&pair, 1);
    pair.wait("all is unmounted", heartbeat::START, || !pair.has(1, 0) && !pair.has(1, 1));
    for target in [0, 1] {
        let check = pair.run(0, &["mmpcheck", &pair.device(target)]);
        assert!(check.code == 0 && check.out.contains("clean"), "{}", check.said());
    }
    for which in [0, 1] {
        start(&pair, which, None);
    }
    cluster::await_both(&pair);
    let made = pair.sh(0, &guide::block("/etc/ha.d/haresources |", &pair));
    assert_eq!(made, "");
    // What is special here: the kernel's name, and that nobody is fenced.
    let script = format!(
        "sed -i 's/ fstype=/ node={} fstype=/; s/^property/& stonith-enabled=false/' /etc/ha.d/targets.crm",
        cluster::host()
    );
    pair.sh(0, &script);
    let made = pair.sh(0, "cat /etc/ha.d/targets.crm");
    pair.sh(0, &guide::command("crm configure load update /etc/ha.d/targets.crm", &pair));
    for target in [0, 1] {
        pair.await_mount(target, target, cluster::START);
        let file = format!("{}/file", pair.dir(target));
        assert_eq!(pair.sh(target, &format!("cat {file}")), format!("precious {target}\n"));
    }
    assert!(!made.contains("mmp.wait"), "{made}");
    thread::sleep(Duration::from_secs(6));

    pair.kill(1);
    pair.await_mount(0, 1, DEAD + THINK + pair.guard(1) + SLACK);
    assert!(pair.has(0, 0), "its own target was not touched");
    pair.end();
}
