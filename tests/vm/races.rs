//! Both machines mount the same clean file system at the same moment.

use std::thread;
use std::time::Duration;

use crate::disk::{Delay, Disk};
use crate::node::{Node, Reply};
use crate::{Case, GUARD, Pair, SLACK};

/// One line of the table: the delays of both paths in seconds, and how much later B begins.
#[derive(Clone, Copy, Debug)]
struct Row {
    a: (f64, f64),
    b: (f64, f64),
    offset: f64,
}

/// The rows of the short table: those where, by the rules, things are closest.
const SHORT: [Row; 10] = [
    Row { a: (0.0, 0.0), b: (0.0, 0.0), offset: 0.0 },
    Row { a: (0.0, 0.3), b: (0.0, 0.0), offset: 0.1 },
    Row { a: (0.0, 0.0), b: (0.0, 0.3), offset: 0.0 },
    Row { a: (0.0, 2.0), b: (0.0, 0.0), offset: 1.0 },
    Row { a: (0.0, 5.0), b: (0.0, 5.0), offset: 0.0 },
    Row { a: (0.0, 0.0), b: (0.0, 8.0), offset: 0.0 },
    Row { a: (0.0, 8.0), b: (0.0, 0.0), offset: 7.9 },
    Row { a: (0.0, 0.0), b: (0.0, 0.0), offset: 11.0 },
    Row { a: (2.0, 0.0), b: (0.0, 2.0), offset: 0.0 },
    Row { a: (0.0, 2.0), b: (2.0, 0.0), offset: 1.0 },
];

fn long_table() -> Vec<Row> {
    let mut rows = SHORT.to_vec();
    for a in [0.0, 1.0, 4.0, 8.0] {
        for b in [0.0, 1.0, 4.0, 8.0] {
            for offset in [0.0, 3.5] {
                rows.push(Row { a: (0.0, a), b: (0.0, b), offset });
            }
        }
    }
    for (a, b) in [(0.0, 8.0), (8.0, 0.0), (4.0, 4.0), (1.0, 8.0)] {
        rows.push(Row { a: (a, 0.0), b: (b, 0.0), offset: 0.0 });
        rows.push(Row { a: (a, b), b: (b, a), offset: 2.0 });
    }
    rows
}

pub(crate) fn cases(long: bool) -> Vec<Case> {
    let mut cases = vec![Case::new("stock mount lets both in", stock)];
    for (a, b, offset) in [(0.0, 0.0, 0.0), (0.0, 5.0, 1.0), (5.0, 0.0, -1.0), (2.0, 2.0, 0.0)] {
        cases.push(Case::new(
            format!("strict here, stock mount there: writes {a} and {b} s, offset {offset} s"),
            move |pair, disk| strict_against_stock(pair, disk, a, b, offset),
        ));
    }
    for row in if long { long_table() } else { SHORT.to_vec() } {
        cases.push(Case::new(format!("race {row:?}"), move |pair, disk| race(pair, disk, row)));
    }
    cases
}

/// Runs a command on each node, B's so many seconds after A's, or before where negative.
fn both(pair: &Pair, on_a: &str, on_b: &str, offset: f64) -> (Reply, Reply) {
    let later = |seconds: f64| thread::sleep(Duration::from_secs_f64(seconds.max(0.0)));
    thread::scope(|scope| {
        let a = scope.spawn(|| {
            later(-offset);
            pair.a.run(on_a)
        });
        let b = scope.spawn(|| {
            later(offset);
            pair.b.run(on_b)
        });
        (a.join().expect("a"), b.join().expect("b"))
    })
}

/// Why all this: with the kernel's own protection both are let in, neither notices, and files are
/// lost. If this does not happen here, the races below prove nothing.
fn stock(pair: &Pair, disk: &Disk) {
    disk.format();
    disk.connect(&pair.a, Delay::seconds(0.0, 4.0));
    disk.connect(&pair.b, Delay::default());
    let mount = disk.mount("ext4", "rw");
    // A's look must come before B's write, and B's look before A's write lands: wide enough for
    // machines that are emulated on a busy one.
    let (a, b) = both(pair, &mount, &mount, 1.5);
    assert_eq!((a.code, b.code), (0, 0), "one was refused: {} {}", a.said, b.said);
    disk.relieve(&pair.a);
    for node in [&pair.a, &pair.b] {
        node.must(&format!("echo {} > {}/of-{}; sync", node.name, disk.dir(), node.name));
    }
    thread::sleep(2 * GUARD);
    for node in [&pair.a, &pair.b] {
        let log = node.must(&format!("dmesg | grep -c 'MMP.*{}' || true", disk.device()));
        assert_eq!(log.said.trim(), "0", "{}'s kernel noticed", node.name);
        node.must(&format!("/bin/umount {}", disk.dir()));
    }
    let listed = pair.a.must(&format!("debugfs -R 'ls -p /' {} 2>/dev/null", disk.device())).said;
    let kept = ["of-vm-a", "of-vm-b"].iter().filter(|file| listed.contains(**file)).count();
    assert!(kept < 2, "no file was lost: {listed}");
    for node in [&pair.a, &pair.b] {
        disk.disconnect(node);
    }
}

fn winner_and_loser(pair: &Pair, a: Reply, b: Reply) -> ((&Node, Reply), (&Node, Reply)) {
    match (a.code, b.code) {
        (0, 32) => ((&pair.a, a), (&pair.b, b)),
        (32, 0) => ((&pair.b, b), (&pair.a, a)),
        _ => panic!("not exactly one: {a:?} {b:?}"),
    }
}

/// The winner uses the disk, and it is in order afterwards.
fn settle(pair: &Pair, disk: &Disk, winner: &Node) {
    for node in [&pair.a, &pair.b] {
        disk.relieve(node);
    }
    winner.must(&format!("echo {} > {}/winner && /bin/umount {1}", winner.name, disk.dir()));
    for node in [&pair.a, &pair.b] {
        disk.disconnect(node);
    }
    assert_eq!(disk.checked_winner(), winner.name);
}

fn race(pair: &Pair, disk: &Disk, row: Row) {
    disk.format();
    disk.connect(&pair.a, Delay::seconds(row.a.0, row.a.1));
    disk.connect(&pair.b, Delay::seconds(row.b.0, row.b.1));
    let mount = disk.mount("mmp.ext4", "rw");
    let (a, b) = both(pair, &mount, &mount, row.offset);
    let ((winner, won), (loser, lost)) = winner_and_loser(pair, a, b);
    println!(
        "       {row:?}: {} won in {:.1} s, {} lost in {:.1} s: {}",
        winner.name,
        won.took.as_secs_f64(),
        loser.name,
        lost.took.as_secs_f64(),
        lost.said.lines().last().unwrap_or_default(),
    );
    assert!(lost.said.contains("in use"), "{}", lost.said);
    assert!(lost.said.contains(winner.name), "the loser does not name the winner: {}", lost.said);
    let at_most = promised(row);
    assert!(won.took <= at_most, "won in {:?}, not {at_most:?}: {}", won.took, won.said);
    assert!(lost.took <= at_most, "lost in {:?}, not {at_most:?}: {}", lost.took, lost.said);
    settle(pair, disk, winner);
}

fn promised(row: Row) -> Duration {
    let slowest = [row.a.0, row.a.1, row.b.0, row.b.1].into_iter().fold(0.0, f64::max);
    2 * GUARD + Duration::from_secs_f64(20.0 * slowest) + SLACK
}

/// The partner has no helper; strict mode holds against it all the same.
fn strict_against_stock(pair: &Pair, disk: &Disk, a: f64, b: f64, offset: f64) {
    disk.format();
    disk.connect(&pair.a, Delay::seconds(0.0, a));
    disk.connect(&pair.b, Delay::seconds(0.0, b));
    let strict = disk.mount("mmp.ext4", "mmp.mode=strict");
    let (a, b) = both(pair, &strict, &disk.mount("ext4", "rw"), offset);
    let ((winner, _), _) = winner_and_loser(pair, a, b);
    settle(pair, disk, winner);
}
