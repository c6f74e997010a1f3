//! What else is promised.

use std::time::Duration;

use mmp::protocol::{Action, Check, Event, HoldOutcome, Instant, Loss, Machine, Now, Verdict};

use super::explore::explore;
use super::node::{End, Kind, Removed};
use super::peers::{Program, UPDATE_INTERVAL};
use super::safety::{NO_FAULTS, OURS, always, holds, horizon, rules};
use super::world::{Faults, Rules, SECOND, World};

const LIMIT: usize = 20_000_000;
const PATIENT: Kind = Kind::Ours { interval: Duration::from_secs(1), patient: true };

fn a_user_if_anybody_wants(world: &World, rules: &Rules) -> Result<(), String> {
    let wanted = !world.is_quiet();
    match world.is_over(rules) && wanted && world.users(rules).is_empty() {
        true => Err("nobody gets in".into()),
        false => Ok(()),
    }
}

/// After 3 steps (16.5 s) of anything all goes well, for 7 steps (38.5 s).
fn calm(removed: Removed) -> Rules {
    let faults = Faults { crashes: 1, failures: 1, ..NO_FAULTS };
    let exact = Rules { unit: 11 * SECOND / 2, removed, faults, ..rules(&[PATIENT, PATIENT]) };
    Rules { calm_from: 3, horizon: 10, ..exact }
}

#[test]
fn somebody_gets_in_once_all_goes_well() {
    let rules = calm(Removed::Nothing);
    let explored = holds("somebody gets in", &rules, a_user_if_anybody_wants, LIMIT);
    assert!(explored.complete);
}

/// Two that watch each other's claims for exactly as long as those are verified can go on for ever.
#[test]
fn without_time_to_settle_nobody_gets_in() {
    let explored = explore(&calm(Removed::Settle), a_user_if_anybody_wants, LIMIT);
    let broken = explored.broken.expect("two that take turns");
    println!("{broken}");
    assert_eq!(broken.what, "nobody gets in");
}

/// What a check makes of the block as it stands, by its first look.
fn first_look(world: &World) -> Action<mmp::protocol::NeverWrites, Verdict> {
    let now = Now { instant: Instant(SECOND), wall: 0 };
    let mut check = Check::new(UPDATE_INTERVAL, false, Instant(0));
    check.on(Event::Begin, now);
    check.on(Event::Read { submitted: now.instant, result: Ok(world.disk().clone()) }, now)
}

fn released_means_clean(world: &World, _: &Rules) -> Result<(), String> {
    let released = world.ends().any(|end| matches!(end, Some(End::Held(HoldOutcome::Released))));
    let verdict = first_look(world);
    let clean = matches!(verdict, Action::Done(Verdict::Clean { watched: Duration::ZERO, .. }));
    match released && world.is_quiet() && !clean {
        true => Err(format!("released, but {verdict:?}")),
        false => Ok(()),
    }
}

/// While writes land at once; only timers and answers come late. (A loser's last write that lands
/// after the release, or a claim that overlapped it and puts back what it had found, leaves an
/// active sequence behind: the next one waits for nothing.)
#[test]
fn a_clean_release_is_seen_as_clean() {
    let faults = Faults { stops: 1, ..NO_FAULTS };
    let stop = Rules { horizon: 5, lands_within: Some(0), faults, ..rules(&[OURS, OURS]) };
    let explored = holds("clean release", &stop, released_means_clean, LIMIT);
    assert!(explored.complete);
}

/// The block is called safe by a check only while nobody uses it.
#[test]
fn a_check_calls_nothing_safe_that_is_in_use() {
    let exact = Rules { unit: 11 * SECOND / 2, horizon: 9, ..rules(&[OURS, Kind::Checker]) };
    always("holder and check", &Rules { prompt: &[0, 1], ..exact });
}

fn nobody_thrown_out(world: &World, _: &Rules) -> Result<(), String> {
    let second = |end: Option<&End>| {
        matches!(end, Some(End::Held(HoldOutcome::Lost(Loss::SecondWriter { .. }))))
    };
    match world.ends().any(second) {
        true => Err("a holder gave up although nobody else goes on writing".into()),
        false => Ok(()),
    }
}

/// Neither a block cleared by force nor one late claim makes a holder give up.
#[test]
fn one_late_writer_does_not_throw_the_holder_out() {
    let nodes = [OURS, OURS, Kind::Peer(Program::ForcedClear)];
    let faults = Faults { starts: 3, ..NO_FAULTS };
    let late = Rules { horizon: horizon(3), faults, ..rules(&nodes) };
    let explored = holds("late writers", &late, nobody_thrown_out, LIMIT);
    assert!(explored.complete);
}
