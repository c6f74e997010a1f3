//! Hold.

use std::time::Duration;

use mmp::layout::{MMP_SIZE, MmpBlock, Sequence};
use mmp::protocol::{HoldRequest, Notice};

use super::harness::{Fault, Landed, Mishap, Node, World, active, assert_end, at, clean, ms};

fn ours() -> MmpBlock {
    active("a", 41)
}

fn hold() -> Node {
    Node::hold(ours(), ms(1000))
}

fn run(node: Node, foreign: &[(u64, MmpBlock)], until: u64) -> World {
    World::run(ours(), vec![node], foreign, until)
}

fn sequences(landed: &[Landed]) -> Vec<u32> {
    landed.iter().map(|landed| landed.write.block.sequence().raw()).collect()
}

/// Writes keep to the absolute schedule however long reads and writes take.
#[test]
fn beats_on_an_absolute_schedule() {
    for (read_delay, write_delay) in [(1, 1), (30, 400), (400, 500)] {
        let node = Node { read_delay, write_delay, ..hold() };
        let world = run(node, &[], 60_000 + read_delay + write_delay);
        assert_eq!(sequences(&world.landed), (42..=102).collect::<Vec<_>>());
        for (second, landed) in (0u64..).zip(&world.landed) {
            assert_eq!(landed.at, at(second * 1000 + read_delay + write_delay));
            assert!(!landed.write.flush);
            let rest = landed.write.block.clone().with_sequence(ours().sequence()).with_time(0);
            assert_eq!(rest, ours(), "more than sequence and time changed");
        }
    }
}

#[test]
fn the_sequence_wraps_to_one() {
    let disk = active("a", 0xE24D_4D4E);
    let world = World::run(disk.clone(), vec![Node::hold(disk, ms(1000))], &[], 2500);
    assert_eq!(sequences(&world.landed), [0xE24D_4D4F, 1, 2]);
}

struct Row {
    name: &'static str,
    foreign: Vec<(u64, MmpBlock)>,
    faults: Vec<Fault>,
    stop: Option<u64>,
    paused: Option<(u64, u64)>,
    /// How it ends and when; `None` where it still holds after a minute.
    end: Option<(&'static str, u64)>,
    /// Whose the block is in the end.
    left: &'static str,
}

const ROW: Row = Row {
    name: "",
    foreign: Vec::new(),
    faults: Vec::new(),
    stop: None,
    paused: None,
    end: None,
    left: "a",
};

/// Reads and writes of a span that hang as long.
fn hanging(from: u64, to: u64) -> Vec<Fault> {
    let mishap = Mishap::Hangs(ms(to - from));
    vec![Fault::reads(from, from + 2000, mishap).first(1)]
}

#[test]
fn holds_on_or_is_out_in_time() {
    let b = |sequence| active("b", sequence);
    let reads = |from, to, mishap| vec![Fault::reads(from, to, mishap)];
    let writes = |from, to, mishap| vec![Fault::writes(from, to, mishap)];
    let hangs = |millis| Mishap::Hangs(ms(millis));
    let rows = [
        Row { name: "released", stop: Some(5500), end: Some(("released", 5500)), ..ROW },
        Row { name: "one late write", foreign: vec![(5500, b(7))], ..ROW },
        Row { name: "the same late write again", foreign: vec![(5500, b(7)), (6500, b(7))], ..ROW },
        Row { name: "late writes far apart", foreign: vec![(5500, b(7)), (30_500, b(8))], ..ROW },
        Row { name: "late unmount", foreign: vec![(5500, b(7)), (6500, clean())], ..ROW },
        Row {
            name: "second writer",
            foreign: vec![(5500, b(7)), (6500, b(8))],
            end: Some(("second writer b", 7000)),
            left: "b",
            ..ROW
        },
        Row {
            name: "stopped when not ours",
            foreign: vec![(5500, b(7))],
            stop: Some(5600),
            end: Some(("not ours but b's", 5600)),
            left: "b",
            ..ROW
        },
        Row { name: "reads fail for a while", faults: reads(5000, 14_000, Mishap::Fails), ..ROW },
        Row { name: "writes fail for a while", faults: writes(5000, 14_000, Mishap::Fails), ..ROW },
        Row { name: "torn reads", faults: reads(5000, 5100, Mishap::Torn), ..ROW },
        Row {
            name: "writes are said to fail",
            faults: writes(5000, 14_000, Mishap::FailsButLands),
            ..ROW
        },
        Row {
            name: "reads fail for good",
            faults: reads(5000, 99_000, Mishap::Fails),
            end: Some(("expired", 15_000)),
            ..ROW
        },
        Row {
            name: "writes fail for good",
            faults: writes(5000, 99_000, Mishap::Fails),
            end: Some(("expired", 15_000)),
            ..ROW
        },
        Row { name: "a read hangs for a while", faults: hanging(5000, 14_000), ..ROW },
        Row {
            name: "a read hangs beyond the lease",
            faults: hanging(5000, 16_000),
            end: Some(("expired", 16_000)),
            ..ROW
        },
        Row {
            name: "a write hangs beyond the lease",
            faults: vec![Fault::writes(5000, 6000, Mishap::Hangs(ms(11_500)))],
            end: Some(("expired", 16_500)),
            ..ROW
        },
        Row {
            name: "the lease runs from before a slow write",
            faults: [writes(5000, 6000, hangs(3000)), reads(8500, 99_000, Mishap::Fails)].concat(),
            end: Some(("expired", 16_000)),
            ..ROW
        },
        Row {
            name: "a longer interval written too late extends nothing",
            faults: [writes(5000, 6000, hangs(7000)), writes(13_000, 14_000, hangs(5000))].concat(),
            end: Some(("expired", 18_000)),
            ..ROW
        },
        Row {
            name: "a longer interval counts once everybody must know it",
            faults: [
                writes(5000, 6000, hangs(7000)),
                writes(14_000, 99_000, Mishap::FailsButLands),
            ]
            .concat(),
            end: Some(("expired", 24_000)),
            ..ROW
        },
        Row {
            name: "a shorter interval that may have landed counts",
            faults: [
                writes(5000, 6000, hangs(7000)),
                writes(28_500, 99_000, Mishap::FailsButLands),
            ]
            .concat(),
            end: Some(("expired", 52_000)),
            ..ROW
        },
        Row { name: "paused for a while", paused: Some((5100, 15_000)), ..ROW },
        Row {
            name: "paused beyond the lease",
            paused: Some((5100, 16_100)),
            end: Some(("expired", 16_100)),
            ..ROW
        },
        Row {
            name: "paused, and taken meanwhile",
            paused: Some((5100, 30_000)),
            foreign: vec![(16_000, b(7)), (27_000, b(8)), (28_000, b(9))],
            end: Some(("expired, now b", 30_000)),
            left: "b",
            ..ROW
        },
        Row {
            name: "stopped while paused, and taken meanwhile",
            paused: Some((5100, 30_000)),
            stop: Some(6000),
            foreign: vec![(16_000, b(7))],
            end: Some(("expired, now b", 30_000)),
            left: "b",
            ..ROW
        },
        Row {
            name: "stopped while reads fail",
            faults: reads(5000, 99_000, Mishap::Fails),
            stop: Some(7500),
            end: Some(("not released", 7500)),
            ..ROW
        },
        Row {
            name: "the release fails",
            faults: writes(5500, 99_000, Mishap::Fails),
            stop: Some(5500),
            end: Some(("not released", 5500)),
            ..ROW
        },
    ];
    for row in rows {
        let node = Node { faults: row.faults, stop: row.stop, paused: row.paused, ..hold() };
        let world = run(node, &row.foreign, 60_000);
        let node = &world.nodes[0];
        match row.end {
            Some((word, millis)) => assert_end(row.name, node, word, millis),
            None => assert_eq!(node.word(), "holding", "{}", row.name),
        }
        assert_eq!(world.holder(), row.left, "{}", row.name);
        if row.end.is_none() {
            let last = world.landed.last().expect("writes");
            assert!(last.at >= at(59_000), "{}: stopped writing at {:?}", row.name, last.at);
        }
        for pair in world.landed.windows(2) {
            let (before, after) = (&pair[0].write.block, &pair[1].write.block);
            let next = before.sequence().next();
            let follows = after == before || [next, Sequence::Clean].contains(&after.sequence());
            assert!(follows, "{}: {before:?} then {after:?}", row.name);
        }
    }
}

#[test]
fn a_release_is_flushed_and_changes_sequence_and_time_only() {
    let world = run(Node { stop: Some(5500), ..hold() }, &[], 60_000);
    let last = &world.landed.last().expect("writes").write;
    assert!(last.flush);
    assert_eq!(last.block.clone().with_time(0), ours().with_sequence(Sequence::Clean));
}

/// The file system was made anew, and the place given to a file: its data are not written over.
#[test]
fn what_is_no_mmp_block_is_left_alone() {
    let data = MmpBlock::from_bytes([b'x'; MMP_SIZE]);
    let world = run(hold(), &[(5500, data.clone())], 60_000);
    assert_eq!(world.nodes[0].word(), "gone");
    assert_eq!(world.disk, data);
    let told = Node { stop: Some(5600), ..hold() };
    let world = run(told, &[(5500, data.clone())], 60_000);
    assert_eq!(world.disk, data, "nor when it is told to stop");
}

#[test]
fn says_what_it_saw() {
    let found = active("b", 7);
    let world = run(hold(), &[(5500, found.clone())], 20_000);
    assert_eq!(world.nodes[0].notices, [Notice::Defended { found: Box::new(found) }]);
    let faults = vec![Fault::writes(5000, 7500, Mishap::Fails)];
    let world = run(Node { faults, ..hold() }, &[], 20_000);
    assert_eq!(world.nodes[0].notices.len(), 3);
    assert!(world.nodes[0].notices.iter().all(|n| matches!(n, Notice::WriteFailed(_))));
    let faults = vec![Fault::reads(5000, 5900, Mishap::Fails)];
    let world = run(Node { faults, ..hold() }, &[], 20_000);
    assert!(matches!(world.nodes[0].notices[..], [Notice::ReadFailed(_)]));
}

/// After a pause there is one write at once and then one a second: no burst to catch up.
#[test]
fn missed_beats_are_not_made_up_for() {
    let world = run(Node { paused: Some((5100, 12_300)), ..hold() }, &[], 20_000);
    let times: Vec<_> =
        world.landed.iter().map(|landed| landed.at).filter(|t| *t > at(6000)).collect();
    let expected: Vec<_> = [12_300]
        .into_iter()
        .chain((13..20).map(|second| second * 1000))
        .map(|t| at(t + 2))
        .collect();
    assert_eq!(times, expected);
}

/// A slow write raises the published check interval at once, and it falls slowly.
#[test]
fn publishes_the_slowest_recent_write() {
    let faults = vec![Fault::writes(5000, 6000, Mishap::Hangs(ms(7000)))];
    let world = run(Node { faults, ..hold() }, &[], 400_000);
    let published: Vec<_> = world
        .landed
        .iter()
        .map(|landed| (landed.at, landed.write.block.check_interval()))
        .collect();
    let on = |millis| published.iter().rfind(|(t, _)| *t <= at(millis)).map(|(_, check)| *check);
    assert_eq!(on(12_900), Some(5));
    assert_eq!(on(13_500), Some(15), "twice 7 s and a little");
    let values: Vec<_> = published.iter().map(|(_, check)| *check).skip(7).collect();
    assert!(
        values.windows(2).all(|pair| pair[1] <= pair[0] && pair[0] - pair[1] <= 1),
        "{values:?}"
    );
    assert!(on(30_000) > Some(8), "{:?}", on(30_000));
    assert_eq!(on(400_000), Some(5));
}

/// The published interval, and with it the lease, follows the heartbeat asked for.
#[test]
fn the_check_interval_is_twice_the_heartbeat() {
    let claimed = |check| ours().with_check_interval(check);
    let rows = [(100, 5), (1000, 5), (2500, 5), (2501, 6), (10_000, 20), (150_000, 300)];
    for (interval, check) in rows {
        let request = HoldRequest { update_interval: 5, interval: ms(interval) };
        assert_eq!(request.check_interval(Duration::ZERO), check);
        let world = run(Node::hold(claimed(check), ms(interval)), &[], 2 * interval + 550);
        assert!(world.landed.iter().all(|landed| landed.write.block.check_interval() == check));
        assert_eq!(world.landed.len(), usize::try_from(500 / interval).unwrap_or(0) + 3);
    }
    let request = HoldRequest { update_interval: 5, interval: ms(1000) };
    assert_eq!(request.check_interval(Duration::from_secs(400)), 300);
    // With a heartbeat of 10 s the lease is min(2 * 20 + 1, 20 + 20) s.
    let faults = vec![Fault::writes(10_500, 99_000, Mishap::Fails)];
    let world = run(Node { faults, ..Node::hold(claimed(20), ms(10_000)) }, &[], 99_000);
    assert_end("slow heartbeat", &world.nodes[0], "expired", 50_000);
}
