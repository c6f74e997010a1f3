//! Metrics in Prometheus's text format, version 0.0.4: what a scrape and node_exporter's textfile
//! collector read.
//!
//! By hand, because the usual crate writes OpenMetrics, which the textfile collector does not read.
//! One family has one name in every program; a new one is one line of the list below.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// The device's state, in the words of [`super::words`]: the present one has the value 1.
pub const STATE: Family = gauge("mmp_state", "State of the device, 1 for the present one.");
/// The sequence that stands in the block.
pub const SEQUENCE: Family = gauge("mmp_sequence", "Sequence number in the MMP block.");
/// The block's check interval.
pub const CHECK_INTERVAL: Family =
    gauge("mmp_check_interval_seconds", "Check interval in the MMP block.");
/// The superblock's update interval.
pub const UPDATE_INTERVAL: Family =
    gauge("mmp_update_interval_seconds", "Update interval in the superblock.");
/// How long a contender watches the block.
pub const GUARD_INTERVAL: Family =
    gauge("mmp_guard_interval_seconds", "How long a contender watches an unclean MMP block.");
/// How long ago the block was written.
pub const HEARTBEAT_AGE: Family =
    gauge("mmp_heartbeat_age_seconds", "Time since the MMP block was last written.");
/// How long the lease would still run without a further heartbeat.
pub const LEASE_MARGIN: Family =
    gauge("mmp_lease_margin_seconds", "Time to the end of the lease if no heartbeat succeeds.");
/// Heartbeats that the device did not take.
pub const WRITE_ERRORS: Family =
    counter("mmp_write_errors_total", "Writes of the MMP block that failed.");
/// Somebody else's content in the block.
pub const FOREIGN_WRITES: Family =
    counter("mmp_foreign_writes_total", "Foreign content found in the MMP block while held.");
/// How long the writes of the block take.
pub const LATENCY: Family =
    histogram("mmp_write_latency_seconds", "How long writes of the MMP block took.");
/// How long after its time a heartbeat is on the disk.
pub const LATENESS: Family =
    histogram("mmp_lateness_seconds", "How long after its time a heartbeat was on the disk.");
/// What a check found.
pub const FINDING: Family = gauge("mmp_finding", "Finding of mmpcheck, 1 while it stands.");

/// An alarm of `mmpd watch`.
pub const ALARM: Family = gauge("mmp_alarm", "Alarm of mmpd watch, 1 while it is raised.");

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// A name with what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

/// A value that goes up and down.
const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help }
}

/// A count that only grows; its name ends in `_total`.
const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help }
}

/// A distribution of durations.
const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, help }
}

/// Upper bounds of a histogram's buckets, seconds: from a fast flash device to the longest lease.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often durations of which length were seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Not cumulative; what is longer than the last bound is only in `count`.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        self.observe_many(duration, 1);
        self.sum += duration.as_secs_f64();
    }

    /// Counts durations of which no more is known than that they were so long at most.
    pub fn observe_many(&mut self, at_most: Duration, count: u64) {
        let seconds = at_most.as_secs_f64();
        if let Some(index) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[index] += count;
        }
        self.count += count;
    }

    /// The same with a sum, seconds, that was kept elsewhere.
    pub fn with_sum(self, sum: f64) -> Self {
        Histogram { sum, ..self }
    }
}

/// Labels with their values, unescaped.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Samples, gathered by family as the format wants them. Its `Display` is the exposition.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    families: Vec<(Family, String)>,
}

impl Metrics {
    /// Adds a sample.
    pub fn set(&mut self, family: Family, labels: Labels<'_>, value: impl Into<f64>) {
        let text = self.samples(family);
        sample(text, family.name, "", labels, value.into());
    }

    /// Adds a histogram's samples.
    pub fn set_histogram(&mut self, family: Family, labels: Labels<'_>, histogram: &Histogram) {
        let text = self.samples(family);
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
            below += count;
            let bound = bound.to_string();
            let labels = [labels, &[("le", bound.as_str())]].concat();
            sample(text, family.name, "_bucket", &labels, below);
        }
        let labels_all = [labels, &[("le", "+Inf")]].concat();
        sample(text, family.name, "_bucket", &labels_all, histogram.count);
        sample(text, family.name, "_sum", labels, histogram.sum);
        sample(text, family.name, "_count", labels, histogram.count);
    }

    fn samples(&mut self, family: Family) -> &mut String {
        let known = self.families.iter().position(|(known, _)| *known == family);
        let index = known.unwrap_or_else(|| {
            self.families.push((family, String::new()));
            self.families.len() - 1
        });
        &mut self.families[index].1
    }
}

/// One line. Writing to a String cannot fail.
fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    value: impl Display,
) {
    let _ = write!(text, "{name}{suffix}");
    for (index, (label, value)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _ = write!(text, "{before}{label}=\"{}\"", Value(value));
    }
    let close = if labels.is_empty() { "" } else { "}" };
    let _ = writeln!(text, "{close} {value}");
}

/// A label's value as the format wants it.
struct Value<'a>(&'a str);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (Family { name, kind, help }, samples) in &self.families {
            let kind = match kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            write!(f, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stay_together_and_labels_are_escaped() {
        let mut metrics = Metrics::default();
        metrics.set(STATE, &[("device", "a\\\"\n"), ("state", "in use")], 1);
        metrics.set(SEQUENCE, &[], u32::MAX);
        metrics.set(STATE, &[("device", "b")], 0.5);
        let expected = "# HELP mmp_state State of the device, 1 for the present one.\n\
                        # TYPE mmp_state gauge\n\
                        mmp_state{device=\"a\\\\\\\"\\n\",state=\"in use\"} 1\n\
                        mmp_state{device=\"b\"} 0.5\n\
                        # HELP mmp_sequence Sequence number in the MMP block.\n\
                        # TYPE mmp_sequence gauge\n\
                        mmp_sequence 4294967295\n";
        assert_eq!(metrics.to_string(), expected);
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let mut latency = Histogram::default();
        for millis in [1, 2, 3000, 60_000] {
            latency.observe(Duration::from_millis(millis));
        }
        let mut metrics = Metrics::default();
        metrics.set_histogram(histogram("h_seconds", "Help."), &[("device", "d")], &latency);
        let text = metrics.to_string();
        for line in [
            "# TYPE h_seconds histogram",
            "h_seconds_bucket{device=\"d\",le=\"0.0005\"} 0",
            "h_seconds_bucket{device=\"d\",le=\"0.001\"} 1",
            "h_seconds_bucket{device=\"d\",le=\"0.0025\"} 2",
            "h_seconds_bucket{device=\"d\",le=\"5\"} 3",
            "h_seconds_bucket{device=\"d\",le=\"10\"} 3",
            "h_seconds_bucket{device=\"d\",le=\"+Inf\"} 4",
            "h_seconds_sum{device=\"d\"} 63.003",
            "h_seconds_count{device=\"d\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in {text}");
        }
    }
}
