//! A disk of one block, and nodes that run the machines on it, in virtual time.

use std::time::Duration;

use mmp::layout::{Invalid, MMP_MAGIC, MMP_SIZE, MmpBlock, MmpChecksum, Names, Sequence};
use mmp::protocol::{
    Action, Check, Claim, ClaimOutcome, ClaimRequest, Claimed, Event, Hold, HoldOutcome,
    HoldRequest, Instant, IoFault, Loss, Machine, Notice, Now, ReadError, Refusal, Verdict, Write,
};

/// When every run begins.
const START: Instant = Instant(1_000_000_000_000);
/// EIO.
const FAULT: IoFault = IoFault(5);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A point of a run.
pub(crate) fn at(millis: u64) -> Instant {
    START + ms(millis)
}

/// A block as the node of that name leaves it, with a check interval of 5 s.
pub(crate) fn block(node: &str, sequence: Sequence) -> MmpBlock {
    let mut raw = [0; MMP_SIZE];
    raw[..4].copy_from_slice(&MMP_MAGIC.to_le_bytes());
    let names = Names::new(node.as_bytes(), b"disk");
    MmpBlock::from_bytes(raw).with_sequence(sequence).with_names(&names).with_check_interval(5)
}

pub(crate) fn active(node: &str, sequence: u32) -> MmpBlock {
    block(node, Sequence::Active(sequence))
}

pub(crate) fn clean() -> MmpBlock {
    block("before", Sequence::Clean)
}

/// What befalls one read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It fails, and leaves nothing behind.
    Fails,
    /// A write that lands and is reported as failed.
    FailsButLands,
    /// A read that meets a write half way.
    Torn,
    /// It takes this much longer, and lands when it began.
    Hangs(Duration),
}

/// Reads or writes that begin in a span of time, milliseconds, meet a mishap; `most` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) write: bool,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) most: u32,
    pub(crate) mishap: Mishap,
}

impl Fault {
    pub(crate) fn reads(from: u64, to: u64, mishap: Mishap) -> Self {
        Fault { write: false, from, to, most: u32::MAX, mishap }
    }

    pub(crate) fn writes(from: u64, to: u64, mishap: Mishap) -> Self {
        Fault { write: true, ..Fault::reads(from, to, mishap) }
    }

    pub(crate) fn first(self, most: u32) -> Self {
        Fault { most, ..self }
    }
}

pub(crate) enum Job {
    Check(Box<Check>),
    Claim(Box<Claim>, HoldRequest),
    Hold(Box<Hold>),
    Over,
}

pub(crate) enum Step {
    Tell(Event),
    Wait,
    Read { submitted: Instant },
    Write { submitted: Instant, write: Write },
}

/// A node: what it does, and how its disk and its luck are.
pub(crate) struct Node {
    pub(crate) job: Job,
    /// Milliseconds from handing a read or write to the disk until it takes effect there.
    pub(crate) read_delay: u64,
    pub(crate) write_delay: u64,
    pub(crate) faults: Vec<Fault>,
    /// When it is told to stop, milliseconds.
    pub(crate) stop: Option<u64>,
    /// When it does nothing, milliseconds.
    pub(crate) paused: Option<(u64, u64)>,
    pub(crate) next: Option<(Instant, Step)>,
    /// How it ended, in words, and when.
    pub(crate) end: Option<(String, Instant)>,
    /// The claim it won.
    pub(crate) claimed: Option<Claimed>,
    pub(crate) notices: Vec<Notice>,
}

impl Node {
    fn new(job: Job) -> Self {
        Node {
            job,
            read_delay: 1,
            write_delay: 1,
            faults: Vec::new(),
            stop: None,
            paused: None,
            next: Some((START, Step::Tell(Event::Begin))),
            end: None,
            claimed: None,
            notices: Vec::new(),
        }
    }

    pub(crate) fn check(update_interval: u16, guard: bool, patience: u64) -> Self {
        Node::new(Job::Check(Box::new(Check::new(update_interval, guard, at(patience)))))
    }

    /// Claims under a name and, with it won, holds.
    pub(crate) fn claim(name: &str, update_interval: u16, patience: u64, draw: u32) -> Self {
        let interval = ms(1000);
        let hold = HoldRequest { update_interval, interval };
        let names = Names::new(name.as_bytes(), b"disk");
        let check_interval = hold.check_interval(Duration::ZERO);
        let patience = at(patience);
        let request = ClaimRequest { update_interval, check_interval, names, draw, patience };
        Node::new(Job::Claim(Box::new(Claim::new(request)), hold))
    }

    /// Holds a device whose block is `block` since the start of the run.
    pub(crate) fn hold(block: MmpBlock, interval: Duration) -> Self {
        let claimed = Claimed { block, original: clean(), verified: START };
        let request = HoldRequest { update_interval: 5, interval };
        Node::new(Job::Hold(Box::new(Hold::new(claimed, request))))
    }

    pub(crate) fn starting(mut self, millis: u64) -> Self {
        self.next = Some((at(millis), Step::Tell(Event::Begin)));
        self
    }

    /// How it ended, in words; what it is doing where it has not.
    pub(crate) fn word(&self) -> &str {
        match (&self.end, &self.job) {
            (Some((word, _)), _) => word,
            (None, Job::Hold(_)) => "holding",
            (None, _) => "undecided",
        }
    }

    fn mishap(&mut self, write: bool, now: Instant) -> Option<Mishap> {
        let fits = |f: &&mut Fault| {
            f.write == write && f.most > 0 && (at(f.from)..at(f.to)).contains(&now)
        };
        let fault = self.faults.iter_mut().find(fits)?;
        fault.most -= 1;
        Some(fault.mishap)
    }

    /// When it acts next.
    fn due(&self) -> Option<Instant> {
        let (time, step) = self.next.as_ref()?;
        let stop = self.stop.filter(|_| matches!(step, Step::Wait)).map(at);
        let time = stop.map_or(*time, |stop| stop.min(*time));
        // What it has handed to the disk goes on without it.
        let own = matches!(step, Step::Tell(_) | Step::Wait);
        let pause = self.paused.filter(|(from, to)| own && (at(*from)..at(*to)).contains(&time));
        Some(pause.map_or(time, |(_, to)| at(to)))
    }

    fn act(&mut self, now: Instant, disk: &mut MmpBlock) -> Option<Write> {
        let (_, step) = self.next.take()?;
        match step {
            Step::Tell(event) => self.tell(event, now),
            Step::Wait => match self.stop.take_if(|stop| at(*stop) <= now) {
                Some(_) => self.tell(Event::Stop, now),
                None => self.tell(Event::Timer, now),
            },
            Step::Read { submitted } => {
                let valid = disk.verify(MmpChecksum::None);
                let (mut done, mut result) = match valid {
                    Ok(()) => (now, Ok(disk.clone())),
                    Err(why) => {
                        (now, Err(ReadError::Invalid { block: Box::new(disk.clone()), why }))
                    }
                };
                match self.mishap(false, submitted) {
                    None | Some(Mishap::FailsButLands) => {}
                    Some(Mishap::Hangs(longer)) => done = now + longer,
                    Some(Mishap::Fails) => result = Err(ReadError::Io(FAULT)),
                    Some(Mishap::Torn) => {
                        let why = Invalid::Checksum { stored: 1, computed: 2 };
                        result = Err(ReadError::Invalid { block: Box::new(disk.clone()), why });
                    }
                }
                self.next = Some((done, Step::Tell(Event::Read { submitted, result })));
            }
            Step::Write { submitted, write } => {
                let (mut done, mut result, mut lands) = (now, Ok(()), true);
                match self.mishap(true, submitted) {
                    None | Some(Mishap::Torn) => {}
                    Some(Mishap::Hangs(longer)) => done = now + longer,
                    Some(Mishap::Fails) => (result, lands) = (Err(FAULT), false),
                    Some(Mishap::FailsButLands) => result = Err(FAULT),
                }
                self.next = Some((done, Step::Tell(Event::Wrote { submitted, result })));
                if lands {
                    *disk = write.block.clone();
                    return Some(write);
                }
            }
        }
        None
    }

    fn tell(&mut self, event: Event, instant: Instant) {
        let now = Now { instant, wall: instant.0 / 1_000_000_000 };
        let after = |delay: u64| instant + ms(delay);
        let (read, write) = (after(self.read_delay), after(self.write_delay));
        let reads = (read, Step::Read { submitted: instant });
        let writes = |w: Write| (write, Step::Write { submitted: instant, write: w });
        let mut ended = None;
        let mut then = None;
        self.next = match &mut self.job {
            Job::Over => None,
            Job::Check(check) => match check.on(event, now) {
                Action::Read => Some(reads),
                Action::Write(write) => match write {},
                Action::Wait(until) => Some((until.max(instant), Step::Wait)),
                Action::Done(verdict) => {
                    ended = Some(verdict_word(&verdict));
                    None
                }
            },
            Job::Claim(claim, request) => match claim.on(event, now) {
                Action::Read => Some(reads),
                Action::Write(write) => Some(writes(write)),
                Action::Wait(until) => Some((until.max(instant), Step::Wait)),
                Action::Done(ClaimOutcome::Claimed(claimed)) => {
                    self.claimed = Some(claimed.clone());
                    then = Some(Box::new(Hold::new(claimed, *request)));
                    Some((instant, Step::Tell(Event::Begin)))
                }
                Action::Done(ClaimOutcome::Refused { why, left_behind }) => {
                    let left = if left_behind { ", left behind" } else { "" };
                    ended = Some(refusal_word(&why) + left);
                    None
                }
            },
            Job::Hold(hold) => {
                let action = hold.on(event, now);
                self.notices.extend(hold.take_notice());
                match action {
                    Action::Read => Some(reads),
                    Action::Write(write) => Some(writes(write)),
                    Action::Wait(until) => Some((until.max(instant), Step::Wait)),
                    Action::Done(outcome) => {
                        ended = Some(hold_word(&outcome));
                        None
                    }
                }
            }
        };
        if let Some(hold) = then {
            self.job = Job::Hold(hold);
        }
        if let Some(word) = ended {
            self.job = Job::Over;
            self.end = Some((word, instant));
        }
    }
}

fn verdict_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::InUse { block, .. } => format!("in use by {}", block.nodename()),
        verdict => mmp::report::verdict_word(verdict).to_owned(),
    }
}

fn refusal_word(why: &Refusal) -> String {
    match why {
        Refusal::NotSafe(verdict) => verdict_word(verdict),
        Refusal::LostRace { by } => format!("lost race to {}", by.nodename()),
        Refusal::Unwritable(_) => "unwritable".to_owned(),
        Refusal::Unverified(_) => "unverified".to_owned(),
        Refusal::Expired => "expired".to_owned(),
        Refusal::Stopped => "stopped".to_owned(),
    }
}

fn hold_word(outcome: &HoldOutcome) -> String {
    match outcome {
        HoldOutcome::Released => "released".to_owned(),
        HoldOutcome::NotOurs { found } => format!("not ours but {}'s", found.nodename()),
        HoldOutcome::NotReleased(_) => "not released".to_owned(),
        HoldOutcome::Lost(Loss::SecondWriter { found }) => {
            format!("second writer {}", found.nodename())
        }
        HoldOutcome::Lost(Loss::Expired { found: Some(found), .. }) => {
            format!("expired, now {}", found.nodename())
        }
        HoldOutcome::Lost(Loss::Expired { found: None, .. }) => "expired".to_owned(),
        HoldOutcome::Lost(Loss::Gone { .. }) => "gone".to_owned(),
    }
}

/// A write that landed.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    pub(crate) at: Instant,
    pub(crate) node: usize,
    pub(crate) write: Write,
}

/// One disk and all that happens to it.
pub(crate) struct World {
    pub(crate) disk: MmpBlock,
    pub(crate) nodes: Vec<Node>,
    /// Writes of somebody who follows no rules, at milliseconds, in order.
    pub(crate) foreign: Vec<(u64, MmpBlock)>,
    pub(crate) landed: Vec<Landed>,
}

impl World {
    /// Runs until `until`, or until nothing more will happen.
    pub(crate) fn run(
        disk: MmpBlock,
        nodes: Vec<Node>,
        foreign: &[(u64, MmpBlock)],
        until: u64,
    ) -> Self {
        let mut world = World { disk, nodes, foreign: foreign.to_vec(), landed: Vec::new() };
        while world.step(at(until)) {}
        world
    }

    fn step(&mut self, until: Instant) -> bool {
        let due = |(index, node): (usize, &Node)| Some((node.due()?, index));
        let first = self.nodes.iter().enumerate().filter_map(due).min();
        let foreign = self.foreign.first().map(|(millis, _)| at(*millis));
        let now = first.map(|(time, _)| time).into_iter().chain(foreign).min();
        let Some(now) = now.filter(|now| *now <= until) else { return false };
        if foreign == Some(now) {
            self.disk = self.foreign.remove(0).1;
        } else if let Some((_, node)) = first
            && let Some(write) = self.nodes[node].act(now, &mut self.disk)
        {
            self.landed.push(Landed { at: now, node, write });
        }
        true
    }

    /// The node the block names.
    pub(crate) fn holder(&self) -> String {
        self.disk.nodename().to_string()
    }
}

/// Asserts that a node ended so, within 300 ms after `millis`.
pub(crate) fn assert_end(name: &str, node: &Node, word: &str, millis: u64) {
    let (found, time) = node.end.as_ref().unwrap_or_else(|| panic!("{name}: {}", node.word()));
    assert_eq!(found, word, "{name}");
    let expected = at(millis)..=at(millis + 300);
    assert!(expected.contains(time), "{name}: after {:?}, not {millis} ms", time.since(START));
}
