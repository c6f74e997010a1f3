//! Two claimers of one clean block.

use super::harness::{Node, World, clean};

/// A hundred tries, each with other delays and another head start: one holds, the other names it
/// and has written nothing since it knew.
#[test]
fn of_two_claimers_exactly_one_wins() {
    let mut wins = [0; 2];
    for try_number in 0..100u64 {
        let node = |index: u64, name| {
            let spread = |step: u64, below: u64| (try_number + 1) * (index + 3) * step % below;
            let mut node = Node::claim(name, 5, 0, 7).starting(index * spread(137, 12_500));
            (node.read_delay, node.write_delay) = (spread(29, 700), spread(53, 2500));
            node
        };
        let world = World::run(clean(), vec![node(0, "a"), node(1, "b")], &[], 60_000);
        let words: Vec<_> = world.nodes.iter().map(Node::word).collect();
        let winner = words.iter().position(|word| *word == "holding");
        let winner = winner.unwrap_or_else(|| panic!("try {try_number}: {words:?}"));
        let (name, loser) = ([" a", " b"][winner], 1 - winner);
        assert!(words[loser].ends_with(name), "try {try_number}: {words:?}");
        let (_, knew) = world.nodes[loser].end.as_ref().expect("ended");
        assert!(world.landed.iter().all(|l| l.node == winner || l.at <= *knew), "try {try_number}");
        assert_eq!(format!(" {}", world.holder()), name, "try {try_number}");
        wins[winner] += 1;
    }
    assert!(wins[0] > 0 && wins[1] > 0, "one always wins: {wins:?}");
}
