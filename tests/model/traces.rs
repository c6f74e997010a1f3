//! What the proof once found wrong in the machines, step by step.

use std::time::Duration;

use mmp::layout::{MmpBlock, Names, Sequence};
use mmp::protocol::{
    Action, ClaimRequest, Claimed, Event, Handed, Handover, HandoverMode, HandoverOutcome, Hold,
    HoldOutcome, HoldRequest, Instant, Machine, Notice, Now, Refusal, Write, lease_interval,
};

use super::node::clean_block;
use super::peers::UPDATE_INTERVAL;
use super::world::SECOND;

struct Holder {
    hold: Hold,
    now: u64,
}

impl Holder {
    /// A holder whose claim was verified at second 100.
    fn new() -> Self {
        let block = clean_block().with_sequence(Sequence::Active(1));
        let verified = Instant(100 * SECOND);
        let claimed = Claimed { block, original: clean_block(), verified };
        let request =
            HoldRequest { update_interval: UPDATE_INTERVAL, interval: Duration::from_secs(1) };
        let mut holder = Holder { hold: Hold::new(claimed, request), now: verified.0 };
        assert_eq!(holder.tell(Event::Begin), Action::Read);
        holder
    }

    fn tell(&mut self, event: Event) -> Action<Write, HoldOutcome> {
        self.hold.on(event, Now { instant: Instant(self.now), wall: 0 })
    }

    /// The read that is under way finds `found`.
    fn finds(&mut self, found: &MmpBlock) -> Action<Write, HoldOutcome> {
        let submitted = Instant(self.now);
        self.tell(Event::Read { submitted, result: Ok(found.clone()) })
    }

    /// Reads its own block and writes the next one, which takes so many seconds; tells what it
    /// wrote and the lease from the moment before.
    fn writes(&mut self, found: &MmpBlock, seconds: u64) -> (MmpBlock, Duration) {
        let Action::Write(Write { block, .. }) = self.finds(found) else {
            panic!("a holder writes over what it found");
        };
        let submitted = Instant(self.now);
        self.now += seconds * SECOND;
        let next = self.tell(Event::Wrote { submitted, result: Ok(()) });
        let Action::Wait(until) = next else {
            panic!("a holder waits for its next tick");
        };
        self.now = self.now.max(until.0);
        assert_eq!(self.tell(Event::Timer), Action::Read);
        (block, self.hold.lease().since(submitted))
    }
}

/// Seed 135576 of the simulation, before: a claimant looked at a block that published 5 s, and its
/// claim landed seconds later on one that published 14 s. The holder hung; the claimant waited
/// 11 s, and the holder counted on 29 s.
#[test]
fn a_longer_interval_lengthens_the_lease_only_when_everybody_must_know_it() {
    let mut holder = Holder::new();
    let (first, _) = holder.writes(&clean_block().with_sequence(Sequence::Active(1)), 7);
    let (raised, lease) = holder.writes(&first, 0);
    assert_eq!(raised.check_interval(), 14);
    assert_eq!(lease, lease_interval(5));
    let mut found = raised;
    let mut leases = Vec::new();
    for _ in 0..20 {
        let (block, lease) = holder.writes(&found, 0);
        leases.push(lease);
        found = block;
    }
    assert!(leases[..10].iter().all(|lease| *lease == lease_interval(5)), "{leases:?}");
    assert!(leases[12..].iter().all(|lease| *lease > lease_interval(10)), "{leases:?}");
}

/// Found once the model ran the helper's own machine, before: the answer to the look that verified a
/// claim came 17 s late, and the helper wrote clean over what the next one had claimed meanwhile;
/// both kernels mounted, and neither helper looked again.
#[test]
fn a_claim_that_ran_out_is_not_handed_over() {
    for (late, handed) in [(10, true), (11, false), (17, false)] {
        let request = ClaimRequest {
            update_interval: UPDATE_INTERVAL,
            check_interval: 5,
            names: Names::new(b"node", b"sda"),
            draw: 1000,
            patience: Instant(0),
        };
        let mut handover = Handover::new(HandoverMode::Guard, request);
        let mut tell =
            |event, now: u64| handover.on(event, Now { instant: Instant(now * SECOND), wall: 0 });
        let read = |submitted: u64, block: &MmpBlock| Event::Read {
            submitted: Instant(submitted * SECOND),
            result: Ok(block.clone()),
        };
        tell(Event::Begin, 0);
        let Action::Write(claim) = tell(read(0, &clean_block()), 0) else { panic!("no claim") };
        tell(Event::Wrote { submitted: Instant(0), result: Ok(()) }, 0);
        assert_eq!(tell(Event::Timer, 11), Action::Read);
        let next = tell(read(11, &claim.block), 11 + late);
        if !handed {
            // Back to the device: whose block is it now?
            assert_eq!(next, Action::Read);
            let theirs = claim.block.with_sequence(Sequence::Active(2000));
            let refused = tell(read(11 + late, &theirs), 11 + late);
            assert!(matches!(
                refused,
                Action::Done(HandoverOutcome::Refused { why: Refusal::Expired, .. })
            ));
            continue;
        }
        let Action::Write(clean) = next else { panic!("not handed over") };
        assert_eq!(clean.block.sequence(), Sequence::Clean);
        let submitted = Instant((11 + late) * SECOND);
        let wrote = tell(Event::Wrote { submitted, result: Ok(()) }, 11 + late);
        // Counted from the look, not from the write.
        let due = Instant(22 * SECOND);
        let over = HandoverOutcome::HandOver(Handed::Guarded { due });
        assert_eq!(wrote, Action::Done(over));
    }
}

/// A block cleared by force makes a claimant write; the holder takes neither for a second writer,
/// but the claimant's next write it does.
#[test]
fn a_clean_block_and_one_late_claim_are_no_second_writer() {
    let mut holder = Holder::new();
    let claim = |n| {
        let names = Names::new(b"other", b"sdb");
        clean_block().with_sequence(Sequence::Active(n)).with_names(&names)
    };
    holder.writes(&clean_block(), 0);
    assert!(matches!(holder.hold.take_notice(), Some(Notice::Defended { .. })));
    holder.writes(&claim(7000), 0);
    holder.writes(&clean_block(), 0);
    holder.writes(&claim(7000), 0);
    assert!(matches!(holder.finds(&claim(7001)), Action::Done(HoldOutcome::Lost(_))));
}
