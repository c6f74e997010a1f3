//! What `mmpd status` tells of a held device, in the forms it can be had in.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metrics::{
    CHECK_INTERVAL, FOREIGN_WRITES, Histogram, LATENCY, LATENESS, LEASE_MARGIN, Metrics, SEQUENCE,
    STATE, WRITE_ERRORS,
};

/// How long something took, many times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DurationsFields {
    count: u64,
    sum_s: f64,
    max_s: f64,
    /// Half took no longer; the same below for 99 % and 99.9 %. At most a quarter too long.
    p50_s: f64,
    p99_s: f64,
    p999_s: f64,
    buckets: Vec<BucketFields>,
}

/// A bucket: longer than the one before, and at most `le_s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BucketFields {
    le_s: f64,
    count: u64,
}

impl DurationsFields {
    /// Durations counted in buckets, shortest first.
    pub fn new(counted: &[(Duration, u64)], sum: Duration, max: Duration) -> Self {
        let count = counted.iter().map(|(_, count)| count).sum();
        let mut fields = DurationsFields { count, ..Self::default() };
        (fields.sum_s, fields.max_s) = (sum.as_secs_f64(), max.as_secs_f64());
        let bucket =
            |(le, count): &(Duration, u64)| BucketFields { le_s: le.as_secs_f64(), count: *count };
        fields.buckets = counted.iter().map(bucket).collect();
        [fields.p50_s, fields.p99_s, fields.p999_s] =
            [500, 990, 999].map(|thousandths| fields.quantile(thousandths));
        fields
    }

    /// The longest, seconds.
    pub fn max_s(&self) -> f64 {
        self.max_s
    }

    fn quantile(&self, thousandths: u64) -> f64 {
        let mut wanted = (self.count * thousandths).div_ceil(1000);
        for bucket in &self.buckets {
            if wanted <= bucket.count {
                return bucket.le_s.min(self.max_s);
            }
            wanted -= bucket.count;
        }
        self.max_s
    }

    fn histogram(&self) -> Histogram {
        let mut histogram = Histogram::default();
        for bucket in &self.buckets {
            histogram.observe_many(Duration::from_secs_f64(bucket.le_s), bucket.count);
        }
        histogram.with_sum(self.sum_s)
    }
}

/// One device of one `mmpd hold`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusFields {
    /// The path, escaped as in messages.
    pub device: String,
    /// The process that holds it.
    pub pid: u32,
    /// `claiming`, `held`, `lost`, or `over`: released, or never got.
    pub state: String,
    /// The sequence last written.
    pub sequence: u32,
    /// The check interval last published, seconds.
    pub check_interval_s: u32,
    /// How long the lease still runs if no further heartbeat succeeds, seconds.
    pub lease_margin_s: Option<f64>,
    /// How long the last write took, seconds.
    pub last_write_latency_s: f64,
    /// Writes that the device did not take.
    pub write_errors: u64,
    /// How often somebody else's content stood in the block.
    pub foreign_writes: u64,
    /// How long the writes took.
    pub write_latency: DurationsFields,
    /// How long after its time each heartbeat was on the disk.
    pub lateness: DurationsFields,
}

/// A table for people.
pub fn status_table(devices: &[StatusFields]) -> String {
    let width = devices.iter().map(|device| device.device.chars().count()).max();
    let width = width.unwrap_or(0).max("device".len());
    let mut text = format!(
        "{:width$}  {:8}  {:>10}  {:>9}  {:>9}  {:>9}  {:>8}  {:>6}  {:>7}\n",
        "device", "state", "sequence", "write", "p99.9", "late", "margin", "errors", "foreign"
    );
    for device in devices {
        let ms = |seconds: f64| format!("{:.1} ms", seconds * 1000.0);
        let margin = device.lease_margin_s.map_or("-".to_owned(), |s| format!("{s:.1} s"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:width$}  {:8}  {:>10}  {:>9}  {:>9}  {:>9}  {margin:>8}  {:>6}  {:>7}",
            device.device,
            device.state,
            device.sequence,
            ms(device.last_write_latency_s),
            ms(device.write_latency.p999_s),
            ms(device.lateness.p999_s),
            device.write_errors,
            device.foreign_writes,
        );
    }
    text
}

/// The same as metrics.
pub fn status_metrics(devices: &[StatusFields]) -> Metrics {
    let mut metrics = Metrics::default();
    // Counts of devices and seconds are far below 2^53, where they would lose digits.
    #[expect(clippy::cast_precision_loss, reason = "a count of events, not of bytes")]
    let number = |count: u64| count as f64;
    for device in devices {
        let labels = [("device", device.device.as_str())];
        let state = [labels[0], ("state", device.state.as_str())];
        metrics.set(STATE, &state, 1.0);
        metrics.set(SEQUENCE, &labels, device.sequence);
        metrics.set(CHECK_INTERVAL, &labels, device.check_interval_s);
        if let Some(margin) = device.lease_margin_s {
            metrics.set(LEASE_MARGIN, &labels, margin);
        }
        metrics.set(WRITE_ERRORS, &labels, number(device.write_errors));
        metrics.set(FOREIGN_WRITES, &labels, number(device.foreign_writes));
        metrics.set_histogram(LATENCY, &labels, &device.write_latency.histogram());
        metrics.set_histogram(LATENESS, &labels, &device.lateness.histogram());
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds() {
        let ms = Duration::from_millis;
        let counted = [(ms(1), 500), (ms(5), 490), (ms(20), 9), (ms(100), 1)];
        let fields = DurationsFields::new(&counted, ms(4000), ms(90));
        assert_eq!((fields.p50_s, fields.p99_s, fields.p999_s), (0.001, 0.005, 0.02));
        assert_eq!(fields.quantile(1000), 0.09, "not more than the longest");
        assert_eq!(DurationsFields::new(&[], ms(0), ms(0)).p999_s, 0.0);
    }
}
