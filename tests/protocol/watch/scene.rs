//! A block that others write, and a sentinel that looks at it, in virtual time.

use std::time::Duration;

use mmp::layout::{Invalid, MmpBlock, Names, Sequence};
use mmp::protocol::{
    Cause, Change, Condition, Instant, IoFault, Kmmpd, Local, Mounted, Now, ReadError, ReadResult,
    Sentinel, Sight,
};

use crate::harness::{at, block, ms};

/// The wall clock when a scene begins, seconds since the epoch.
const EPOCH: u64 = 1_800_000_000;
/// The node that watches.
pub(super) const HERE: &str = "here";

pub(super) const MOUNTED: Local = Local { mounted: Mounted::ReadWrite, kmmpd: Kmmpd::Running };

/// The wall clock so many milliseconds into a scene.
pub(super) fn wall(millis: u64) -> u64 {
    EPOCH + millis / 1000
}

/// What happens to the block, and to the watcher; times in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    /// The watching node, if it is not [`HERE`].
    node: Option<&'static str>,
    /// The superblock's update interval, if it is not 5 s.
    update_interval: Option<u16>,
    contents: Vec<(u64, ReadResult)>,
    locals: Vec<(u64, Local)>,
    /// The watcher stands still from, to.
    pauses: Vec<(u64, u64)>,
    /// Looks that begin from, to end only then.
    hangs: Vec<(u64, u64)>,
    /// Looks take so long, and come so much late, by turns.
    jitter: Vec<(u64, u64)>,
}

/// A writer of heartbeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    node: &'static str,
    device: &'static str,
    period: u64,
    check_interval: u16,
    /// What its clock is ahead, seconds.
    ahead: i64,
}

impl Writer {
    pub(super) const fn kmmpd(node: &'static str, device: &'static str) -> Self {
        Writer { node, device, period: 5000, check_interval: 10, ahead: 0 }
    }

    pub(super) const fn mmpd(node: &'static str, device: &'static str) -> Self {
        Writer { period: 1000, check_interval: 5, ..Self::kmmpd(node, device) }
    }

    /// Writes that often, milliseconds.
    pub(super) fn every(self, period: u64) -> Self {
        Writer { period, ..self }
    }

    pub(super) fn ahead(self, ahead: i64) -> Self {
        Writer { ahead, ..self }
    }

    pub(super) fn block(&self, sequence: Sequence, millis: u64) -> MmpBlock {
        block(self.node, sequence)
            .with_names(&Names::new(self.node.as_bytes(), self.device.as_bytes()))
            .with_check_interval(self.check_interval)
            .with_time(wall(millis).checked_add_signed(self.ahead).expect("a time"))
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        Scene::default()
    }

    pub(super) fn watched_by(self, node: &'static str) -> Self {
        Scene { node: Some(node), ..self }
    }

    pub(super) fn update_interval(self, seconds: u16) -> Self {
        Scene { update_interval: Some(seconds), ..self }
    }

    pub(super) fn result(mut self, millis: u64, result: ReadResult) -> Self {
        self.contents.push((millis, result));
        self
    }

    pub(super) fn put(self, millis: u64, block: MmpBlock) -> Self {
        self.result(millis, Ok(block))
    }

    pub(super) fn state(self, millis: u64, writer: Writer, sequence: Sequence) -> Self {
        self.put(millis, writer.block(sequence, millis))
    }

    pub(super) fn clean(self, millis: u64, writer: Writer) -> Self {
        self.state(millis, writer, Sequence::Clean)
    }

    /// Heartbeats from `first` on, as long as they come before `to`.
    pub(super) fn beats(mut self, writer: Writer, first: u32, from: u64, to: u64) -> Self {
        let mut number = first;
        let mut millis = from;
        while millis < to {
            self = self.state(millis, writer, Sequence::Active(number));
            number += 1;
            millis += writer.period;
        }
        self
    }

    /// The device fails, or has no valid block, from then until the next content.
    pub(super) fn fails(self, millis: u64) -> Self {
        self.result(millis, Err(ReadError::Io(IoFault(5))))
    }

    pub(super) fn invalid(self, millis: u64, why: Invalid) -> Self {
        let block = block("who knows", Sequence::Active(7));
        self.result(millis, Err(ReadError::Invalid { block: Box::new(block), why }))
    }

    pub(super) fn local(mut self, millis: u64, local: Local) -> Self {
        self.locals.push((millis, local));
        self
    }

    pub(super) fn paused(mut self, from: u64, to: u64) -> Self {
        self.pauses.push((from, to));
        self
    }

    pub(super) fn hangs(mut self, from: u64, to: u64) -> Self {
        self.hangs.push((from, to));
        self
    }

    pub(super) fn jitter(mut self, jitter: Vec<(u64, u64)>) -> Self {
        self.jitter = jitter;
        self
    }

    fn content(&self, millis: u64) -> ReadResult {
        let past = self.contents.iter().filter(|(from, _)| *from <= millis);
        // Of two at once, the later one stands.
        let newest = past.max_by_key(|(from, _)| *from);
        newest.map_or(Err(ReadError::Io(IoFault(5))), |(_, result)| result.clone())
    }

    /// The end of the pause that this time falls into, or the time itself.
    fn awake(&self, millis: u64) -> u64 {
        let pause = self.pauses.iter().find(|(from, to)| (*from..*to).contains(&millis));
        pause.map_or(millis, |(_, to)| *to)
    }

    /// Watches from the beginning to `end`.
    pub(super) fn watch(&self, end: u64) -> Watched {
        let node = self.node.unwrap_or(HERE).as_bytes();
        let mut sentinel = Sentinel::new(self.update_interval.unwrap_or(5), node);
        let mut watched = Watched::default();
        let mut jitter = self.jitter.iter().cycle();
        let (mut local_due, mut millis) = (0, 0);
        while millis < end {
            if local_due <= millis {
                let past = self.locals.iter().filter(|(from, _)| *from <= millis);
                let local = past.max_by_key(|(from, _)| *from).map(|(_, local)| *local);
                watched.take(&mut sentinel, Sight::Local(local.unwrap_or_default()), millis);
                local_due = millis + 1000;
            }
            let (takes, late) = jitter.next().copied().unwrap_or((1, 0));
            let hang = self.hangs.iter().find(|(from, to)| (*from..*to).contains(&millis));
            let ended = hang.map_or(millis + takes, |(_, to)| *to);
            let (submitted, ended) = (at(millis), self.awake(ended));
            for waiting in (millis + 1000..ended).step_by(1000) {
                watched.take(&mut sentinel, Sight::Waiting(submitted), waiting);
            }
            let result = self.content(millis + takes / 2);
            let next = watched.take(&mut sentinel, Sight::Read { submitted, result }, ended);
            watched.looks += 1;
            millis = self.awake(next.max(ended) + late);
        }
        watched.intervals = sentinel.intervals().collect();
        watched
    }
}

/// What came out.
#[derive(Default)]
pub(super) struct Watched {
    /// `+name` for an alarm raised, `-name` for one cleared, with the time.
    pub(super) changes: Vec<(u64, String)>,
    /// What raised the alarms.
    pub(super) causes: Vec<Cause>,
    /// Each condition, as it began.
    pub(super) conditions: Vec<Condition>,
    pub(super) looks: usize,
    /// The times between updates at the end, latest first.
    pub(super) intervals: Vec<Duration>,
}

impl Watched {
    fn take(&mut self, sentinel: &mut Sentinel, sight: Sight, millis: u64) -> u64 {
        let now = Now { instant: at(millis), wall: wall(millis) };
        let reaction = sentinel.on(sight, now);
        self.causes.extend(reaction.changes.iter().filter_map(|change| match change {
            Change::Raised(cause) => Some(cause.clone()),
            Change::Cleared(_) => None,
        }));
        self.changes.extend(reaction.changes.iter().map(|change| {
            let told = match change {
                Change::Raised(cause) => format!("+{}", cause.alarm().name()),
                Change::Cleared(alarm) => format!("-{}", alarm.name()),
            };
            (millis, told)
        }));
        let condition = sentinel.condition();
        if self.conditions.last() != Some(&condition) {
            self.conditions.push(condition);
        }
        millis_of(reaction.look)
    }

    /// Names alone.
    pub(super) fn names(&self) -> Vec<&str> {
        self.changes.iter().map(|(_, name)| name.as_str()).collect()
    }

    /// When the change was told first.
    pub(super) fn when(&self, name: &str) -> u64 {
        let found = self.changes.iter().find(|(_, told)| told == name);
        found.unwrap_or_else(|| panic!("no {name}: {:?}", self.changes)).0
    }
}

fn millis_of(instant: Instant) -> u64 {
    u64::try_from(instant.since(at(0)).as_millis()).expect("small")
}

/// One look late enough that a test notices, between many that are not.
pub(super) fn ragged() -> Vec<(u64, u64)> {
    vec![(1, 0), (40, 10), (2, 130), (1, 0), (200, 1), (3, 700)]
}

#[test]
fn a_scene_looks_at_what_stands_there() {
    let scene = Scene::new().beats(Writer::kmmpd("a", "sdb"), 1, 0, 20_000);
    let sequence = |millis| scene.content(millis).expect("block").sequence();
    assert_eq!(sequence(4999), Sequence::Active(1));
    assert_eq!(sequence(5000), Sequence::Active(2));
    assert_eq!(scene.awake(7), 7);
    assert_eq!(scene.clone().paused(5, 10).awake(7), 10);
    assert_eq!(at(3).since(at(1)), ms(2));
}
