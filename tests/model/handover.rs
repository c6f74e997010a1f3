//! The two questions about a handover to the kernel: what can a write do that lands later than the
//! guard interval, and what can a node do that mounts without the suite?

use super::controls::double_use;
use super::node::{Kind, Removed};
use super::peers::Program;
use super::safety::{always, horizon, rules};
use super::world::Rules;

const GUARD: Kind = Kind::Helper { strict: false };
const STRICT: Kind = Kind::Helper { strict: true };
const PLAIN: Kind = Kind::Peer(Program::Mainline);

/// Steps of 5.6 s: at 1 a write lands within the guard interval of the look it rests on. kmmpd
/// always writes within a step of its last write or, the first time, of the look before it.
fn two(nodes: [Kind; 2], lands_within: Option<u64>) -> Rules {
    Rules { lands_within, horizon: horizon(7), ..rules(&nodes) }
}

/// However late writes land elsewhere, if the mount has returned within the guard interval of the
/// look that verified the claim: then the helper does not look again.
#[test]
fn guard_holds_while_mounts_return_in_time() {
    let in_time = Rules { mounts_in_time: true, horizon: horizon(6), ..two([GUARD, GUARD], None) };
    always("guard and guard", &in_time);
}

/// The same where each takes whoever it finds for fenced, wrongly.
#[test]
fn guard_holds_with_false_evidence_of_a_fencing() {
    let in_time = Rules { mounts_in_time: true, horizon: horizon(5), ..two([GUARD, GUARD], None) };
    always("guard and guard, false evidence", &Rules { removed: Removed::FirstWatch, ..in_time });
}

/// The mount of the one returns later than that: what the helper must look for before it reports
/// success.
#[test]
fn guard_and_a_mount_that_returns_too_late() {
    double_use("guard and guard, late mount", &two([GUARD, GUARD], Some(1)));
}

/// Strict leaves a block alone that is not clean; if its holder lets go before the kernel looks,
/// the kernel does not wait either.
#[test]
fn strict_on_a_block_that_is_let_go() {
    double_use("guard and strict", &two([GUARD, STRICT], Some(1)));
}

/// Such a mount, if nothing holds it up, is back before two waits can have passed, which makes the
/// helper look.
#[test]
fn guard_and_strict_hold_where_the_helper_does_not_look_again() {
    let rules = two([GUARD, STRICT], Some(1));
    always("guard and strict, in time", &Rules { mounts_in_time: true, prompt: &[1], ..rules });
}

/// One that is held up comes back as late as one that has waited. The helper's lookout, which is
/// not in this model, sees the block become clean within a second, unless it is held up as well.
#[test]
fn guard_and_strict_and_a_kernel_that_is_held_up() {
    let rules = two([GUARD, STRICT], Some(1));
    double_use("guard and strict, held up", &Rules { mounts_in_time: true, ..rules });
}

#[test]
fn strict_holds_however_late_a_write_lands() {
    always("strict and strict", &two([STRICT, STRICT], None));
}

/// A plain mount's write lands within 16.9 s of its look, less than two guard intervals.
#[test]
fn strict_holds_against_a_plain_mount_in_time() {
    always("strict and plain", &two([STRICT, PLAIN], Some(3)));
}

#[test]
fn strict_and_a_plain_mount_that_lands_too_late() {
    double_use("strict and plain, late", &two([STRICT, PLAIN], None));
}

#[test]
fn guard_and_a_plain_mount() {
    double_use("guard and plain", &Rules { mounts_in_time: true, ..two([GUARD, PLAIN], Some(1)) });
}
