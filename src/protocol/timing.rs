//! How long is long enough.

use std::time::Duration;

/// Seconds: what an update or check interval of less counts as. Source: the kernel's
/// `EXT4_MMP_MIN_CHECK_INTERVAL`.
pub const DEFAULT_CHECK_INTERVAL: u16 = 5;
/// Seconds: the largest interval. Source: the kernel's `EXT4_MMP_MAX_CHECK_INTERVAL`.
pub const MAX_CHECK_INTERVAL: u16 = 300;
/// How often a watcher looks, at the cost of four reads a second of one block.
pub const POLL: Duration = Duration::from_millis(250);
/// How often one who waits for a verdict looks at first, for [`EAGER`]: a holder that writes every
/// second shows himself in that time, and whoever asked is told at once.
pub(super) const EAGER_POLL: Duration = Duration::from_millis(100);
/// How long he does.
pub(super) const EAGER: Duration = Duration::from_secs(1);
/// How much longer than the guard interval a block is watched before it is called stale.
/// Whoever claimed it just before our first look ends his own watch just before ours, and must be
/// given the time for his next write: e2fsck does not look again before that write, and then is
/// silent for a minute. Two kernels give each other no such time.
pub const SETTLE: Duration = Duration::from_millis(250);
/// How often a read that failed, or met a block half written, is tried again before it counts.
pub const READ_RETRIES: u8 = 3;

/// `C`, seconds: the superblock's update interval or the block's check interval, whichever is
/// more, and at least 5.
pub fn effective_interval(update_interval: u16, check_interval: u16) -> u16 {
    update_interval.max(check_interval).max(DEFAULT_CHECK_INTERVAL)
}

/// `W` = min(2C+1, C+60) s: how long a contender watches an unchanged block before it takes it.
/// The same as mainline kernels and e2fsprogs wait.
///
/// ```
/// # use mmp::protocol::guard_interval;
/// assert_eq!(guard_interval(5).as_secs(), 11);
/// assert_eq!(guard_interval(300).as_secs(), 360);
/// ```
pub fn guard_interval(c: u16) -> Duration {
    wait(c, 60)
}

/// `L` = min(2C+1, C+20) s: how long after a write its writer still holds the block. The shortest
/// wait of any contender; Lustre's kernels since 2.17.51 wait no longer.
pub fn lease_interval(c: u16) -> Duration {
    wait(c, 20)
}

fn wait(c: u16, at_most_more: u64) -> Duration {
    let c = u64::from(c);
    Duration::from_secs((2 * c + 1).min(c + at_most_more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_out_before_any_contender_writes() {
        for c in 0..=u16::MAX {
            assert!(lease_interval(c) <= guard_interval(c));
        }
        let rows = [(5, 11, 11), (10, 21, 21), (19, 39, 39), (20, 40, 41), (100, 120, 160)];
        for (c, lease, guard) in rows {
            assert_eq!(lease_interval(c).as_secs(), lease);
            assert_eq!(guard_interval(c).as_secs(), guard);
        }
        assert_eq!(effective_interval(0, 0), 5);
        assert_eq!(effective_interval(30, 10), 30);
    }
}
