//! `mmpd watch` beside two kernels.

use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{Delay, Disk};
use crate::node::Node;
use crate::{Case, Pair, SLACK};

/// How often kmmpd writes.
const UPDATE: Duration = Duration::from_secs(5);
/// After so long a holder is called silent.
const SILENT: Duration = Duration::from_secs(15);
/// After so long a device is said not to answer.
const HUNG: Duration = Duration::from_secs(10);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("stock mount lets both in, and watch says so", double_mount),
        Case::new("a device that hangs delays no other under watch", hanging),
    ]
}

/// `mmpd watch` on a node, until this value is gone.
struct Watch<'a> {
    node: &'a Node,
    file: String,
}

impl<'a> Watch<'a> {
    fn start(node: &'a Node, disk: &Disk, devices: &str) -> Self {
        let file = format!("/tmp/watch.{}", disk.letter());
        node.must(&format!("mmpd watch {devices} >{file} 2>&1 & echo $! >{file}.pid"));
        let watch = Watch { node, file };
        watch.wait_for(": watched", Instant::now(), 2 * SLACK);
        watch
    }

    fn said(&self) -> String {
        self.node.must(&format!("cat {}", self.file)).said
    }

    /// Waits for a line, at most so long after `event`.
    #[track_caller]
    fn wait_for(&self, line: &str, event: Instant, at_most: Duration) {
        while !self.said().contains(line) {
            let late = event.elapsed();
            assert!(late < at_most, "{}: no '{line}': {}", self.node.name, self.said());
            thread::sleep(Duration::from_millis(200));
        }
        let (took, name) = (event.elapsed().as_secs_f64(), self.node.name);
        println!("       {name}: {took:.1} s until '{line}'");
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.node.run(&format!("kill $(cat {}.pid)", self.file));
    }
}

/// FACTS 4a: one path is slow, both mount a clean file system at the same moment.
fn double_mount(pair: &Pair, disk: &Disk) {
    disk.format();
    disk.connect(&pair.a, Delay::seconds(0.0, 2.0));
    disk.connect(&pair.b, Delay::default());
    let device = disk.device();
    let watches = [&pair.a, &pair.b].map(|node| Watch::start(node, disk, &device));
    let mount = disk.mount("ext4", "rw");
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| pair.a.run(&mount));
        thread::sleep(Duration::from_millis(500));
        let b = pair.b.run(&mount);
        (a.join().expect("a"), b)
    });
    let event = Instant::now();
    assert_eq!((a.code, b.code), (0, 0), "one was refused: {} {}", a.said, b.said);
    for watch in &watches {
        watch.wait_for("second-writer", event, 2 * UPDATE + SLACK);
        for name in ["node 'vm-a'", "node 'vm-b'"] {
            assert!(watch.said().contains(name), "{}", watch.said());
        }
    }
    drop(watches);
    disk.relieve(&pair.a);
    for node in [&pair.a, &pair.b] {
        node.must(&format!("/bin/umount {}", disk.dir()));
        disk.disconnect(node);
    }
}

/// Two paths on one machine, one of which hangs; the holder, elsewhere, falls silent.
fn hanging(pair: &Pair, disk: &Disk) {
    disk.format();
    for node in [&pair.a, &pair.b] {
        disk.connect(node, Delay::default());
    }
    pair.b.must(&disk.mount("ext4", "rw"));
    let (letter, device) = (disk.letter(), disk.device());
    let below = format!("/dev/vd{letter}");
    let watch = Watch::start(&pair.a, disk, &format!("{device} {below}"));
    watch.wait_for(&format!("{below}: watched"), Instant::now(), SLACK);
    thread::sleep(2 * UPDATE);
    pair.a.must(&format!("dmsetup suspend --nolockfs {letter}"));
    let hangs = format!("{device}: unreadable: the device has not answered");
    watch.wait_for(&hangs, Instant::now(), HUNG + SLACK);
    pair.b.must(&format!("fsfreeze --freeze {}", disk.dir()));
    let silent = format!("{below}: stalled: node 'vm-b'");
    watch.wait_for(&silent, Instant::now(), SILENT + SLACK);
    pair.b.must(&format!("fsfreeze --unfreeze {}", disk.dir()));
    watch.wait_for(&format!("{below}: stalled: cleared"), Instant::now(), UPDATE + SLACK);
    pair.a.must(&format!("dmsetup resume {letter}"));
    watch.wait_for(&format!("{device}: unreadable: cleared"), Instant::now(), SLACK);
    assert!(!watch.said().contains("second-writer"), "{}", watch.said());
    drop(watch);
    pair.b.must(&format!("/bin/umount {}", disk.dir()));
    for node in [&pair.a, &pair.b] {
        disk.disconnect(node);
    }
}
