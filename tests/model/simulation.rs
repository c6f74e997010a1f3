//! Random schedules in continuous time, each from a seed: the same machines as in the model check,
//! under delays with heavy tails, hangs, suspended machines, clocks that are set, and torn writes.
//!
//! `MMP_SCHEDULES=N` runs N of them, `MMP_SEED=N` one again with its trace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant as Stopwatch;

use mmp::layout::{MMP_SIZE, MmpBlock, MmpChecksum, Names};
use mmp::protocol::{Event, Instant, IoFault, Now, ReadError, ReadResult};

use super::node::{Node, Removed, Todo, clean_block};
use super::plan::{Fault, Mode, Plan, What};

const CHECKSUM: MmpChecksum = MmpChecksum::Crc32c { seed: 0x5EED };
const HALF: usize = MMP_SIZE / 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Fault(usize),
    /// A write reaches the disk, or the half of it with this number.
    Lands(usize, Option<usize>),
    /// A read of the node's operation with this number is served.
    Reads(usize, u64),
    Answers(usize, u64),
    Timer(usize, u64),
}

struct Member {
    node: Node,
    rng: fastrand::Rng,
    /// Counts what was begun; what came of an earlier one is of no interest.
    turn: u64,
    submitted: u64,
    /// When the last look was served.
    looked: u64,
    read: Option<ReadResult>,
    writing: bool,
    failing: bool,
    waiting: bool,
    paused_until: u64,
    hung_until: u64,
    clock_step: i64,
}

pub(crate) struct Simulation<'a> {
    plan: &'a Plan,
    now: u64,
    disk: MmpBlock,
    members: Vec<Member>,
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    queued: u64,
    writes: Vec<MmpBlock>,
    started: u32,
    trace: Option<Vec<String>>,
    pub(crate) entered: u64,
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(plan: &'a Plan, removed: Removed, traced: bool) -> Self {
        let member = |(i, kind)| Member {
            node: Node::new(kind, removed, Names::new(b"node", b"sda")),
            rng: fastrand::Rng::with_seed(plan.seed ^ (i as u64 + 1) << 56),
            turn: 0,
            submitted: 0,
            looked: 0,
            read: None,
            writing: false,
            failing: false,
            waiting: false,
            paused_until: 0,
            hung_until: 0,
            clock_step: 0,
        };
        let mut simulation = Simulation {
            plan,
            now: 0,
            disk: clean_block(),
            members: plan.nodes.iter().copied().enumerate().map(member).collect(),
            queue: BinaryHeap::new(),
            queued: 0,
            writes: Vec::new(),
            started: 0,
            trace: traced.then(Vec::new),
            entered: 0,
        };
        if plan.mode == Mode::Torn {
            simulation.disk = MmpBlock::from_bytes(simulation.disk.sealed(CHECKSUM));
        }
        for (i, fault) in plan.faults.iter().enumerate() {
            simulation.at(fault.at, Happening::Fault(i));
        }
        simulation
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.queued += 1;
        self.queue.push(Reverse((time, self.queued, happening)));
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse((time, _, happening))) = self.queue.pop() {
            if time > self.plan.end {
                break;
            }
            self.now = time;
            let result = self.happens(happening);
            if let Some(trace) = &mut self.trace {
                let seconds = time / 1_000_000;
                let (whole, part) = (seconds / 1000, seconds % 1000);
                trace.push(format!("{whole:>6}.{part:03} s  {happening:?}  {:?}", self.disk));
            }
            result?;
        }
        Ok(())
    }

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Fault(i) => self.fault(self.plan.faults[i]),
            Happening::Lands(write, half) => {
                self.lands(write, half);
                Ok(())
            }
            Happening::Reads(i, turn) => {
                if self.members[i].turn == turn {
                    let block = self.disk.clone();
                    let valid = match self.plan.mode {
                        Mode::Torn => block.verify(CHECKSUM),
                        Mode::OneInterval | Mode::Adaptive => Ok(()),
                    };
                    let result = match valid {
                        Ok(()) => Ok(block),
                        Err(why) => Err(ReadError::Invalid { block: Box::new(block), why }),
                    };
                    self.members[i].looked = self.now;
                    self.members[i].read = Some(result);
                }
                Ok(())
            }
            Happening::Answers(i, turn) | Happening::Timer(i, turn) => {
                let member = &mut self.members[i];
                if member.turn != turn {
                    return Ok(());
                }
                if member.paused_until > self.now {
                    let later = member.paused_until;
                    self.at(later, happening);
                    return Ok(());
                }
                let event = match happening {
                    Happening::Timer(..) => Event::Timer,
                    _ => member.answer(),
                };
                self.tell(i, event)
            }
        }
    }

    fn lands(&mut self, write: usize, half: Option<usize>) {
        let block = &self.writes[write];
        let Some(half) = half else {
            self.disk = block.clone();
            return;
        };
        let mut raw = *self.disk.as_bytes();
        let range = half * HALF..(half + 1) * HALF;
        raw[range.clone()].copy_from_slice(&block.as_bytes()[range]);
        self.disk = MmpBlock::from_bytes(raw);
    }

    fn fault(&mut self, fault: Fault) -> Result<(), String> {
        let Fault { node: i, what, .. } = fault;
        let now = self.now;
        let member = &mut self.members[i];
        match what {
            What::Start if member.node.is_out() => {
                self.started += 1;
                let draw = self.started * 100_000;
                let now = member.now(now);
                let todo = member.node.start(draw, now)?;
                self.todo(i, todo);
            }
            What::Start => {}
            What::Stop if member.waiting && member.paused_until <= now => {
                return self.tell(i, Event::Stop);
            }
            What::Stop => {}
            What::Crash => self.crash(i),
            What::Pause(long) => member.paused_until = now + long,
            What::Hang(long) => member.hung_until = now + long,
            What::Fail => member.failing = true,
            What::SetClock(seconds) => member.clock_step = seconds,
        }
        Ok(())
    }

    fn crash(&mut self, i: usize) {
        let member = &mut self.members[i];
        member.node.crash();
        member.turn += 1;
        member.waiting = false;
    }

    fn tell(&mut self, i: usize, event: Event) -> Result<(), String> {
        let member = &mut self.members[i];
        let now = member.now(self.now);
        let used = member.node.uses(now.instant);
        let todo = member.node.on(event, now)?;
        let uses = member.node.uses(now.instant);
        self.todo(i, todo);
        if uses && !used {
            self.entered += 1;
            let at = Instant(self.now);
            let users = self.members.iter().filter(|m| m.node.uses(at)).count();
            if users > 1 {
                return Err(format!("{users} nodes use the file system at once"));
            }
        }
        Ok(())
    }

    fn todo(&mut self, i: usize, todo: Todo) {
        let member = &mut self.members[i];
        member.turn += 1;
        member.submitted = self.now;
        member.waiting = false;
        let turn = member.turn;
        match todo {
            Todo::Nothing => {}
            Todo::Wait(until) => {
                member.waiting = true;
                let late = member.lateness(self.plan.scale);
                self.at(until.0.max(self.now) + late, Happening::Timer(i, turn));
            }
            Todo::Read => {
                member.writing = false;
                let served = member.served(self.now, self.plan.scale);
                let answered = served + member.delay(self.plan.scale);
                self.at(served, Happening::Reads(i, turn));
                self.at(answered, Happening::Answers(i, turn));
            }
            Todo::Write(block) => self.write(i, block),
        }
    }

    /// In the bounded modes a write lands within its guard interval of the look it rests on; a node
    /// that is already too late for that dies instead.
    fn write(&mut self, i: usize, block: MmpBlock) {
        let scale = self.plan.scale;
        let member = &mut self.members[i];
        member.writing = true;
        let turn = member.turn;
        let mut lands = member.served(self.now, scale);
        if self.plan.mode != Mode::OneInterval {
            let limit = member.looked + 11 * scale - 1;
            if self.now > limit {
                return self.crash(i);
            }
            lands = lands.min(limit);
        }
        let answered = match member.failing {
            true => self.now + member.delay(scale),
            false => lands + member.delay(scale),
        };
        let lost = member.failing && member.rng.bool();
        let apart = member.rng.u64(..scale / 16);
        let write = self.writes.len();
        if self.plan.mode == Mode::Torn {
            self.writes.push(MmpBlock::from_bytes(block.sealed(CHECKSUM)));
            let first = usize::from(member.rng.bool());
            self.at(
                lands.saturating_sub(apart).max(self.now),
                Happening::Lands(write, Some(first)),
            );
            self.at(lands, Happening::Lands(write, Some(1 - first)));
        } else {
            self.writes.push(block);
            if !lost {
                self.at(lands, Happening::Lands(write, None));
            }
        }
        self.at(answered, Happening::Answers(i, turn));
    }
}

impl Member {
    /// The clock that counts suspend, and one that is set at will.
    fn now(&self, time: u64) -> Now {
        let wall = 1_700_000_000_i64.saturating_add(self.clock_step);
        Now { instant: Instant(time), wall: wall.unsigned_abs() + time / 1_000_000_000 }
    }

    /// Mostly nothing, seldom seconds, now and then minutes.
    fn delay(&mut self, scale: u64) -> u64 {
        match self.rng.u8(..64) {
            0..48 => self.rng.u64(..scale / 50),
            48..60 => self.rng.u64(..2 * scale),
            60..63 => self.rng.u64(..15 * scale),
            _ => self.rng.u64(..200 * scale),
        }
    }

    /// When the disk serves what is submitted now.
    fn served(&mut self, now: u64, scale: u64) -> u64 {
        now.max(self.hung_until) + self.delay(scale)
    }

    /// Timers come late, so that a schedule has few events.
    fn lateness(&mut self, scale: u64) -> u64 {
        match self.rng.u8(..8) {
            0 => self.delay(scale),
            1 => 0,
            _ => self.rng.u64(..3 * scale),
        }
    }

    fn answer(&mut self) -> Event {
        let submitted = Instant(self.submitted);
        let failed = std::mem::take(&mut self.failing);
        match (self.writing, failed, self.read.take()) {
            (true, false, _) => Event::Wrote { submitted, result: Ok(()) },
            (true, true, _) => Event::Wrote { submitted, result: Err(IoFault(5)) },
            (false, false, Some(result)) => Event::Read { submitted, result },
            (false, _, _) => Event::Read { submitted, result: Err(ReadError::Io(IoFault(5))) },
        }
    }
}

fn fails(plan: &Plan, removed: Removed) -> Option<String> {
    Simulation::new(plan, removed, false).run().err()
}

/// Prints all there is to know of a failing seed, and fails.
fn report(seed: u64, removed: Removed) -> String {
    let plan = Plan::draw(seed).shrunk(|plan| fails(plan, removed).is_some());
    let mut simulation = Simulation::new(&plan, removed, true);
    let what = simulation.run().err().unwrap_or_else(|| "holds".into());
    let trace = simulation.trace.unwrap_or_default().join("\n");
    format!(
        "seed={seed}: {what}\n{plan:#?}\n{trace}\nagain: MMP_SEED={seed} cargo test --test model"
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Runs seeds on every processor until one fails; tells how many claims stood.
fn search(seeds: std::ops::Range<u64>, removed: Removed) -> (Option<u64>, u64) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let entered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    let plan = Plan::draw(seed);
                    let mut simulation = Simulation::new(&plan, removed, false);
                    if simulation.run().is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                    entered.fetch_add(simulation.entered, Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    ((failed != u64::MAX).then_some(failed), entered.into_inner())
}

#[test]
fn never_two_users_in_random_schedules() {
    if let Some(seed) = number("MMP_SEED") {
        return println!("{}", report(seed, Removed::Nothing));
    }
    let began = Stopwatch::now();
    let schedules = number("MMP_SCHEDULES").unwrap_or(1_000_000);
    let (failed, entered) = search(0..schedules, Removed::Nothing);
    let seconds = began.elapsed().as_secs_f64();
    println!("seeds 0..{schedules}: {schedules} schedules, {entered} claims stood, {seconds:.1} s");
    if let Some(seed) = failed {
        panic!("{}", report(seed, Removed::Nothing));
    }
    assert!(entered > schedules / 2, "schedules in which nobody gets in prove little");
}

/// The simulation must find what is missing, too.
#[test]
fn random_schedules_find_the_controls() {
    for removed in [Removed::WaitOnClean, Removed::Verify, Removed::LeaseFromSubmission] {
        let (failed, _) = search(0..200_000, removed);
        let seed = failed.unwrap_or_else(|| panic!("{removed:?} was not found"));
        let plan = Plan::draw(seed).shrunk(|plan| fails(plan, removed).is_some());
        println!("{removed:?}: seed={seed}, {} faults when shrunk", plan.faults.len());
    }
}
