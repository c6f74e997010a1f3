//! Never two users: what holds, over every order of events in the stated scope.

use std::time::Duration;

use super::explore::{Explored, Promise, explore};
use super::node::{Kind, Removed};
use super::peers::Program;
use super::world::{Faults, Rules, SECOND, World};

/// A node of ours with the defaults.
pub(crate) const OURS: Kind = Kind::Ours { interval: Duration::from_secs(1), patient: false };
pub(crate) const NO_FAULTS: Faults =
    Faults { starts: 2, crashes: 0, failures: 0, stops: 0, pauses: 0 };

/// Steps of 5.625 s: two to the guard interval of 11 s, and to the 11.25 s after which a block is
/// stale. No limit to any delay.
pub(crate) fn rules(nodes: &[Kind]) -> Rules {
    Rules {
        nodes: nodes.to_vec(),
        removed: Removed::Nothing,
        cloned: true,
        unit: 45 * SECOND / 8,
        horizon: 6,
        lands_within: None,
        prompt: &[],
        kmmpd_within: 1,
        mounts_in_time: false,
        calm_from: u64::MAX,
        faults: NO_FAULTS,
    }
}

pub(crate) fn nothing_more(_: &World, _: &Rules) -> Result<(), String> {
    Ok(())
}

/// Tries everything and wants nothing broken.
pub(crate) fn holds(name: &str, rules: &Rules, promise: Promise, limit: usize) -> Explored {
    let explored = explore(rules, promise, limit);
    println!("{name}: {explored}");
    if let Some(broken) = &explored.broken {
        panic!("{name}: {broken}");
    }
    explored
}

pub(crate) fn always(name: &str, rules: &Rules) {
    let explored = holds(name, rules, nothing_more, 50_000_000);
    assert!(explored.complete, "{name}: too large to be tried whole");
}

/// One step of time deeper for every unit of `MMP_MODEL_DEEPER`; each is about three times the work.
pub(crate) fn horizon(steps: u64) -> u64 {
    let deeper = std::env::var("MMP_MODEL_DEEPER").unwrap_or_default();
    steps + deeper.parse().unwrap_or(0)
}

fn ours(faults: Faults) -> Rules {
    Rules { horizon: horizon(6), faults, ..rules(&[OURS, OURS]) }
}

#[test]
fn two_nodes_however_late_a_write_lands() {
    always("two nodes, same names", &ours(NO_FAULTS));
    let different = Rules { cloned: false, horizon: horizon(4), ..ours(NO_FAULTS) };
    always("two nodes, different names", &different);
}

/// Steps that divide the guard interval and the lease: what happens exactly as they end.
#[test]
fn two_nodes_at_the_very_end_of_the_lease() {
    let exact = Rules { unit: 11 * SECOND / 2, horizon: horizon(6), ..ours(NO_FAULTS) };
    always("two nodes, exact steps", &exact);
}

#[test]
fn two_nodes_and_a_crash() {
    let faults = Faults { crashes: 1, ..NO_FAULTS };
    always("two nodes, one crash", &Rules { horizon: horizon(5), ..ours(faults) });
}

#[test]
fn two_nodes_and_a_failed_operation_that_lands_all_the_same() {
    let faults = Faults { failures: 1, ..NO_FAULTS };
    always("two nodes, one failure", &Rules { horizon: horizon(4), ..ours(faults) });
}

#[test]
fn two_nodes_and_a_stop() {
    let faults = Faults { stops: 1, ..NO_FAULTS };
    always("two nodes, one stop", &Rules { horizon: horizon(4), ..ours(faults) });
}

#[test]
fn two_nodes_and_a_suspended_machine() {
    let faults = Faults { pauses: 1, ..NO_FAULTS };
    always("two nodes, one suspend", &Rules { horizon: horizon(4), ..ours(faults) });
}

/// Not exhaustive: the first half million states.
#[test]
fn three_nodes() {
    let faults = Faults { starts: 3, ..NO_FAULTS };
    let rules = Rules { horizon: horizon(5), faults, ..rules(&[OURS, OURS, OURS]) };
    holds("three nodes", &rules, nothing_more, 500_000 << (2 * (horizon(0))));
}

/// Writes land within 5.6 s of the look they rest on, kmmpd writes every 5.6 s at the latest.
fn with(program: Program) -> Rules {
    let nodes = [OURS, Kind::Peer(program)];
    Rules { lands_within: Some(1), horizon: horizon(6), ..rules(&nodes) }
}

#[test]
fn with_a_mainline_kernel() {
    always("ours and a mainline kernel", &with(Program::Mainline));
}

#[test]
fn with_a_lustre_kernel() {
    always("ours and a Lustre kernel", &with(Program::Lustre));
}

/// e2fsck is silent for a minute once it has the block: nothing may hold it up while it claims.
#[test]
fn with_e2fsck() {
    let exact = Rules { unit: 11 * SECOND / 2, horizon: horizon(7), ..with(Program::E2fsck) };
    always("ours and e2fsck", &Rules { prompt: &[1], ..exact });
}

/// Every claim takes whoever it finds for fenced, wrongly: the worst that evidence can be. What it
/// watches after its own write has to do.
#[test]
fn fencing_that_is_believed_and_did_not_happen() {
    let believed = |rules: Rules| Rules { removed: Removed::FirstWatch, ..rules };
    let faults = Faults { crashes: 1, ..NO_FAULTS };
    let two = believed(Rules { horizon: horizon(4), ..ours(faults) });
    always("two nodes, false evidence, one crash", &two);
    for program in [Program::Mainline, Program::Lustre] {
        let kernel = believed(Rules { horizon: horizon(4), ..with(program) });
        always(&format!("ours and {program:?}, false evidence"), &kernel);
    }
}
