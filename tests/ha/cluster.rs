//! A cluster of Pacemaker and corosync: how it is set up, what it says, and the power switch that the
//! test plays.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::beside::beside;
use crate::common::program::tool;
use crate::pair::{Pair, address};

/// How long until corosync gives a node up: its token's time, 1.2 times that for consensus.
pub(crate) const DEAD: Duration = Duration::from_millis(4000 + 4800);
/// How long a cluster takes from nothing to a mounted target.
pub(crate) const START: Duration = Duration::from_secs(90);
/// What a transition of Pacemaker takes, on a machine with several clusters.
pub(crate) const THINK: Duration = Duration::from_secs(10);

/// Boots a node and starts corosync and Pacemaker on it, knowing nothing or what `cib` says.
pub(crate) fn boot(pair: &mut Pair, which: usize, cib: Option<&str>) {
    pair.boot(which);
    start(pair, which, cib);
}

/// Starts them on a node that is up.
pub(crate) fn start(pair: &Pair, which: usize, cib: Option<&str>) {
    let node = |n: usize| {
        let (address, name) = (address(n), &pair.names[n]);
        format!(
            "  node {{\n    ring0_addr: {address}\n    name: {name}\n    nodeid: {}\n  }}\n",
            n + 1
        )
    };
    let conf = format!(
        "totem {{\n  version: 2\n  cluster_name: mmp\n  transport: knet\n  crypto_cipher: none\n  \
         crypto_hash: none\n  token: 4000\n}}\nnodelist {{\n{}{}}}\nquorum {{\n  \
         provider: corosync_votequorum\n  two_node: 1\n  wait_for_all: 0\n}}\nsystem {{\n  \
         sched_rr: no\n}}\nlogging {{\n  to_syslog: no\n  to_logfile: yes\n  \
         logfile: /var/log/corosync.log\n}}\n",
        node(0),
        node(1),
    );
    pair.write(which, "/etc/corosync/corosync.conf", &conf);
    if let Some(cib) = cib {
        pair.write(which, "/var/lib/pacemaker/cib/cib.xml", cib);
        pair.sh(which, "chown -R hacluster:haclient /var/lib/pacemaker/cib");
    }
    pair.sh(
        which,
        "corosync >/dev/null 2>&1 && PCMK_logfile=/var/log/pacemaker.log setsid pacemakerd -f \
         >/dev/null 2>&1 </dev/null &",
    );
}

pub(crate) fn host() -> String {
    tool("uname", &["-n"]).trim().to_owned()
}

/// A CIB with options and resources, as a cluster has it after its first start.
pub(crate) fn cib(options: &[(&str, &str)], resources: &str) -> String {
    let option = |(name, value): &(&str, &str)| {
        format!("<nvpair id=\"opt-{name}\" name=\"{name}\" value=\"{value}\"/>")
    };
    let options: String = options.iter().map(option).collect();
    format!(
        "<cib crm_feature_set=\"3.0.14\" validate-with=\"pacemaker-3.0\" epoch=\"5\" \
         num_updates=\"0\" admin_epoch=\"0\"><configuration><crm_config>\
         <cluster_property_set id=\"cib-bootstrap-options\">{options}</cluster_property_set>\
         </crm_config><nodes/><resources>{resources}</resources><constraints/></configuration>\
         <status/></cib>"
    )
}

/// The target as a resource, with a start's timeout and a monitor's interval in seconds.
pub(crate) fn target(pair: &Pair, number: usize, start: u32, interval: u32) -> String {
    let id = format!("ost{number}");
    let parameter = |(name, value): (&str, String)| {
        format!("<nvpair id=\"{id}-{name}\" name=\"{name}\" value=\"{value}\"/>")
    };
    let parameters: String = [
        ("device", pair.device(number)),
        ("directory", pair.dir(number)),
        ("fstype", "ext4".to_owned()),
        // All kernels here are one, and call themselves by the machine's name.
        ("node", host()),
    ]
    .into_iter()
    .map(parameter)
    .collect();
    format!(
        "<primitive id=\"{id}\" class=\"ocf\" provider=\"mmp\" type=\"target\">\
         <instance_attributes id=\"{id}-parameters\">{parameters}</instance_attributes><operations>\
         <op id=\"{id}-start\" name=\"start\" interval=\"0\" timeout=\"{start}s\"/>\
         <op id=\"{id}-stop\" name=\"stop\" interval=\"0\" timeout=\"60s\"/>\
         <op id=\"{id}-monitor\" name=\"monitor\" interval=\"{interval}s\" timeout=\"60s\"/>\
         </operations></primitive>"
    )
}

/// Options of a cluster with fencing, and of one without.
pub(crate) const FENCED: [(&str, &str); 3] =
    [("stonith-enabled", "true"), ("dc-deadtime", "5s"), ("startup-fencing", "false")];
pub(crate) const UNFENCED: [(&str, &str); 4] = [
    ("stonith-enabled", "false"),
    ("no-quorum-policy", "ignore"),
    ("dc-deadtime", "5s"),
    ("start-failure-is-fatal", "false"),
];

/// The power switch as a resource.
pub(crate) fn switch(pair: &Pair) -> String {
    format!(
        "<primitive id=\"switch\" class=\"stonith\" type=\"fence_switch\">\
         <instance_attributes id=\"switch-parameters\"><nvpair id=\"switch-folder\" name=\"folder\" \
         value=\"{}\"/><nvpair id=\"switch-hosts\" name=\"pcmk_host_list\" value=\"{} {}\"/>\
         </instance_attributes></primitive>",
        pair.folder().display(),
        pair.names[0],
        pair.names[1],
    )
}

/// Plays the power switch while `body` runs: a node asked for is acted upon by `act` and then
/// reported as off.
pub(crate) fn with_switch<T>(
    pair: Pair,
    act: impl Fn(&mut Pair, usize) + Sync,
    body: impl FnOnce(&Mutex<Pair>) -> T,
) -> (Pair, T) {
    let folder = pair.folder().to_owned();
    let names = pair.names.clone();
    let pair = Mutex::new(pair);
    let turn_off = || {
        for (which, name) in names.iter().enumerate() {
            let request = folder.join(format!("off-{name}"));
            if request.exists() {
                let _ = fs::remove_file(&request);
                act(&mut pair.lock().expect("lock"), which);
                fs::write(folder.join(format!("off-{name}.done")), "").expect("write");
            }
        }
    };
    let done = beside(Duration::from_millis(50), turn_off, || body(&pair));
    (pair.into_inner().expect("lock"), done)
}

/// Waits until something is so, with the pair free for the power switch meanwhile.
#[track_caller]
pub(crate) fn wait(
    pair: &Mutex<Pair>,
    what: &str,
    at_most: Duration,
    is_so: impl Fn(&Pair) -> bool,
) -> Instant {
    let deadline = Instant::now() + at_most;
    loop {
        {
            let pair = pair.lock().expect("lock");
            if is_so(&pair) {
                return Instant::now();
            }
            let late = Instant::now() > deadline;
            assert!(!late, "not within {at_most:?}: {what}\n{}", pair.logs());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn shut_down(pair: &Pair, which: usize) {
    pair.sh(which, "pkill -TERM pacemakerd; while pgrep pacemakerd >/dev/null; do sleep 0.2; done");
    pair.sh(which, "pkill -TERM corosync; while pgrep corosync >/dev/null; do sleep 0.2; done");
}

/// Both nodes see each other.
pub(crate) fn both_online(pair: &Pair) -> bool {
    pair.run(0, &["crm_mon", "-1"]).out.contains("Online: [ oss1 oss2 ]")
}

pub(crate) fn await_both(pair: &Pair) {
    pair.wait("the cluster is up", START, || both_online(pair));
}

/// What a node's Pacemaker knows of the cluster; what has failed is at the end.
pub(crate) fn failures(pair: &Pair, which: usize) -> String {
    pair.run(which, &["crm_mon", "-1"]).out
}
