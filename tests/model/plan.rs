//! What a simulated schedule is made of: drawn from a seed, and made smaller while it still fails.

use std::time::Duration;

use super::node::Kind;
use super::world::SECOND;

/// What goes wrong, or is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Start,
    Stop,
    Crash,
    /// The whole machine is suspended for so many nanoseconds.
    Pause(u64),
    /// The node's path to the disk hangs for so many nanoseconds.
    Hang(u64),
    /// The next operation is reported as failed; a write may land all the same.
    Fail,
    /// The wall clock is set, forwards or back, by so many seconds.
    SetClock(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) node: usize,
    pub(crate) what: What,
}

/// What may be assumed in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every node publishes the same interval; writes land arbitrarily late.
    OneInterval,
    /// Published intervals follow the writes; a write lands within the guard interval of the look
    /// it rests on.
    Adaptive,
    /// As `Adaptive`, and a write lands in two halves.
    Torn,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) nodes: Vec<Kind>,
    pub(crate) faults: Vec<Fault>,
    /// All times are multiples of this, in nanoseconds: the guard interval is 11 of it.
    pub(crate) scale: u64,
    pub(crate) end: u64,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mode = match rng.u8(..16) {
            0 => Mode::Torn,
            1..8 => Mode::OneInterval,
            _ => Mode::Adaptive,
        };
        let (interval, scale) = match mode {
            Mode::OneInterval => (Duration::from_secs(150), 33 * SECOND),
            Mode::Adaptive | Mode::Torn => (Duration::from_secs(1), SECOND),
        };
        let count = if rng.u8(..8) == 0 { rng.usize(4..=8) } else { rng.usize(2..=3) };
        let kind = |rng: &mut fastrand::Rng| Kind::Ours { interval, patient: rng.bool() };
        let nodes: Vec<_> = (0..count).map(|_| kind(&mut rng)).collect();
        let end = scale * rng.u64(30..70);
        let mut plan = Plan { seed, mode, nodes, faults: Vec::new(), scale, end };
        for node in 0..count {
            let at = if rng.bool() { 0 } else { rng.u64(..end / 2) };
            plan.faults.push(Fault { at, node, what: What::Start });
        }
        for _ in 0..rng.usize(..6) {
            let (at, node) = (rng.u64(..end), rng.usize(..count));
            let long = scale * rng.u64(1..60);
            let what = match rng.u8(..10) {
                0 => What::Stop,
                1 => What::Crash,
                2 | 3 => What::Pause(long),
                4 | 5 => What::Hang(long),
                6 => What::Fail,
                7 => What::SetClock(rng.i64(-400_000_000..400_000_000)),
                _ => What::Start,
            };
            plan.faults.push(Fault { at, node, what });
        }
        plan
    }

    /// The smallest plan found that fails too: one fault less at a time, then a shorter time.
    pub(crate) fn shrunk(self, fails: impl Fn(&Plan) -> bool) -> Plan {
        let mut plan = self;
        let mut i = 0;
        while i < plan.faults.len() {
            let mut smaller = plan.clone();
            smaller.faults.remove(i);
            if fails(&smaller) {
                plan = smaller;
                i = 0;
            } else {
                i += 1;
            }
        }
        while plan.end > plan.scale {
            let shorter = Plan { end: plan.end - plan.scale, ..plan.clone() };
            if !fails(&shorter) {
                break;
            }
            plan = shorter;
        }
        plan
    }
}
