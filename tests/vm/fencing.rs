//! A node that cannot keep its disk goes down by its watchdog before a partner comes in.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{Delay, Disk};
use crate::node::Node;
use crate::{Case, GUARD, Pair, SLACK};

/// Each on a machine of its own, which it may bring down, with all `disks`.
pub(crate) fn cases(disks: &[Disk], folder: &Path) -> Vec<Case> {
    let case = |name: &str, machine: &'static str, deed: Deed| {
        let (disks, folder) = (disks.to_vec(), PathBuf::from(folder));
        Case::new(format!("watchdog: {name}"), move |pair, disk| {
            run(pair, disk, &Node::boot(machine, &disks, &folder), deed);
        })
    };
    vec![
        case("a disk that hangs", "vm-hang", Deed::Hang),
        case("mmpd killed", "vm-kill", Deed::Kill),
        case("a clean stop", "vm-stop", Deed::Stop),
    ]
}

#[derive(Clone, Copy)]
enum Deed {
    Hang,
    Kill,
    Stop,
}

fn run(pair: &Pair, disk: &Disk, node: &Node, deed: Deed) {
    disk.format();
    for node in [node, &pair.b] {
        disk.connect(node, Delay::default());
    }
    node.must("modprobe softdog");
    let hold = format!("mmpd hold --fence watchdog {}", disk.device());
    node.must(&format!("{hold} >/tmp/hold.out 2>&1 & echo $! >/tmp/hold.pid"));
    let began = Instant::now();
    while node.run("grep ': held' /tmp/hold.out").code != 0 {
        let said = || node.run("cat /tmp/hold.out").said;
        assert!(began.elapsed() < GUARD + 4 * SLACK, "not held: {}", said());
        thread::sleep(Duration::from_millis(500));
    }
    thread::sleep(Duration::from_secs(2));
    let name = node.name;
    match deed {
        Deed::Stop => {
            node.must("kill $(cat /tmp/hold.pid)");
            thread::sleep(2 * GUARD);
            let said = node.must("cat /tmp/hold.out").said;
            assert!(said.contains("released, MMP is clean"), "{said}");
            println!("       {name}: up {} s after a clean stop", 2 * GUARD.as_secs());
            disk.disconnect(&pair.b);
            return;
        }
        Deed::Hang => node.must(&format!("dmsetup suspend --noflush --nolockfs {}", disk.device())),
        Deed::Kill => node.must("kill -9 $(cat /tmp/hold.pid)"),
    };
    let done = Instant::now();
    let (down, up) = thread::scope(|scope| {
        // Ends with the machine.
        let down = scope.spawn(|| (node.run("sleep 300").code, done.elapsed()));
        let up = scope.spawn(|| (pair.b.run(&disk.mount("ext4", "rw")), done.elapsed()));
        (down.join().expect("down"), up.join().expect("up"))
    });
    let (mounted, up) = up;
    assert_eq!(mounted.code, 0, "{}", mounted.said);
    let (down, up_s) = ((down.0, down.1.as_secs_f64()), up.as_secs_f64());
    println!("       {name}: down after {:.1} s, mounted there after {up_s:.1} s", down.1);
    assert_eq!(down.0, -1, "the machine is still up");
    assert!(down.1 < up_s, "down after {} s, mounted there after {up_s} s", down.1);
    pair.b.must(&format!("/bin/umount {}", disk.dir()));
    disk.disconnect(&pair.b);
    disk.check();
}
