//! The survey as metrics.

use crate::daemon::now;
use crate::device::shown;
use crate::layout::{MmpArea, MmpBlock};
use crate::protocol::{effective_interval, guard_interval};
use crate::report::metrics::{
    CHECK_INTERVAL, FINDING, GUARD_INTERVAL, HEARTBEAT_AGE, Labels, Metrics, SEQUENCE, STATE,
    UPDATE_INTERVAL,
};
use crate::survey::Surveyed;

/// Everything that is known of the devices.
pub(super) fn metrics(devices: &[Surveyed]) -> Metrics {
    let mut metrics = Metrics::default();
    for device in devices {
        let name = shown(&device.path).to_string();
        let labels: Labels<'_> = &[("device", &name)];
        let with = |label, value| [labels, &[(label, value)]].concat();
        metrics.set(STATE, &with("state", device.state.word()), 1);
        let area = device.filesystem.as_ref().and_then(|filesystem| filesystem.area);
        if let (Some(block), Some(area)) = (device.state.block(), area) {
            of_block(&mut metrics, labels, block, area);
        }
        for finding in &device.findings {
            metrics.set(FINDING, &with("finding", finding.kind.name), 1);
        }
    }
    metrics
}

fn of_block(metrics: &mut Metrics, labels: Labels<'_>, block: &MmpBlock, area: MmpArea) {
    let (update, check) = (area.update_interval, block.check_interval());
    let guard = guard_interval(effective_interval(update, check));
    let age = now().wall.saturating_sub(block.time());
    metrics.set(SEQUENCE, labels, block.sequence().raw());
    metrics.set(UPDATE_INTERVAL, labels, update);
    metrics.set(CHECK_INTERVAL, labels, check);
    metrics.set(GUARD_INTERVAL, labels, guard.as_secs_f64());
    metrics.set(HEARTBEAT_AGE, labels, std::time::Duration::from_secs(age).as_secs_f64());
}
