//! Claim.

use mmp::layout::{MmpBlock, Sequence};

use super::harness::{Fault, Mishap, Node, World, active, assert_end, at, block, clean};

fn claim() -> Node {
    Node::claim("a", 5, 0, 41)
}

#[test]
fn a_claim_waits_by_the_longest_interval() {
    let rows = [
        ("clean", clean(), 5, 11_000),
        ("clean, as kmmpd leaves it", clean().with_check_interval(10), 5, 21_000),
        ("clean, update interval 30", clean(), 30, 61_000),
        ("stale", active("b", 7), 5, 22_250),
        ("stale, check interval 10", active("b", 7).with_check_interval(10), 5, 42_250),
    ];
    for (name, disk, update_interval, millis) in rows {
        let node = Node::claim("a", update_interval, 0, 41);
        let world = World::run(disk.clone(), vec![node], &[], 100_000);
        let claimed = world.nodes[0].claimed.as_ref().unwrap_or_else(|| panic!("{name}"));
        let expected = at(millis)..=at(millis + 300);
        assert!(expected.contains(&claimed.verified), "{name}: {:?}", claimed.verified);
        assert_eq!(claimed.original, disk, "{name}");
        let first = &world.landed[0];
        let wall = first.at.0 / 1_000_000_000;
        let names = mmp::layout::Names::new(b"a", b"disk");
        let check = disk.check_interval().max(5);
        let ours = disk.with_names(&names).with_time(wall).with_check_interval(check);
        assert_eq!(first.write.block, ours.with_sequence(Sequence::active(41)), "{name}");
    }
}

struct Row {
    name: &'static str,
    disk: MmpBlock,
    foreign: Vec<(u64, MmpBlock)>,
    faults: Vec<Fault>,
    stop: Option<u64>,
    end: (&'static str, u64),
    /// How many writes land, and whose the block is in the end.
    writes: usize,
    left: &'static str,
}

#[test]
fn a_claim_that_is_not_won_leaves_the_block_as_it_should_be() {
    let row = |name, disk, end, writes, left| {
        let (foreign, faults) = (Vec::new(), Vec::new());
        Row { name, disk, foreign, faults, stop: None, end, writes, left }
    };
    let b = |sequence| active("b", sequence);
    let all = 0..100_000u64;
    let reads = |from, mishap| vec![Fault::reads(from, all.end, mishap)];
    let writes = |mishap| vec![Fault::writes(all.start, all.end, mishap).first(1)];
    let rows = [
        Row { foreign: vec![(900, b(8))], ..row("in use", b(7), ("in use by b", 900), 0, "b") },
        row("fsck", block("b", Sequence::Fsck), ("fsck", 0), 0, "b"),
        row("unknown", block("b", Sequence::Unknown(!0)), ("unknown", 0), 0, "b"),
        Row {
            faults: reads(0, Mishap::Torn),
            ..row("torn", clean(), ("bad checksum", 150), 0, "before")
        },
        Row {
            faults: reads(0, Mishap::Fails),
            ..row("unreadable", clean(), ("unreadable", 150), 0, "before")
        },
        Row { stop: Some(3000), ..row("stopped while checking", b(7), ("stopped", 3000), 0, "b") },
        Row {
            foreign: vec![(2900, b(8))],
            ..row("another claims later", clean(), ("lost race to b", 3000), 1, "b")
        },
        Row {
            foreign: vec![(11_000, b(8))],
            ..row("another claims in the last moment", clean(), ("lost race to b", 11_000), 1, "b")
        },
        Row {
            foreign: vec![(2900, clean())],
            ..row("somebody cleans it", clean(), ("lost race to before", 3000), 1, "before")
        },
        Row { stop: Some(3000), ..row("stopped", clean(), ("stopped", 3000), 2, "before") },
        Row {
            stop: Some(13_250),
            ..row("stopped on a stale one", b(7), ("stopped", 13_250), 2, "b")
        },
        Row {
            stop: Some(3000),
            foreign: vec![(2999, b(8))],
            ..row("stopped, but lost already", clean(), ("stopped", 3000), 1, "b")
        },
        Row {
            faults: writes(Mishap::Fails),
            ..row("unwritable", clean(), ("unwritable", 0), 0, "before")
        },
        Row {
            faults: writes(Mishap::FailsButLands),
            ..row("unwritable, but it landed", clean(), ("unwritable", 0), 2, "before")
        },
        Row {
            faults: reads(5000, Mishap::Fails),
            ..row("the disk goes away", clean(), ("unverified, left behind", 5300), 1, "a")
        },
        Row {
            faults: vec![Fault::reads(5000, all.end, Mishap::Fails).first(5)],
            ..row("the disk goes away and comes back", clean(), ("unverified", 5200), 2, "before")
        },
    ];
    for row in rows {
        let node = Node { faults: row.faults, stop: row.stop, ..claim() };
        let world = World::run(row.disk, vec![node], &row.foreign, 60_000);
        assert_end(row.name, &world.nodes[0], row.end.0, row.end.1);
        assert_eq!(world.landed.len(), row.writes, "{}", row.name);
        assert_eq!(world.holder(), row.left, "{}", row.name);
    }
}

#[test]
fn what_is_put_back_is_what_was_there() {
    for disk in [clean().with_time(77), active("b", 9).with_check_interval(13)] {
        for stop in [30_000, 500, 27_000] {
            let node = Node { stop: Some(stop), ..claim() };
            let world = World::run(disk.clone(), vec![node], &[], stop + 1000);
            if world.nodes[0].word() == "stopped" {
                assert_eq!(world.disk, disk);
            } else {
                assert_eq!(world.nodes[0].word(), "released");
            }
        }
    }
}

#[test]
fn a_patient_claim_tries_again() {
    let mut foreign: Vec<_> =
        (0..10u32).map(|n| (u64::from(n) * 1000 + 3000, active("b", n))).collect();
    foreign.push((12_900, clean()));
    let node = Node::claim("a", 5, 60_000, 41);
    let world = World::run(clean(), vec![node], &foreign, 30_000);
    let claimed = world.nodes[0].claimed.as_ref().expect("claimed");
    assert!((at(24_500)..at(26_000)).contains(&claimed.verified), "{:?}", claimed.verified);
    let sequences: Vec<_> = world.landed.iter().map(|l| l.write.block.sequence()).collect();
    assert_ne!(sequences[0], sequences[1], "the second claim repeats the first");
}

#[test]
fn a_read_that_meets_a_write_half_way_loses_no_claim() {
    let mut node = claim();
    node.faults =
        (1..11).map(|s| Fault::reads(s * 1000, s * 1000 + 900, Mishap::Torn).first(3)).collect();
    let world = World::run(clean(), vec![node], &[], 15_000);
    assert_eq!(world.nodes[0].word(), "holding");
}
