//! Workers that carry out the steps of many tasks, each at its time.
//!
//! A step may hang in the kernel for as long as its device pleases; it then keeps its worker, and
//! another one takes over what is due next. There are always some to spare, made beforehand and
//! away from the ticks, so that what bounds the number of hung devices is memory alone.
//!
//! While nothing hangs, one worker can serve a thousand devices, and to wake a second one for every
//! step would double the cost. So the *leader* watches the clock and carries out what is due, and a
//! *deputy* looks whether something is overdue: then the leader hangs, or there is more to do than
//! it can, and the deputy goes to work as well.

use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::daemon::clock::{Timer, Woken, now};
use crate::daemon::realtime::Realtime;
use crate::daemon::wake::{Bell, wait_for};
use crate::protocol::Instant;

/// Virtual size of a worker's stack in bytes; it is locked and resident only as far as it was used.
const STACK: usize = 256 * 1024;
/// Workers with nothing to do that are kept ready for devices that hang at the same moment.
const SPARE: usize = 8;
/// A worker that finds so many idle leaves.
const TOO_MANY: usize = 2 * SPARE;
/// What is so late is not left to the leader.
const OVERDUE: Duration = Duration::from_millis(10);
/// The leader wakes at most once in so long, and then carries out all that is due.
const SLACK: Duration = Duration::from_millis(4);
/// How long to wait after a new worker before the next one: a burst of steps needs none.
const PACE: Duration = Duration::from_millis(1);
/// The same if the system gave none.
const RETRY: Duration = Duration::from_millis(100);

/// Work in steps, with waits between them.
pub(super) trait Task: Send {
    /// Goes on until it has to wait, or is over: then `None`.
    fn step(&mut self, woken: Woken) -> Option<Wait>;
}

/// When a task goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) until: Instant,
    /// Whether a stop ends the wait.
    pub(super) heed_stop: bool,
}

struct Due {
    wait: Wait,
    woken: Woken,
    task: Box<dyn Task>,
}

/// The earliest first, as the heap has the greatest on top.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.wait.until.cmp(&self.wait.until)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.wait.until == other.wait.until
    }
}

impl Eq for Due {}

struct State {
    waiting: BinaryHeap<Due>,
    stopped: bool,
    /// Until when the leader sleeps; `None` while there is none, or it is at work.
    leader: Option<Instant>,
    /// Until when the deputy sleeps; `None` while there is none.
    deputy: Option<Instant>,
    /// Workers that do nothing, without leader and deputy.
    idle: usize,
}

impl State {
    fn add(&mut self, wait: Wait, task: Box<dyn Task>) {
        self.waiting.push(match self.stopped && wait.heed_stop {
            true => Due { wait: Wait { until: Instant(0), ..wait }, woken: Woken::Stop, task },
            false => Due { wait, woken: Woken::Timer, task },
        });
    }

    /// When the next step is due.
    fn earliest(&self) -> Instant {
        self.waiting.peek().map_or(NEVER, |due| due.wait.until)
    }

    /// Workers that could take over.
    fn spares(&self) -> usize {
        self.idle + usize::from(self.deputy.is_some())
    }
}

const NEVER: Instant = Instant(u64::MAX);

struct Shared {
    /// Held for moments only, and never over I/O.
    state: Mutex<State>,
    /// Wakes the deputy before its time.
    deputy: Condvar,
    /// Wakes an idle worker.
    idle: Condvar,
    /// Workers run short.
    short: Condvar,
    timer: Timer,
    /// Wakes the leader before its time.
    kick: Bell,
    realtime: Realtime,
}

/// The workers.
pub(super) struct Pool(Arc<Shared>);

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts workers; the list of tasks never grows beyond `tasks`.
    pub(super) fn start(tasks: usize, realtime: Realtime) -> io::Result<Self> {
        let state = State {
            waiting: BinaryHeap::with_capacity(tasks),
            stopped: false,
            leader: None,
            deputy: None,
            idle: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            deputy: Condvar::new(),
            idle: Condvar::new(),
            short: Condvar::new(),
            timer: Timer::new()?,
            kick: Bell::new()?,
            realtime,
        });
        for _ in 0..SPARE {
            spawn(&shared)?;
        }
        let spare = Arc::clone(&shared);
        thread::Builder::new().name("spare".to_owned()).stack_size(STACK).spawn(move || {
            spare.realtime.enter();
            spare.keep_spares();
        })?;
        Ok(Pool(shared))
    }

    /// Adds a task whose first step is due at `at`.
    pub(super) fn add(&self, at: Instant, task: Box<dyn Task>) {
        let mut state = self.0.lock();
        state.add(Wait { until: at, heed_stop: true }, task);
        self.0.attend(&state);
    }

    /// Every task that heeds it goes on at once and is told to stop.
    pub(super) fn stop(&self) {
        let mut state = self.0.lock();
        state.stopped = true;
        for Due { wait, task, .. } in std::mem::take(&mut state.waiting).into_vec() {
            state.add(wait, task);
        }
        self.0.attend(&state);
    }
}

fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let worker = Arc::clone(shared);
    let thread = thread::Builder::new().name("worker".to_owned()).stack_size(STACK);
    thread.spawn(move || {
        worker.realtime.enter();
        worker.work();
    })?;
    Ok(())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No step runs under the lock, and nothing else can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that somebody wakes for the earliest step.
    fn attend(&self, state: &State) {
        let earliest = state.earliest();
        match (state.leader, state.deputy) {
            _ if earliest == NEVER => {}
            (Some(until), _) if until <= earliest + SLACK => {}
            (Some(_), _) => self.kick.ring(),
            (None, Some(until)) if until <= earliest + OVERDUE => {}
            (None, Some(_)) => self.deputy.notify_one(),
            (None, None) => self.idle.notify_one(),
        }
        if state.spares() == 0 {
            self.short.notify_one();
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        // Whether a step is taken as soon as it is due, or only when it is overdue.
        let mut leads = false;
        let mut awake = Instant(0);
        loop {
            let (instant, earliest) = (now().instant, state.earliest());
            let leaderless = state.leader.is_none();
            leads = leads || earliest + OVERDUE <= instant;
            if earliest <= instant && leads {
                let Some(Due { woken, mut task, .. }) = state.waiting.pop() else { continue };
                if state.earliest() + OVERDUE <= instant {
                    // More than this one can do in time.
                    self.deputy.notify_one();
                }
                self.attend(&state);
                drop(state);
                let next = task.step(woken).map(|wait| (wait, task));
                state = self.lock();
                if let Some((wait, task)) = next {
                    state.add(wait, task);
                    self.attend(&state);
                }
                if state.idle >= TOO_MANY {
                    self.attend(&state);
                    return;
                }
            } else if leaderless {
                leads = true;
                let until = earliest.max(awake + SLACK);
                state.leader = Some(until);
                drop(state);
                self.sleep(until);
                state = self.lock();
                state.leader = None;
                awake = now().instant;
            } else if state.deputy.is_none() {
                leads = false;
                let until = earliest + OVERDUE;
                state.deputy = Some(until);
                let woken = self.deputy.wait_timeout(state, until.since(instant));
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                state.deputy = None;
            } else {
                leads = false;
                state.idle += 1;
                let woken = self.idle.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// Waits for a time, or for a kick.
    fn sleep(&self, until: Instant) {
        let mut fds = [
            PollFd::new(self.kick.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        // A timer that the kernel refuses, which it never does to a valid one, would be polled.
        let patience = match self.timer.arm(until) {
            Ok(()) => PollTimeout::NONE,
            Err(_) => PollTimeout::from(10u8),
        };
        // Neither fails with descriptors as valid as these.
        let _ = wait_for(&mut fds, patience).and_then(|()| self.kick.quiet());
    }

    /// Makes new workers when none is left that could take over.
    fn keep_spares(self: &Arc<Self>) {
        loop {
            let state = self.lock();
            let waited = self.short.wait_while(state, |state| state.spares() > 0);
            drop(waited);
            let pause = if spawn(self).is_ok() { PACE } else { RETRY };
            thread::sleep(pause);
        }
    }
}
