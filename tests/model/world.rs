//! The world of the model check: one block, a few nodes, and time in coarse steps.
//!
//! Everything that can happen next is a [`Step`]; the explorer tries them all. Any operation may
//! land, and any answer or timer may reach its node, arbitrarily late: a slow device, a loaded
//! machine, a stopped process and a suspended machine are all that. [`Rules`] says what is assumed
//! all the same.

use std::fmt;
use std::hash::{Hash, Hasher};

use mmp::layout::{MmpBlock, Names};
use mmp::protocol::{Event, Instant, IoFault, Now, ReadError};

use super::hash::Fingerprint;
use super::node::{End, Kind, Node, Removed, Todo, clean_block};

/// Seconds as nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// What is explored, and what is assumed.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) nodes: Vec<Kind>,
    pub(crate) removed: Removed,
    /// Whether every node goes by the same names.
    pub(crate) cloned: bool,
    /// Nanoseconds of one step of time.
    pub(crate) unit: u64,
    /// How many steps of time there are.
    pub(crate) horizon: u64,
    /// How long after the look it rests on a write lands at the latest, in steps of time; with
    /// `None` arbitrarily late, or never.
    pub(crate) lands_within: Option<u64>,
    /// Nodes for which everything happens at once.
    pub(crate) prompt: &'static [usize],
    /// How long after kmmpd's last write, or the look before its first, the next one lands at the
    /// latest, in steps of time.
    pub(crate) kmmpd_within: u64,
    /// Whether only those mounts count that the helper calls a success without another look.
    pub(crate) mounts_in_time: bool,
    /// From this step of time on everything happens at once and nothing fails.
    pub(crate) calm_from: u64,
    pub(crate) faults: Faults,
}

/// How often what may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// Starts, the first ones included.
    pub(crate) starts: u8,
    /// A node dies; a write it has under way may land later.
    pub(crate) crashes: u8,
    /// An operation is reported as failed; a write may land all the same, later.
    pub(crate) failures: u8,
    /// The user wants to stop.
    pub(crate) stops: u8,
    /// The whole machine is suspended, and later resumed.
    pub(crate) pauses: u8,
}

/// An operation on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flight {
    /// By the node's clock.
    submitted: Instant,
    /// When what it rests on was seen, in steps of time.
    basis: u64,
    /// What it writes; a read writes nothing.
    block: Option<MmpBlock>,
    /// What it read, or wrote, once it has reached the disk.
    landed: Option<MmpBlock>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Member {
    node: Node,
    flight: Option<Flight>,
    timer: Option<Instant>,
    started: bool,
    paused: bool,
    /// Steps of time that its clock did not count.
    slept: u64,
    /// When its last look or write reached the disk, in steps of time.
    looked: u64,
    /// When kmmpd last wrote, or the look before its first write was served.
    wrote: u64,
}

/// A write whose node has gone, or was told that it failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Orphan {
    basis: u64,
    block: MmpBlock,
}

/// One thing that happens; numbers are nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Land(usize),
    Answer(usize),
    Timer(usize),
    Start(usize),
    Stop(usize),
    Fail(usize),
    Crash(usize),
    Pause(usize),
    Resume(usize),
    LandOrphan(usize),
    LoseOrphan(usize),
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    now: u64,
    disk: MmpBlock,
    members: Vec<Member>,
    orphans: Vec<Orphan>,
    left: Faults,
    started: u32,
    turn: Turn,
}

/// Steps of different nodes that touch no disk may be swapped, so one order of them is enough: by
/// node right after time has passed, later only right behind the same node's other steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Turn {
    fresh: bool,
    node: usize,
}

impl World {
    pub(crate) fn new(rules: &Rules) -> Self {
        let members = rules.nodes.iter().enumerate().map(|(i, kind)| {
            let name = if rules.cloned { "node".into() } else { format!("node{i}") };
            let names = Names::new(name.as_bytes(), b"sda");
            let node = Node::new(*kind, rules.removed, names);
            Member {
                node,
                flight: None,
                timer: None,
                started: false,
                paused: false,
                slept: 0,
                looked: 0,
                wrote: 0,
            }
        });
        World {
            now: 0,
            disk: clean_block(),
            members: members.collect(),
            orphans: Vec::new(),
            left: rules.faults,
            started: 0,
            turn: Turn { fresh: true, node: 0 },
        }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = Fingerprint::default();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The node's clock. The wall clock stands still: blocks differ in nothing that does not count.
    fn clock(&self, rules: &Rules, node: usize) -> Now {
        let steps = self.now - self.members[node].slept;
        Now { instant: Instant(steps * rules.unit), wall: 0 }
    }

    pub(crate) fn users(&self, rules: &Rules) -> Vec<usize> {
        let uses = |i: &usize| {
            let member = &self.members[*i];
            !member.paused && member.node.uses(self.clock(rules, *i).instant)
        };
        (0..self.members.len()).filter(uses).collect()
    }

    pub(crate) fn ends(&self) -> impl Iterator<Item = Option<&End>> {
        self.members.iter().map(|member| member.node.end())
    }

    /// Whether all that had to happen until the end of time has happened.
    pub(crate) fn is_over(&self, rules: &Rules) -> bool {
        self.now == rules.horizon && !self.is_due(rules)
    }

    /// Whether no node wants anything, and nothing is on its way to the disk.
    pub(crate) fn is_quiet(&self) -> bool {
        self.orphans.is_empty() && self.members.iter().all(|member| member.node.is_out())
    }

    pub(crate) fn disk(&self) -> &MmpBlock {
        &self.disk
    }

    /// Whether the next step of time would break what is assumed.
    fn is_due(&self, rules: &Rules) -> bool {
        let calm = self.is_calm(rules);
        let late = |basis| rules.lands_within.is_some_and(|limit| basis + limit <= self.now);
        let due = |(i, member): (usize, &Member)| {
            let prompt = calm || rules.prompt.contains(&i);
            let flight = member.flight.as_ref().is_some_and(|f| prompt || late(f.basis));
            let timer = prompt && self.timer_is_due(rules, i);
            let beats = member.node.rewrites()
                || member.node.looks_last()
                    && member.flight.as_ref().is_some_and(|f| f.landed.is_some());
            let kmmpd = beats && member.wrote + rules.kmmpd_within <= self.now;
            !member.paused && (flight || timer || kmmpd)
        };
        self.orphans.iter().any(|orphan| calm || late(orphan.basis))
            || self.members.iter().enumerate().any(due)
    }

    fn is_calm(&self, rules: &Rules) -> bool {
        self.now >= rules.calm_from
    }

    fn timer_is_due(&self, rules: &Rules, node: usize) -> bool {
        self.members[node].timer.is_some_and(|t| t <= self.clock(rules, node).instant)
    }

    /// Everything that can happen next; the passing of time comes last.
    pub(crate) fn steps(&self, rules: &Rules, steps: &mut Vec<Step>) {
        let faults = !self.is_calm(rules);
        for (i, member) in self.members.iter().enumerate() {
            if member.flight.as_ref().is_some_and(|f| f.landed.is_none()) {
                steps.push(Step::Land(i));
            }
            if !(i == self.turn.node || self.turn.fresh && i > self.turn.node) {
                continue;
            }
            if member.paused {
                steps.push(Step::Resume(i));
                continue;
            }
            if member.flight.as_ref().is_some_and(|f| f.landed.is_some()) {
                steps.push(Step::Answer(i));
            }
            if self.timer_is_due(rules, i) {
                steps.push(Step::Timer(i));
            }
            if member.node.is_out() && faults && self.left.starts > 0 && self.is_next_to_start(i) {
                steps.push(Step::Start(i));
            }
            if !faults {
                continue;
            }
            if member.timer.is_some() && self.left.stops > 0 {
                steps.push(Step::Stop(i));
            }
            if member.flight.is_some() && self.left.failures > 0 {
                steps.push(Step::Fail(i));
            }
            if !member.node.is_out() && self.left.crashes > 0 {
                steps.push(Step::Crash(i));
            }
            if !member.node.is_out() && self.left.pauses > 0 {
                steps.push(Step::Pause(i));
            }
        }
        for i in 0..self.orphans.len() {
            steps.push(Step::LandOrphan(i));
            steps.push(Step::LoseOrphan(i));
        }
        if self.now < rules.horizon && !self.is_due(rules) {
            steps.push(Step::Tick);
        }
    }

    /// Of nodes that are alike it does not matter which starts first.
    fn is_next_to_start(&self, node: usize) -> bool {
        let member = &self.members[node];
        let before = &self.members[..node];
        before.iter().all(|b| b.started || b.node.kind() != member.node.kind())
    }

    /// Lets it happen. An error is a broken promise.
    pub(crate) fn take(&mut self, rules: &Rules, step: Step) -> Result<(), String> {
        self.turn = match step {
            Step::Tick => Turn { fresh: true, node: 0 },
            Step::Land(node) => Turn { fresh: false, node },
            Step::LandOrphan(_) | Step::LoseOrphan(_) => {
                Turn { fresh: false, node: self.members.len() }
            }
            Step::Answer(node)
            | Step::Timer(node)
            | Step::Start(node)
            | Step::Stop(node)
            | Step::Fail(node)
            | Step::Crash(node)
            | Step::Pause(node)
            | Step::Resume(node) => Turn { node, ..self.turn },
        };
        match step {
            Step::Tick => {
                self.now += 1;
                if rules.removed == Removed::Boottime {
                    for member in &mut self.members {
                        member.slept += u64::from(member.paused);
                    }
                }
            }
            Step::Start(i) => {
                self.left.starts -= 1;
                self.started += 1;
                self.members[i].started = true;
                let draw = match rules.removed {
                    Removed::Draws => 1000,
                    _ => 1000 * self.started,
                };
                let now = self.clock(rules, i);
                let todo = self.members[i].node.start(draw, now)?;
                self.todo(rules, i, todo);
            }
            Step::Land(i) => self.land(rules, i),
            Step::Answer(i) => self.answer(rules, i, None)?,
            Step::Fail(i) => {
                self.left.failures -= 1;
                self.answer(rules, i, Some(IoFault(5)))?;
            }
            Step::Timer(i) => self.tell(rules, i, Event::Timer)?,
            Step::Stop(i) => {
                self.left.stops -= 1;
                self.tell(rules, i, Event::Stop)?;
            }
            Step::Crash(i) => {
                self.left.crashes -= 1;
                self.orphan(i);
                let member = &mut self.members[i];
                member.node.crash();
                member.timer = None;
            }
            Step::Pause(i) => {
                self.left.pauses -= 1;
                self.members[i].paused = true;
            }
            Step::Resume(i) => self.members[i].paused = false,
            Step::LandOrphan(i) => self.disk = self.orphans.remove(i).block,
            Step::LoseOrphan(i) => drop(self.orphans.remove(i)),
        }
        let checked = match step {
            Step::Answer(i) => self.members[i].node.end(),
            _ => None,
        };
        match self.users(rules)[..] {
            [a, ..] if matches!(checked, Some(End::Checked(verdict)) if verdict.is_safe()) => {
                Err(format!("called safe while node {a} uses the file system"))
            }
            [a, b, ..] => Err(format!("nodes {a} and {b} use the file system at once")),
            _ => Ok(()),
        }
    }

    fn land(&mut self, rules: &Rules, node: usize) {
        let now = if rules.lands_within.is_some() { self.now } else { 0 };
        let member = &mut self.members[node];
        let Some(flight) = &mut member.flight else {
            return;
        };
        if let Some(block) = &flight.block {
            self.disk = block.clone();
            if member.node.rewrites() {
                member.wrote = self.now;
            }
        } else {
            flight.basis = now;
            member.looked = now;
            if member.node.looks_last() {
                member.wrote = self.now;
            }
        }
        flight.landed = Some(self.disk.clone());
    }

    /// What of a node's operation stays behind when the node knows no more of it.
    fn orphan(&mut self, node: usize) {
        if let Some(Flight { block: Some(block), landed: None, basis, .. }) =
            self.members[node].flight.take()
        {
            self.orphans.push(Orphan { basis, block });
        }
    }

    fn answer(&mut self, rules: &Rules, node: usize, fault: Option<IoFault>) -> Result<(), String> {
        let Some(flight) = self.members[node].flight.clone() else {
            return Err("an answer without a question".into());
        };
        self.orphan(node);
        let Flight { submitted, block, landed, .. } = flight;
        let event = match (block, landed, fault) {
            (Some(_), _, fault) => Event::Wrote { submitted, result: fault.map_or(Ok(()), Err) },
            (None, Some(block), None) => Event::Read { submitted, result: Ok(block) },
            (None, _, fault) => {
                let error = ReadError::Io(fault.unwrap_or(IoFault(5)));
                Event::Read { submitted, result: Err(error) }
            }
        };
        self.tell(rules, node, event)
    }

    fn tell(&mut self, rules: &Rules, node: usize, event: Event) -> Result<(), String> {
        let now = self.clock(rules, node);
        self.members[node].timer = None;
        let todo = self.members[node].node.on(event, now)?;
        self.todo(rules, node, todo);
        Ok(())
    }

    fn todo(&mut self, rules: &Rules, node: usize, todo: Todo) {
        let submitted = self.clock(rules, node).instant;
        let now = if rules.lands_within.is_some() { self.now } else { 0 };
        let member = &mut self.members[node];
        if rules.mounts_in_time && member.node.must_confirm() {
            return member.node.crash();
        }
        let flight = |basis, block| Some(Flight { submitted, basis, block, landed: None });
        match todo {
            Todo::Read => member.flight = flight(now, None),
            Todo::Write(block) => {
                let basis = if member.node.rewrites() { now } else { member.looked };
                member.flight = flight(basis, Some(block));
            }
            Todo::Wait(until) => member.timer = Some(until),
            Todo::Nothing => {}
        }
    }

    /// What a step did, for a trace.
    pub(crate) fn describe(&self, rules: &Rules, step: Step) -> String {
        let users = self.users(rules);
        let milliseconds = self.now * rules.unit / 1_000_000;
        let time = format!("{:>4}.{:03} s", milliseconds / 1000, milliseconds % 1000);
        format!("{time}  {step:<28} block {:<10} users {users:?}", self.disk.sequence().to_string())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Step::Tick => "time passes".into(),
            Step::Land(i) => format!("node {i}: operation lands"),
            Step::Answer(i) => format!("node {i}: is answered"),
            Step::Timer(i) => format!("node {i}: timer"),
            Step::Start(i) => format!("node {i}: starts"),
            Step::Stop(i) => format!("node {i}: is told to stop"),
            Step::Fail(i) => format!("node {i}: operation fails"),
            Step::Crash(i) => format!("node {i}: crashes"),
            Step::Pause(i) => format!("node {i}: is suspended"),
            Step::Resume(i) => format!("node {i}: is resumed"),
            Step::LandOrphan(i) => format!("late write {i} lands"),
            Step::LoseOrphan(i) => format!("late write {i} is lost"),
        };
        f.pad(&text)
    }
}
