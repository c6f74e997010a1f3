//! Tries everything that can happen, each state once.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::time::Instant;

use super::hash::Already;
use super::world::{Rules, Step, World};

/// What an exploration came to.
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) steps: u64,
    pub(crate) deepest: usize,
    pub(crate) seconds: f64,
    /// Whether there was nothing left to try.
    pub(crate) complete: bool,
    pub(crate) broken: Option<Broken>,
}

/// A promise that does not hold, and how that came about.
pub(crate) struct Broken {
    pub(crate) what: String,
    lines: Vec<String>,
}

/// What must hold in a state, beyond what [`World::take`] watches.
pub(crate) type Promise = fn(&World, &Rules) -> Result<(), String>;

struct Open {
    world: World,
    steps: Vec<Step>,
}

/// Depth first, over at most `limit` states.
pub(crate) fn explore(rules: &Rules, promise: Promise, limit: usize) -> Explored {
    let began = Instant::now();
    let mut seen: HashSet<u64, BuildHasherDefault<Already>> = HashSet::default();
    let mut explored =
        Explored { states: 1, steps: 0, deepest: 0, seconds: 0.0, complete: true, broken: None };
    let mut trace = Vec::new();
    let mut open = vec![opened(rules, World::new(rules))];
    while let Some(state) = open.last_mut() {
        let Some(step) = state.steps.pop() else {
            open.pop();
            trace.pop();
            continue;
        };
        let mut world = state.world.clone();
        explored.steps += 1;
        trace.push(step);
        explored.deepest = explored.deepest.max(trace.len());
        let taken = world.take(rules, step);
        let next = opened(rules, world);
        let kept = taken.and_then(|()| promise(&next.world, rules));
        if let Err(what) = kept {
            explored.broken = Some(broken(rules, what, &trace));
            break;
        }
        if !seen.insert(next.world.fingerprint()) {
            trace.pop();
            continue;
        }
        explored.states += 1;
        if explored.states >= limit {
            explored.complete = false;
            break;
        }
        open.push(next);
    }
    explored.seconds = began.elapsed().as_secs_f64();
    explored
}

fn opened(rules: &Rules, world: World) -> Open {
    let mut steps = Vec::new();
    world.steps(rules, &mut steps);
    steps.reverse();
    Open { world, steps }
}

/// Runs the trace again, for people.
fn broken(rules: &Rules, what: String, trace: &[Step]) -> Broken {
    let mut world = World::new(rules);
    let mut lines = Vec::new();
    for step in trace {
        let _ = world.take(rules, *step);
        if *step != Step::Tick {
            lines.push(world.describe(rules, *step));
        }
    }
    Broken { what, lines }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explored { states, steps, deepest, seconds, .. } = self;
        let bound = if self.complete { "all" } else { "the first" };
        write!(f, "{bound} {states} states, {steps} steps, {deepest} deep, {seconds:.1} s")
    }
}
