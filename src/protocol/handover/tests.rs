//! The rules in virtual time.

use super::*;
use crate::layout::{MMP_SIZE, Names};

const START: Instant = Instant(1_000_000_000_000);

fn block(node: &str, sequence: Sequence) -> MmpBlock {
    MmpBlock::from_bytes([0; MMP_SIZE])
        .with_names(&Names::new(node.as_bytes(), b"sdb"))
        .with_sequence(sequence)
}

fn active(node: &str, n: u32) -> MmpBlock {
    block(node, Sequence::Active(n))
}

fn request() -> ClaimRequest {
    ClaimRequest {
        update_interval: 5,
        check_interval: 5,
        names: Names::new(b"here", b"sda"),
        draw: 77,
        patience: Instant(0),
    }
}

/// A disk in virtual time: what others write, and when; I/O takes 1 ms.
struct World {
    disk: MmpBlock,
    others: Vec<(Duration, MmpBlock)>,
    now: Instant,
    written: Vec<(Instant, Write)>,
}

impl World {
    fn new(disk: MmpBlock, others: &[(f64, MmpBlock)]) -> Self {
        let at =
            |(seconds, block): &(f64, MmpBlock)| (Duration::from_secs_f64(*seconds), block.clone());
        let others = others.iter().map(at).collect();
        World { disk, others, now: START, written: Vec::new() }
    }

    fn pass(&mut self, until: Instant) {
        while let Some((at, _)) = self.others.first()
            && START + *at <= until
        {
            self.disk = self.others.remove(0).1;
        }
        self.now = self.now.max(until);
    }

    fn run<M: Machine>(
        &mut self,
        machine: &mut M,
        carry: impl Fn(M::Write) -> Write,
    ) -> M::Outcome {
        let mut event = Event::Begin;
        loop {
            let now = Now { instant: self.now, wall: 9 };
            event = match machine.on(event, now) {
                Action::Done(outcome) => return outcome,
                Action::Wait(until) => {
                    self.pass(until);
                    Event::Timer
                }
                Action::Read => {
                    let submitted = self.now;
                    let result = Ok(self.disk.clone());
                    self.pass(submitted + Duration::from_millis(1));
                    Event::Read { submitted, result }
                }
                Action::Write(write) => {
                    let submitted = self.now;
                    let write = carry(write);
                    self.disk = write.block.clone();
                    self.written.push((submitted, write));
                    self.pass(submitted + Duration::from_millis(1));
                    Event::Wrote { submitted, result: Ok(()) }
                }
            };
        }
    }
}

fn seconds(instant: Instant) -> f64 {
    instant.since(START).as_secs_f64()
}

#[test]
fn guard_waits_itself_and_leaves_the_block_clean() {
    for (found, guards) in [(block("x", Sequence::Clean), 1.0), (active("x", 5), 2.0)] {
        let mut world = World::new(found, &[]);
        let outcome = world.run(&mut Handover::new(HandoverMode::Guard, request()), |write| write);
        let [(_, claim), (submitted, clean)] = &world.written[..] else { panic!("writes") };
        assert!(matches!(claim.block.sequence(), Sequence::Active(_)));
        assert_eq!(clean.block, claim.block.clone().with_sequence(Sequence::Clean));
        assert!(clean.flush);
        // The look that verified took 1 ms.
        let due = Instant(submitted.0 - 1_000_000) + Duration::from_secs(11);
        assert_eq!(outcome, HandoverOutcome::HandOver(Handed::Guarded { due }));
        let took = seconds(*submitted);
        assert!((11.0 * guards..11.0 * guards + 0.3).contains(&took), "{took}");
    }
}

#[test]
fn a_claim_that_is_handed_over_is_left_alone() {
    // Their claim landed just before we looked; it becomes clean, and then the kernel's.
    for handed in [11.0, 11.2] {
        let theirs = [
            (handed, block("there", Sequence::Clean)),
            (handed + 0.9, active("there", 4)),
            (handed + 0.95, active("there", 1)),
        ];
        let mut world = World::new(active("there", 9), &theirs);
        let outcome = world.run(&mut Handover::new(HandoverMode::Guard, request()), |write| write);
        assert!(
            matches!(
                &outcome,
                HandoverOutcome::Refused {
                    why: Refusal::NotSafe(Verdict::InUse { .. }),
                    left_behind: false
                }
            ),
            "{outcome:?}"
        );
        assert!(world.written.is_empty());
    }
}

#[test]
fn strict_leaves_a_block_that_the_kernel_waits_for() {
    let mut world = World::new(block("x", Sequence::Clean), &[]);
    let outcome = world.run(&mut Handover::new(HandoverMode::Strict, request()), |write| write);
    let HandoverOutcome::HandOver(handed) = outcome else { panic!("{outcome:?}") };
    let Handed::Unclean { block: ours, original, .. } = handed.clone() else { panic!() };
    assert_eq!((&ours, original.clone()), (&world.disk, Some(block("x", Sequence::Clean))));
    assert!(handed.needs_confirmation(START + Duration::from_secs(21)));
    assert!(!handed.needs_confirmation(START + Duration::from_secs(22)));

    let original = original.expect("clean");
    let undo =
        || Handover::new(HandoverMode::Strict, request()).take_back(ours.clone(), original.clone());
    let mut gone_on = World::new(ours.clone().with_sequence(Sequence::Active(3)), &[]);
    let outcome = gone_on.run(&mut undo(), |write| write);
    assert!(matches!(outcome, HandoverOutcome::Refused { left_behind: true, .. }));
    assert!(gone_on.written.is_empty());
    let outcome = world.run(&mut undo(), |write| write);
    assert!(matches!(outcome, HandoverOutcome::Refused { left_behind: false, .. }));
    assert_eq!(world.disk, original);
}

#[test]
fn what_is_not_clean_is_left_as_it_is_in_strict_and_check_mode() {
    for mode in [HandoverMode::Strict, HandoverMode::Check] {
        let mut world = World::new(active("x", 5), &[]);
        let outcome = world.run(&mut Handover::new(mode, request()), |write| write);
        let HandoverOutcome::HandOver(Handed::Unclean { block: left, original: None, .. }) =
            outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((left, world.written.len()), (active("x", 5), 0));
        for sequence in [Sequence::Fsck, Sequence::Unknown(!0)] {
            let mut world = World::new(block("x", sequence), &[]);
            let outcome = world.run(&mut Handover::new(mode, request()), |write| write);
            assert!(matches!(outcome, HandoverOutcome::Refused { .. }), "{outcome:?}");
        }
    }
}

#[test]
fn a_lookout_judges_only_what_the_kernel_cannot_have_written() {
    let kernel = active("x", 4711);
    for (at, told) in [(4.0, true), (10.4, true), (10.9, false), (11.0, false)] {
        let mut world = World::new(active("x", 5), &[(at, kernel.clone())]);
        let outcome =
            world.run(&mut Lookout::new(active("x", 5), START, 5), |write| match write {});
        match outcome {
            LookoutOutcome::Changed { block, .. } => assert!(told && block == kernel, "{at}"),
            outcome => assert!(!told && outcome == LookoutOutcome::Quiet, "{at}"),
        }
    }
    // Lustre's kernels wait only C + 20 s: the shorter wait bounds what may be judged.
    let slow = active("x", 5).with_check_interval(60);
    let mut world = World::new(slow.clone(), &[(80.1, kernel)]);
    let outcome = world.run(&mut Lookout::new(slow, START, 5), |write| match write {});
    assert_eq!(outcome, LookoutOutcome::Quiet);
}

#[test]
fn one_writer_is_confirmed_and_two_are_not() {
    let kernel = |n| active("here", n);
    let alone = [(0.2, kernel(1)), (5.0, kernel(2)), (10.0, kernel(3))];
    let mut world = World::new(kernel(4711), &alone);
    assert_eq!(world.run(&mut Confirm::new(5), |write| match write {}), Confirmation::Alone);
    assert!((11.0..11.2).contains(&seconds(world.now)));

    // A late claim, which the heartbeat overwrites.
    let late = [(0.2, kernel(1)), (3.0, active("there", 99)), (5.0, kernel(2)), (10.0, kernel(3))];
    let mut world = World::new(kernel(4711), &late);
    assert_eq!(world.run(&mut Confirm::new(5), |write| match write {}), Confirmation::Alone);
    assert!((14.0..14.2).contains(&seconds(world.now)));

    let two = |node: &str, first: u32| {
        [
            (0.2, kernel(1)),
            (3.0, active(node, first)),
            (5.0, kernel(2)),
            (8.0, active(node, first + 1).with_time(8)),
            (10.0, kernel(3)),
            (13.0, active(node, first + 2).with_time(13)),
        ]
    };
    // By another name; by the same, ahead; by the same, in step.
    for others in [two("there", 40), two("here", 40), two("here", 1)] {
        let mut world = World::new(kernel(4711), &others);
        let outcome = world.run(&mut Confirm::new(5), |write| match write {});
        assert!(matches!(outcome, Confirmation::SecondWriter { .. }), "{outcome:?}");
    }
    for sequence in [Sequence::Clean, Sequence::Fsck] {
        let mut world = World::new(kernel(1), &[(2.0, block("there", sequence))]);
        let outcome = world.run(&mut Confirm::new(5), |write| match write {});
        assert!(matches!(outcome, Confirmation::SecondWriter { .. }), "{outcome:?}");
    }
}
