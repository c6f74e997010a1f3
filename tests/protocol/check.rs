//! Check.

use mmp::layout::{MmpBlock, Sequence};

use super::harness::{Fault, Mishap, Node, World, active, assert_end, block, clean};

struct Row {
    name: &'static str,
    disk: MmpBlock,
    foreign: Vec<(u64, MmpBlock)>,
    node: Node,
    /// How it ends, and after how many milliseconds.
    end: (&'static str, u64),
}

fn row(name: &'static str, disk: MmpBlock, end: (&'static str, u64)) -> Row {
    Row { name, disk, foreign: Vec::new(), node: Node::check(5, false, 0), end }
}

impl Row {
    fn foreign(mut self, writes: impl IntoIterator<Item = (u64, MmpBlock)>) -> Self {
        self.foreign.extend(writes);
        self
    }

    fn node(self, node: Node) -> Self {
        Row { node, ..self }
    }

    fn reads(mut self, most: u32, mishap: Mishap) -> Self {
        self.node.faults.push(Fault::reads(0, 60_000, mishap).first(most));
        self
    }

    fn stop(mut self, millis: u64) -> Self {
        self.node.stop = Some(millis);
        self
    }
}

/// A heartbeat of `b` every second of a span.
fn beats(from: u64, to: u64) -> impl Iterator<Item = (u64, MmpBlock)> {
    (from..to)
        .map(|second| (second * 1000 + 500, active("b", 100 + u32::try_from(second).unwrap_or(0))))
}

fn patient(millis: u64) -> Node {
    Node::check(5, false, millis)
}

#[test]
fn settles_every_state() {
    let (fsck, unknown) = (block("b", Sequence::Fsck), block("b", Sequence::Unknown(0xFFFF_FFFF)));
    let later = |millis, block: &MmpBlock| [(millis, block.clone())];
    let b = active("b", 7);
    let rows = [
        row("clean", clean(), ("clean", 0)),
        row("clean, guarded", clean(), ("clean", 11_000)).node(Node::check(5, true, 0)),
        row("clean, guarded, then mounted", clean(), ("in use by b", 3000))
            .node(Node::check(5, true, 0))
            .foreign(later(2900, &b)),
        row("stale", b.clone(), ("stale", 11_250)),
        row("stale, sequence 0", active("b", 0), ("stale", 11_250)),
        row("stale, check interval 10", b.clone().with_check_interval(10), ("stale", 21_250)),
        row("stale, update interval 30", b.clone(), ("stale", 61_250))
            .node(Node::check(30, false, 0)),
        row("stale, check interval 300", b.clone().with_check_interval(300), ("stale", 360_250)),
        row("in use", b.clone(), ("in use by b", 4000)).foreign(later(3900, &active("b", 8))),
        row("only its time moves", b.clone(), ("in use by b", 4000))
            .foreign(later(3900, &b.clone().with_time(9))),
        row("changed in the last moment", b.clone(), ("in use by c", 11_250))
            .foreign(later(11_150, &active("c", 8))),
        row("becomes clean", b.clone(), ("clean", 2000)).foreign(later(1900, &clean())),
        row("becomes fsck", b.clone(), ("fsck", 2000)).foreign(later(1900, &fsck)),
        row("fsck", fsck.clone(), ("fsck", 0)),
        row("unknown", unknown.clone(), ("unknown", 0)),
        row("torn three times", clean(), ("clean", 150)).reads(3, Mishap::Torn),
        row("bad checksum", clean(), ("bad checksum", 150)).reads(4, Mishap::Torn),
        row("fails three times", clean(), ("clean", 150)).reads(3, Mishap::Fails),
        row("unreadable", clean(), ("unreadable", 150)).reads(4, Mishap::Fails),
        row("stopped", b.clone(), ("stopped", 3100)).stop(3100),
        row("waits for the release", b.clone(), ("clean", 10_000))
            .node(patient(30_000))
            .foreign(beats(0, 9))
            .foreign(later(9900, &clean())),
        row("waits in vain", b.clone(), ("in use by b", 30_000))
            .node(patient(30_000))
            .foreign(beats(0, 60)),
        row("holder dies while waited for", b.clone(), ("stale", 15_750))
            .node(patient(60_000))
            .foreign(beats(0, 5)),
        row("waits for fsck", fsck.clone(), ("clean", 5000))
            .node(patient(30_000))
            .foreign(later(4900, &clean())),
        row("waits for fsck in vain", fsck, ("fsck", 30_000)).node(patient(30_000)),
        row("waits for an unknown in vain", unknown, ("unknown", 30_000)).node(patient(30_000)),
    ];
    for row in rows {
        let world = World::run(row.disk, vec![row.node], &row.foreign, 400_000);
        assert_end(row.name, &world.nodes[0], row.end.0, row.end.1);
        assert!(world.landed.is_empty());
    }
}
