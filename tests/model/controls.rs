//! Controls: with a guard taken away the same check must find two users. One that finds nothing
//! proves nothing.

use super::explore::{Broken, explore};
use super::node::{Kind, Removed};
use super::peers::Program;
use super::safety::{NO_FAULTS, OURS, nothing_more, rules};
use super::world::{Faults, Rules, SECOND};

/// Tries until the promise is broken, and prints how.
fn breaks(name: &str, rules: &Rules) -> Broken {
    let explored = explore(rules, nothing_more, 30_000_000);
    println!("{name}: {explored}");
    let broken = explored.broken.unwrap_or_else(|| panic!("{name}: nothing was found"));
    println!("{broken}");
    broken
}

pub(crate) fn double_use(name: &str, rules: &Rules) {
    let broken = breaks(name, rules);
    assert!(broken.what.ends_with("use the file system at once"), "{}", broken.what);
}

#[test]
fn mainline_kernels_mount_a_clean_file_system_twice() {
    let nodes = [Kind::Peer(Program::Mainline); 2];
    double_use(
        "two mainline kernels",
        &Rules { lands_within: Some(1), horizon: 2, ..rules(&nodes) },
    );
}

#[test]
fn lustre_kernels_mount_a_clean_file_system_twice() {
    let nodes = [Kind::Peer(Program::Lustre); 2];
    double_use("two Lustre kernels", &Rules { lands_within: Some(1), horizon: 2, ..rules(&nodes) });
}

fn without(removed: Removed) -> Rules {
    Rules { removed, ..rules(&[OURS, OURS]) }
}

#[test]
fn without_the_wait_on_clean() {
    double_use("no wait on clean", &without(Removed::WaitOnClean));
}

#[test]
fn without_the_verification() {
    double_use("no verification", &without(Removed::Verify));
}

#[test]
fn with_a_lease_from_completion() {
    double_use("lease from completion", &without(Removed::LeaseFromSubmission));
}

#[test]
fn without_boottime() {
    let faults = Faults { pauses: 1, ..NO_FAULTS };
    double_use("no BOOTTIME", &Rules { faults, ..without(Removed::Boottime) });
}

#[test]
fn with_the_same_draws() {
    double_use("same draws", &without(Removed::Draws));
}

#[test]
fn without_time_to_settle() {
    let exact = Rules { unit: 11 * SECOND / 2, horizon: 7, ..without(Removed::Settle) };
    let e2fsck = vec![OURS, Kind::Peer(Program::E2fsck)];
    let rules = Rules { nodes: e2fsck, lands_within: Some(1), prompt: &[1], ..exact.clone() };
    double_use("e2fsck, no time to settle", &rules);
    let checker = vec![OURS, Kind::Checker];
    let broken = breaks("check", &Rules { nodes: checker, prompt: &[0, 1], ..exact });
    assert!(broken.what.starts_with("called safe while"), "{}", broken.what);
}
