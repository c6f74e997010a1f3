//! What is done when a lease is about to end, and when.
//!
//! The steps, against a lease that ends at E and was L long:
//!
//! | when | what |
//! | --- | --- |
//! | E - grace | a command that runs under the lease is asked to end |
//! | E | it is killed; a watchdog is fed no more |
//! | E + 2 s | the node is fenced, by command or by the kernel's reboot |
//! | E + 9 s | the watchdog has reset the node |
//! | E + L | the second wait of a contender that began with our last write ends: it uses the device |
//!
//! L is 11 s at least. A loss that is certain before E moves all of it forward.

use std::time::Duration;

use super::Instant;

/// How long a watchdog runs that is fed no more: less than the shortest lease, by 2 s for its own
/// and the machine's slowness.
pub const WATCHDOG: Duration = Duration::from_secs(9);
/// How often it is fed.
pub const FEED: Duration = Duration::from_secs(1);
/// How long after the end of the lease the node is fenced: the command for a loss may do better.
pub const FENCE_DELAY: Duration = Duration::from_secs(2);

/// A step to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Ask the command to end.
    Terminate,
    /// Kill it.
    Kill,
    /// Take the node down.
    Fence,
}

/// The deadlines of a process that guards something on behalf of a holder of leases.
#[derive(Clone, Debug)]
pub struct Ladder {
    grace: Duration,
    /// The earliest end of all leases that were told.
    lease: Option<Instant>,
    /// When a loss became certain before the lease ended.
    lost: Option<Instant>,
    running: bool,
    /// Whether what uses the devices is unknown, and so is never known to be gone.
    open: bool,
    terminated: Option<Instant>,
    killed: bool,
    fenced: bool,
}

impl Ladder {
    /// A ladder for a command still to be started, or for users nobody knows (`open`).
    pub fn new(grace: Duration, open: bool) -> Self {
        Ladder {
            grace,
            lease: None,
            lost: None,
            running: false,
            open,
            terminated: None,
            killed: false,
            fenced: false,
        }
    }

    /// The leases last until `end`. After a loss nothing extends them.
    pub fn lease(&mut self, end: Instant) {
        if self.lost.is_none() {
            self.lease = Some(end);
        }
    }

    /// The command runs, under leases that last until `end`.
    pub fn started(&mut self, end: Instant) {
        self.lease(end);
        self.running = true;
    }

    /// The command, and all it started, is gone.
    pub fn gone(&mut self) {
        self.running = false;
    }

    /// A device is lost although its lease has not ended, or the holder is no more.
    pub fn lost(&mut self, now: Instant) {
        self.lost.get_or_insert(now);
    }

    /// Whether all is well: leases last, or nothing is left that they would protect from. As long
    /// as it is, a watchdog may be fed.
    pub fn is_well(&self, now: Instant) -> bool {
        self.is_harmless() || (self.lost.is_none() && self.lease.is_none_or(|end| now < end))
    }

    /// Whether a loss would harm nobody: nothing was ever held, or what ran is gone.
    pub fn is_harmless(&self) -> bool {
        self.lease.is_none() || (!self.open && !self.running)
    }

    /// Whether the command was asked to end.
    pub fn is_terminated(&self) -> bool {
        self.terminated.is_some()
    }

    /// Whether the last step was taken.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    fn terminate_at(&self) -> Option<Instant> {
        let before = self.lease.map(|end| end - self.grace);
        self.lost.into_iter().chain(before).min()
    }

    fn kill_at(&self) -> Option<Instant> {
        let after = self.terminated.map(|at| at + self.grace);
        after.into_iter().chain(self.lease).min()
    }

    fn fence_at(&self) -> Option<Instant> {
        let end = self.lost.into_iter().chain(self.lease).min()?;
        let killed = if self.open { end } else { end.max(self.kill_at()?) };
        Some(killed + FENCE_DELAY)
    }

    fn next(&self) -> Option<(Instant, Rung)> {
        if self.is_harmless() || self.fenced {
            return None;
        }
        let (at, rung) = match (self.running, self.terminated, self.killed) {
            (true, None, _) => (self.terminate_at(), Rung::Terminate),
            (true, Some(_), false) => (self.kill_at(), Rung::Kill),
            _ => (self.fence_at(), Rung::Fence),
        };
        Some((at?, rung))
    }

    /// When the next step is due, as far as is known.
    pub fn due(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// The step that is due, once.
    pub fn act(&mut self, now: Instant) -> Option<Rung> {
        let (_, rung) = self.next().filter(|(at, _)| *at <= now)?;
        match rung {
            Rung::Terminate => self.terminated = Some(now),
            Rung::Kill => self.killed = true,
            Rung::Fence => self.fenced = true,
        }
        Some(rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{MmpBlock, Names, Sequence};
    use crate::protocol::{
        Action, Claim, ClaimOutcome, ClaimRequest, Event, Machine, Now, effective_interval,
        lease_interval,
    };

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn steps(ladder: &mut Ladder, from: u64, to: u64) -> Vec<(u64, Rung)> {
        let each = |second| std::iter::repeat(second);
        (from..=to)
            .flat_map(|second| each(second).take(3))
            .filter_map(|second| Some((second, ladder.act(at(second))?)))
            .collect()
    }

    /// The whole of it, second by second. The last heartbeat is handed over at 100 s, and a
    /// contender with the shortest interval looks at the very same moment.
    #[test]
    fn the_node_is_down_before_a_contender_uses_the_device() {
        const LAST: u64 = 100;
        let lease = at(LAST) + lease_interval(5);
        let mut ladder = Ladder::new(Duration::from_secs(2), false);
        ladder.started(lease);
        let wanted = vec![(109, Rung::Terminate), (111, Rung::Kill), (113, Rung::Fence)];
        assert_eq!(steps(&mut ladder, LAST, 130), wanted);
        let fed = (LAST..130).filter(|second| ladder.is_well(at(*second))).max();
        assert_eq!(fed, Some(110), "the last second in which the watchdog is fed");
        // Fed at the last moment there is.
        let down = lease + WATCHDOG;
        assert_eq!(down, at(120));

        let block = MmpBlock::from_bytes([0; 1024]).with_sequence(Sequence::active(7));
        let mut on_disk = block.clone();
        let mut claim = Claim::new(ClaimRequest {
            update_interval: 5,
            check_interval: 5,
            names: Names::new(b"contender", b"sdb"),
            draw: 8,
            patience: Instant(0),
        });
        let mut now = Now { instant: at(LAST), wall: 0 };
        let mut event = Event::Begin;
        let uses = loop {
            event = match claim.on(event, now) {
                Action::Read => Event::Read { submitted: now.instant, result: Ok(on_disk.clone()) },
                Action::Write(write) => {
                    on_disk = write.block;
                    Event::Wrote { submitted: now.instant, result: Ok(()) }
                }
                Action::Wait(until) => {
                    now.instant = until;
                    Event::Timer
                }
                Action::Done(ClaimOutcome::Claimed(_)) => break now.instant,
                Action::Done(other) => panic!("{other:?}"),
            };
        };
        assert_ne!(on_disk, block, "it has claimed");
        assert!(uses >= at(122), "{uses:?}");
        assert!(down + Duration::from_secs(2) <= uses, "{down:?} {uses:?}");
    }

    #[test]
    fn every_lease_is_longer_than_the_watchdog() {
        let least = WATCHDOG + Duration::from_secs(2);
        let intervals = (0..=u16::MAX).map(|c| effective_interval(c, 0));
        assert!(intervals.map(lease_interval).all(|lease| lease >= least));
    }

    #[test]
    fn a_holder_that_dies_takes_its_command_along_and_the_node_if_it_must() {
        let mut ladder = Ladder::new(Duration::from_secs(2), false);
        ladder.started(at(111));
        ladder.lost(at(101));
        ladder.lease(at(200));
        assert!(!ladder.is_well(at(101)));
        assert_eq!(steps(&mut ladder, 101, 103), [(101, Rung::Terminate), (103, Rung::Kill)]);
        let mut stuck = ladder.clone();
        assert_eq!(steps(&mut stuck, 103, 120), [(105, Rung::Fence)]);
        ladder.gone();
        assert!(ladder.is_well(at(104)) && steps(&mut ladder, 103, 120).is_empty());
    }

    #[test]
    fn users_that_nobody_knows_are_only_got_rid_of_with_the_node() {
        let mut ladder = Ladder::new(Duration::from_secs(2), true);
        assert!(ladder.is_well(at(500)) && ladder.due().is_none(), "nothing was held");
        ladder.lease(at(111));
        assert_eq!(steps(&mut ladder, 100, 130), [(113, Rung::Fence)]);
    }

    #[test]
    fn heartbeats_put_everything_off() {
        let mut ladder = Ladder::new(Duration::from_secs(2), false);
        ladder.started(at(111));
        for second in 100..200 {
            ladder.lease(at(second + 11));
            assert_eq!(ladder.act(at(second)), None);
            assert!(ladder.is_well(at(second)));
        }
    }
}
