//! What is known of a held device: shared between the ticks, which write it, and everybody who
//! watches. Atomic numbers only, so that nobody ever waits for anybody.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::protocol::Instant;

/// The end of a device's lease, shared between its task, which extends it, and the supervisor,
/// which revokes it when its time has come. Whoever changes it first wins, so that a device is
/// never both extended and declared lost.
#[derive(Debug, Default)]
pub(super) struct Lease(AtomicU64);

impl Lease {
    const NONE: u64 = 0;
    const REVOKED: u64 = u64::MAX;

    /// The end of the lease while there is one.
    pub(super) fn end(&self) -> Option<Instant> {
        match self.0.load(Ordering::SeqCst) {
            Self::NONE | Self::REVOKED => None,
            end => Some(Instant(end)),
        }
    }

    fn change(&self, new: u64) -> bool {
        let change = |old| (old != Self::REVOKED).then_some(new);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
    }

    /// Sets a new end; false if the lease was revoked.
    pub(super) fn set(&self, end: Instant) -> bool {
        self.change(end.0)
    }

    /// There is no lease any more; false if it was revoked.
    pub(super) fn clear(&self) -> bool {
        self.change(Self::NONE)
    }

    /// Revokes a lease that still ends at `end`; false if it was extended meanwhile.
    pub(super) fn revoke(&self, end: Instant) -> bool {
        let (old, new) = (end.0, Self::REVOKED);
        self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// What becomes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being claimed.
    Claiming,
    /// Held.
    Held,
    /// Released, or given up before it was held.
    Over,
    /// Held no longer, and not by our own will.
    Lost,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::Claiming, Stage::Held, Stage::Over, Stage::Lost];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Claiming => "claiming",
            Stage::Held => "held",
            Stage::Over => "over",
            Stage::Lost => "lost",
        }
    }
}

/// Buckets an octave of time has: each is at most a quarter wider than the one before.
const PARTS: u32 = 4;
/// From 1 µs to more than an hour.
const BUCKETS: usize = 32 * PARTS as usize;

/// How often durations of which length were seen, in buckets that grow with the length.
#[derive(Debug)]
pub struct Durations {
    buckets: [AtomicU32; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Durations {
    fn default() -> Self {
        let (sum, max) = Default::default();
        Durations { buckets: [const { AtomicU32::new(0) }; BUCKETS], sum, max }
    }
}

/// The bucket of a duration of so many microseconds.
fn bucket(micros: u64) -> usize {
    let octave = micros.max(1).ilog2();
    // The two bits below the highest one.
    let part = (u128::from(micros.max(1)) << 2 >> octave) & 3;
    let index = octave * PARTS + u32::try_from(part).unwrap_or(0);
    (index as usize).min(BUCKETS - 1)
}

/// The first duration, in microseconds, that is too long for a bucket.
fn bound(index: usize) -> u64 {
    let parts = PARTS as usize;
    let bound = ((parts + index % parts + 1) as u128) << (index / parts);
    u64::try_from(bound.div_ceil(parts as u128)).unwrap_or(u64::MAX)
}

impl Durations {
    /// Counts one.
    pub fn count(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
        self.max.fetch_max(micros, Ordering::Relaxed);
    }

    /// What was counted, shortest first: an upper bound and how many, where there are any.
    pub fn counted(&self) -> Vec<(Duration, u64)> {
        let counts = self.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed)));
        let counts = counts.enumerate().filter(|(_, count)| *count > 0);
        counts.map(|(index, count)| (Duration::from_micros(bound(index)), count)).collect()
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum.load(Ordering::Relaxed))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max.load(Ordering::Relaxed))
    }
}

/// One device's numbers.
#[derive(Debug, Default)]
pub struct Vital {
    pub(super) lease: Lease,
    stage: AtomicU8,
    sequence: AtomicU32,
    check_interval: AtomicU32,
    /// Nanoseconds.
    last_latency: AtomicU64,
    write_errors: AtomicU64,
    foreign_writes: AtomicU64,
    latency: Durations,
    lateness: Durations,
}

impl Vital {
    pub(super) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// A heartbeat that was due at `due`, handed over at `submitted` and done at `done`.
    pub(super) fn wrote(&self, due: Instant, submitted: Instant, done: Instant) {
        let latency = done.since(submitted);
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.last_latency.store(nanos, Ordering::Relaxed);
        self.latency.count(latency);
        self.lateness.count(done.since(due));
    }

    /// What stands in the block.
    pub(super) fn published(&self, sequence: u32, check_interval: u16) {
        self.sequence.store(sequence, Ordering::Relaxed);
        self.check_interval.store(check_interval.into(), Ordering::Relaxed);
    }

    pub(super) fn write_failed(&self) {
        self.write_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn foreign_write(&self) {
        self.foreign_writes.fetch_add(1, Ordering::Relaxed);
    }

    /// What becomes of it.
    pub fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::SeqCst)).min(Stage::ALL.len() - 1)]
    }

    /// The end of the lease while there is one.
    pub fn lease_end(&self) -> Option<Instant> {
        self.lease.end()
    }

    /// The sequence last written.
    pub fn sequence(&self) -> u32 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// The check interval last published, seconds.
    pub fn check_interval(&self) -> u32 {
        self.check_interval.load(Ordering::Relaxed)
    }

    /// How long the last heartbeat's write took.
    pub fn last_latency(&self) -> Duration {
        Duration::from_nanos(self.last_latency.load(Ordering::Relaxed))
    }

    /// Heartbeats that the device did not take.
    pub fn write_errors(&self) -> u64 {
        self.write_errors.load(Ordering::Relaxed)
    }

    /// How often somebody else's content stood in the block.
    pub fn foreign_writes(&self) -> u64 {
        self.foreign_writes.load(Ordering::Relaxed)
    }

    /// How long the writes took.
    pub fn latency(&self) -> &Durations {
        &self.latency
    }

    /// How long after their time the heartbeats were on the disk.
    pub fn lateness(&self) -> &Durations {
        &self.lateness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_below_its_bound_and_not_below_the_one_before() {
        let edges = (0..34).flat_map(|n| [(1u64 << n) - 1, 1 << n, (1 << n) + 1, 5 << n]);
        for micros in edges.filter(|micros| *micros > 0) {
            let index = bucket(micros);
            if index + 1 < BUCKETS {
                assert!(micros < bound(index), "{micros} in {index}, below {}", bound(index));
            }
            // Below 4 µs some buckets are narrower than a microsecond.
            assert!(index == 0 || micros >= bound(index - 1) || micros < 4, "{micros} in {index}");
        }
    }

    #[test]
    fn a_revoked_lease_stays_revoked() {
        let lease = Lease::default();
        assert!(lease.set(Instant(7)) && lease.end() == Some(Instant(7)));
        assert!(!lease.revoke(Instant(6)), "it was extended meanwhile");
        assert!(lease.revoke(Instant(7)));
        assert!(!lease.set(Instant(8)) && !lease.clear() && lease.end().is_none());
    }
}
