//! A node that cannot keep its disk goes down before a partner comes in; one that can stays up.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{Delay, Disk};
use crate::node::Node;
use crate::{Case, GUARD, Pair, SLACK};

const CASES: [(&str, &str, Program, &[Deed]); 7] = [
    ("vm-hang", "watchdog, mmpd, a disk that hangs", Program::Mmpd("watchdog"), &[Deed::Hang]),
    ("vm-kill", "watchdog, mmpd killed", Program::Mmpd("watchdog"), &[Deed::Kill]),
    ("vm-stop", "watchdog, mmpd stopped in order", Program::Mmpd("watchdog"), &[Deed::Stop]),
    ("vm-hang-b", "sysrq, mmpd, a disk that hangs", Program::Mmpd("sysrq"), &[Deed::Hang]),
    ("vm-run-b", "sysrq, mmprun, a disk that hangs", Program::Mmprun("sysrq"), &[Deed::Hang]),
    (
        "vm-run-kill",
        "watchdog, mmprun killed while its disk hangs",
        Program::Mmprun("watchdog"),
        &[Deed::HangAndKill],
    ),
    // Its command can be killed, and nothing is left that would harm a partner.
    (
        "vm-run-stop",
        "watchdog, mmprun stopped in order, and killed",
        Program::Mmprun("watchdog"),
        &[Deed::Stop, Deed::Kill],
    ),
];

/// Those whose name is chosen, each on a machine of its own, which it may bring down, with all
/// `disks`. The machines are up before the first case begins: booting takes the time of the others.
pub(crate) fn cases(disks: &[Disk], folder: &Path, chosen: impl Fn(&str) -> bool) -> Vec<Case> {
    let named = CASES.map(|(machine, name, program, deeds)| {
        (machine, format!("fencing: {name}"), program, deeds)
    });
    thread::scope(|scope| {
        let boot = |machine| scope.spawn(move || Node::boot(machine, disks, folder));
        let chosen = named.into_iter().filter(|(_, name, ..)| chosen(name));
        let booting: Vec<_> = chosen.map(|case| (boot(case.0), case)).collect();
        let cases = booting.into_iter().map(|(node, (machine, name, program, deeds))| {
            let node = node.join().expect(machine);
            Case::new(name, move |pair, disk| run(pair, disk, &node, program, deeds))
        });
        cases.collect()
    })
}

#[derive(Clone, Copy)]
enum Deed {
    Hang,
    Kill,
    HangAndKill,
    Stop,
}

/// What holds the disk, and how it fences.
#[derive(Clone, Copy)]
enum Program {
    Mmpd(&'static str),
    /// With a command that reads the disk past the page cache: where that hangs, it cannot be killed.
    Mmprun(&'static str),
}

impl Program {
    fn command(self, device: &str) -> String {
        match self {
            Program::Mmpd(fence) => format!("mmpd hold --fence {fence} {device}"),
            Program::Mmprun(fence) => format!(
                "mmprun --fence {fence} {device} -- sh -c 'echo : held; while :; do \
                 dd if={device} of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; done'"
            ),
        }
    }

    /// Whether the node goes down.
    fn is_deadly(self, deed: Deed) -> bool {
        match (self, deed) {
            (_, Deed::Stop) | (Program::Mmprun(_), Deed::Kill) => false,
            (_, Deed::Hang | Deed::HangAndKill) | (Program::Mmpd(_), Deed::Kill) => true,
        }
    }
}

fn run(pair: &Pair, disk: &Disk, node: &Node, program: Program, deeds: &[Deed]) {
    disk.format();
    for node in [node, &pair.b] {
        disk.connect(node, Delay::default());
    }
    node.must("modprobe softdog");
    for deed in deeds {
        hold(node, &program.command(&disk.device()));
        if program.is_deadly(*deed) {
            goes_down(pair, disk, node, *deed);
        } else {
            stays_up(node, *deed);
        }
    }
    disk.disconnect(&pair.b);
    disk.check();
}

/// Starts a holder, and waits until it has held the disk for 2 s.
fn hold(node: &Node, command: &str) {
    node.must("rm -f /tmp/hold.out");
    node.must(&format!("{command} >/tmp/hold.out 2>&1 & echo $! >/tmp/hold.pid"));
    let began = Instant::now();
    while node.run("grep ': held' /tmp/hold.out").code != 0 {
        let said = || node.run("cat /tmp/hold.out").said;
        // Killed before, it has left a block that is not clean.
        assert!(began.elapsed() < 2 * GUARD + 4 * SLACK, "not held: {}", said());
        thread::sleep(Duration::from_millis(500));
    }
    thread::sleep(Duration::from_secs(2));
}

fn stays_up(node: &Node, deed: Deed) {
    let (signal, what) = match deed {
        Deed::Stop => ("-TERM", "stopped"),
        _ => ("-KILL", "killed"),
    };
    node.must(&format!("kill {signal} $(cat /tmp/hold.pid)"));
    let done = Instant::now();
    while node.run("pidof mmpd mmprun mmp-guardian dd").code == 0 {
        assert!(done.elapsed() < GUARD, "it runs on: {}", node.run("ps").said);
        thread::sleep(Duration::from_millis(200));
    }
    let gone = done.elapsed().as_secs_f64();
    thread::sleep(2 * GUARD);
    let said = node.must("cat /tmp/hold.out").said;
    if matches!(deed, Deed::Stop) {
        assert!(!said.contains("lost") && !said.contains("not left clean"), "{said}");
    }
    let (name, long) = (node.name, 2 * GUARD.as_secs());
    println!("       {name}: {what}, all gone after {gone:.1} s; up {long} s later");
}

fn goes_down(pair: &Pair, disk: &Disk, node: &Node, deed: Deed) {
    let hang = || node.must(&format!("dmsetup suspend --noflush --nolockfs {}", disk.device()));
    let kill = || node.must("kill -9 $(cat /tmp/hold.pid)");
    match deed {
        Deed::Hang => drop(hang()),
        Deed::HangAndKill => {
            hang();
            kill();
        }
        Deed::Kill | Deed::Stop => drop(kill()),
    }
    let done = Instant::now();
    let (down, up) = thread::scope(|scope| {
        // Ends with the machine.
        let down = scope.spawn(|| (node.run("sleep 300").code, done.elapsed()));
        let up = scope.spawn(|| (pair.b.run(&disk.mount("ext4", "rw")), done.elapsed()));
        (down.join().expect("down"), up.join().expect("up"))
    });
    let (mounted, up) = up;
    assert_eq!(mounted.code, 0, "{}", mounted.said);
    let (name, down, code) = (node.name, down.1.as_secs_f64(), down.0);
    let up = up.as_secs_f64();
    println!("       {name}: down after {down:.1} s, mounted there after {up:.1} s");
    assert_eq!(code, -1, "the machine is still up");
    assert!(down < up, "down after {down} s, mounted there after {up} s");
    pair.b.must(&format!("/bin/umount {}", disk.dir()));
}
