//! One machine takes over from the other.

use std::thread;
use std::time::Duration;

use crate::disk::{Delay, Disk};
use crate::{Case, GUARD, Pair, SLACK};

/// One update interval and 2 s, and what emulation adds.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("mounted there: refused, named, and soon", in_use),
        Case::new("the partner unmounts, with and without mmp.wait", unmounting),
        Case::new("e2fsck runs there, or was killed", e2fsck),
    ]
}

/// Cases that end with machine A.
pub(crate) fn deadly_cases() -> Vec<Case> {
    vec![Case::new("the partner's machine is gone", gone)]
}

fn connect(pair: &Pair, disk: &Disk, delay: Delay) {
    disk.format();
    disk.connect(&pair.a, delay);
    disk.connect(&pair.b, Delay::default());
}

fn disconnect(pair: &Pair, disk: &Disk) {
    for node in [&pair.a, &pair.b] {
        disk.disconnect(node);
    }
}

fn in_use(pair: &Pair, disk: &Disk) {
    connect(pair, disk, Delay::default());
    pair.a.must(&disk.mount("mmp.ext4", "rw"));
    for options in ["rw", "ro", "mmp.mode=strict"] {
        let refused = pair.b.run(&disk.mount("mmp.ext4", options));
        assert_eq!(refused.code, 32, "{}", refused.said);
        assert!(refused.said.contains("node 'vm-a'"), "{}", refused.said);
        assert!(refused.took <= SOON, "{:?}", refused.took);
    }
    pair.a.must(&format!("/bin/umount {}", disk.dir()));
    disconnect(pair, disk);
}

fn unmounting(pair: &Pair, disk: &Disk) {
    connect(pair, disk, Delay::seconds(0.0, 2.0));
    pair.a.must(&disk.mount("ext4", "rw"));
    pair.a.must(&format!("echo vm-a > {}/winner", disk.dir()));
    let (left, refused, waited) = thread::scope(|scope| {
        let refused = scope.spawn(|| pair.b.run(&disk.mount("mmp.ext4", "rw")));
        thread::sleep(Duration::from_millis(500));
        let waited = scope.spawn(|| {
            thread::sleep(SOON);
            pair.b.run(&disk.mount("mmp.ext4", "mmp.wait=90"))
        });
        thread::sleep(SOON + Duration::from_secs(3));
        let left = pair.a.run(&format!("/bin/umount {}", disk.dir()));
        (left, refused.join().expect("refused"), waited.join().expect("waited"))
    });
    assert_eq!(left.code, 0, "{}", left.said);
    assert!(left.took > Duration::from_secs(2), "unmounting was not slow: {:?}", left.took);
    assert_eq!(refused.code, 32, "{}", refused.said);
    assert!(refused.said.contains("mmp.wait="), "{}", refused.said);
    assert_eq!(waited.code, 0, "{}", waited.said);
    pair.b.must(&format!("grep vm-a {}/winner && /bin/umount {0}", disk.dir()));
    disconnect(pair, disk);
}

fn e2fsck(pair: &Pair, disk: &Disk) {
    // Slow reads keep it busy.
    connect(pair, disk, Delay::seconds(0.3, 0.0));
    let device = disk.device();
    let mount = disk.mount("mmp.ext4", "rw");
    pair.a.must(&format!("e2fsck -f -y {device} >/tmp/fsck.out 2>&1 & echo $! > /tmp/fsck.pid"));
    let began = std::time::Instant::now();
    while !pair.b.run(&format!("mmpcheck {device}")).said.contains("fsck") {
        assert!(began.elapsed() < 8 * GUARD, "e2fsck does not begin");
        thread::sleep(Duration::from_millis(500));
    }
    let refused = pair.b.run(&mount);
    assert_eq!(refused.code, 32, "{}", refused.said);
    for word in ["fsck", "node 'vm-a'", "clear_mmp", "renews that time"] {
        assert!(refused.said.contains(word), "{}", refused.said);
    }
    assert!(refused.took <= SLACK, "{:?}", refused.took);
    pair.a.must("kill -9 $(cat /tmp/fsck.pid)");
    let refused = pair.b.run(&mount);
    assert_eq!(refused.code, 32, "{}", refused.said);
    disk.relieve(&pair.a);
    // What the administrator does who has seen that it is dead.
    disk.set("seq", "0xff4d4d50");
    pair.b.must(&mount);
    pair.b.must(&format!("/bin/umount {}", disk.dir()));
    disconnect(pair, disk);
}

/// The power of A goes while it uses the disk. B takes over; the journal brings back what A wrote.
fn gone(pair: &Pair, disk: &Disk) {
    connect(pair, disk, Delay::default());
    pair.a.must(&disk.mount("mmp.ext4", "rw"));
    pair.a.must(&format!("echo vm-a > {}/winner; sync", disk.dir()));
    pair.a.kill();
    let interval = Duration::from_secs(disk.check_interval().max(5));
    let wait = 2 * interval + Duration::from_secs(1);
    let taken = pair.b.run(&disk.mount("mmp.ext4", "rw"));
    assert_eq!(taken.code, 0, "{}", taken.said);
    assert!(taken.said.contains("node 'vm-a'"), "{}", taken.said);
    assert!((2 * wait..=2 * wait + SLACK).contains(&taken.took), "{:?} {wait:?}", taken.took);
    pair.b.must(&format!("/bin/umount {}", disk.dir()));
    disk.disconnect(&pair.b);
    assert_eq!(disk.checked_winner(), "vm-a");
}
