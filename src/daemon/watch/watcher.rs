//! Which devices are watched, and what is told of them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;

use super::gaze::{Facts, Glimpse, gaze};
use crate::daemon::clock::{Sleeper, Stop, now};
use crate::daemon::identity::node_name;
use crate::daemon::limits::allow_devices;
use crate::daemon::signals::Signals;
use crate::daemon::wake::{Bell, wait_for};
use crate::device::{
    DeviceError, KernelWriter, LocalView, block_devices, kernel_path, mounted_among,
};
use crate::protocol::{Change, Instant, Kmmpd, Local, Mounted, Reaction, Sentinel, Sight};

/// One that looks needs little.
const STACK: usize = 256 * 1024;
/// How often the kernel's tables are asked, and devices that do not answer are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How often to see whether a device that held nothing to watch holds something now.
const RETRY: Duration = Duration::from_secs(30);
/// The same for one that was named.
const RETRY_NAMED: Duration = Duration::from_secs(2);
/// After so long a device that was named is reckoned with, whether it has answered or not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which devices to watch, beside those that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// None.
    Off,
    /// Those that are mounted here.
    Mounted,
    /// All with ext4 and MMP.
    All,
}

/// Something the program must react to.
#[derive(Debug)]
pub enum Incident {
    /// A signal came.
    Signal(Signal),
    /// A device, by its path, is watched from here on.
    Watched(PathBuf),
    /// On a device that is watched there is another file system than before; its alarms are cleared.
    Replaced(PathBuf),
    /// There is nothing to watch on a device that was named or watched; its alarms are cleared.
    Nothing(PathBuf, DeviceError),
    /// A device is no longer there, or no longer mounted; its alarms are cleared.
    Gone(PathBuf),
    /// An alarm begins or ends.
    Changed(PathBuf, Change),
    /// The time asked for has come.
    Timer,
}

/// A device under watch.
#[derive(Debug)]
pub struct WatchedDevice {
    number: u64,
    path: PathBuf,
    named: bool,
    /// Where the kernel has it, if it was named: it may be found by another path.
    place: Option<PathBuf>,
    facts: Option<Facts>,
    answered: bool,
    /// Why it could not be opened, if discovery found it.
    unopened: Option<DeviceError>,
    sentinel: Sentinel,
    /// When the look under way was due.
    due: Instant,
    orders: Sender<Instant>,
}

impl WatchedDevice {
    /// The path it is watched by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is seen of it.
    pub fn sentinel(&self) -> &Sentinel {
        &self.sentinel
    }

    /// The file system's label, as it stands on the disk.
    pub fn label(&self) -> &[u8] {
        self.facts.as_ref().map_or(&[], |facts| &facts.label)
    }

    /// The superblock's update interval, seconds, once it was read.
    pub fn update_interval(&self) -> Option<u16> {
        self.facts.as_ref().map(|facts| facts.update_interval)
    }

    /// Whether it is known to have an MMP block, or gives an alarm all the same.
    fn is_watched(&self) -> bool {
        self.facts.is_some() || !self.sentinel.alarms().is_empty()
    }

    fn order(&mut self, at: Instant) {
        self.due = at;
        // Fails only when its thread is gone, and the device with it.
        let _ = self.orders.send(at);
    }

    fn local(&self, view: &LocalView) -> Local {
        let Some(Facts { number: Some(number), kernel_name, .. }) = &self.facts else {
            return Local::default();
        };
        let writer = view.writer(kernel_name);
        let mounts: Vec<_> = view.mounts(*number).collect();
        let mounted = match writer {
            // Lustre's servers mount where no table shows it.
            KernelWriter::Running | KernelWriter::Frozen if mounts.is_empty() => Mounted::ReadWrite,
            _ if mounts.is_empty() => Mounted::No,
            _ if mounts.iter().any(|mount| !mount.read_only) => Mounted::ReadWrite,
            _ if mounts.iter().any(|mount| mount.emergency) => Mounted::Emergency,
            _ => Mounted::ReadOnly,
        };
        let kmmpd = match writer {
            KernelWriter::Unseen => Kmmpd::Unknown,
            KernelWriter::Absent => Kmmpd::Absent,
            KernelWriter::Running => Kmmpd::Running,
            KernelWriter::Frozen => Kmmpd::Frozen,
        };
        Local { mounted, kmmpd }
    }
}

/// News from a thread.
#[derive(Debug)]
enum News {
    Glimpse(u64, Glimpse),
    /// The kernel's tables, and the devices that discovery asks for.
    View(LocalView, Vec<PathBuf>),
}

/// What threads are given to tell their news.
#[derive(Clone, Debug)]
struct Post {
    news: Sender<News>,
    wake: Arc<Bell>,
}

impl Post {
    fn tell(&self, news: News) {
        // Fails only when nobody listens any more.
        let _ = self.news.send(news);
        self.wake.ring();
    }
}

/// Watches devices.
#[derive(Debug)]
pub struct Watcher {
    stop: Stop,
    post: Post,
    news: Receiver<News>,
    signals: Signals,
    node: Vec<u8>,
    devices: Vec<WatchedDevice>,
    view: LocalView,
    discovery: Discovery,
    discovered: bool,
    began: Instant,
    next_tick: Instant,
    next_number: u64,
    incidents: VecDeque<Incident>,
}

impl Watcher {
    /// Starts watching. From here on the given signals come as [`Incident::Signal`] only; call it
    /// before any other thread exists.
    pub fn start(named: &[PathBuf], discovery: Discovery, signals: &[Signal]) -> io::Result<Self> {
        let signals = Signals::take(&signals.iter().copied().collect())?;
        let wake = Arc::new(Bell::new()?);
        let (sender, news) = channel();
        let began = now().instant;
        let mut watcher = Watcher {
            stop: Stop::new()?,
            post: Post { news: sender, wake },
            news,
            signals,
            node: node_name(),
            devices: Vec::new(),
            view: LocalView::default(),
            discovery,
            discovered: discovery == Discovery::Off,
            began,
            next_tick: began + TICK,
            next_number: 0,
            incidents: VecDeque::new(),
        };
        for path in named {
            watcher.add(path.clone(), true)?;
        }
        // Later they are asked again; who cannot ask at all would watch nothing.
        discover(discovery)?;
        watcher.survey(discovery)?;
        Ok(watcher)
    }

    /// The thread that asks the kernel's tables.
    fn survey(&self, discovery: Discovery) -> io::Result<()> {
        let (post, timer) = (self.post.clone(), Sleeper::new(&self.stop)?);
        let body = move || {
            while !timer.is_stopped() {
                // What cannot be asked now is as it was.
                if let Ok((view, found)) = discover(discovery) {
                    post.tell(News::View(view, found));
                }
                if timer.wait(now().instant + TICK, true).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("survey".to_owned()).spawn(body).map(drop)
    }

    fn add(&mut self, path: PathBuf, named: bool) -> io::Result<()> {
        let number = self.next_number;
        self.next_number += 1;
        allow_devices(self.devices.len() + 1);
        let (orders, ordered) = channel();
        let (post, timer, its_path) = (self.post.clone(), Sleeper::new(&self.stop)?, path.clone());
        let name = format!("look-{number}");
        thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
            let tell = |glimpse| post.tell(News::Glimpse(number, glimpse));
            // Ends early only when the kernel refuses a timer; then the device does not answer.
            let _ = gaze(&its_path, &ordered, &timer, &tell);
        })?;
        let due = now().instant;
        let sentinel = Sentinel::new(0, &self.node);
        let place = if named { kernel_path(&path) } else { None };
        let mut device = WatchedDevice {
            number,
            path,
            named,
            place,
            facts: None,
            answered: false,
            unopened: None,
            sentinel,
            due,
            orders,
        };
        device.order(due);
        self.devices.push(device);
        Ok(())
    }

    /// The devices that were named, in their order, and then those that were found.
    pub fn devices(&self) -> impl Iterator<Item = &WatchedDevice> {
        self.devices.iter().filter(|device| device.named || device.is_watched())
    }

    /// Why devices that were found could not be opened, and whether none that has answered could.
    pub fn unopened(&self) -> (Vec<&DeviceError>, bool) {
        let opened = |device: &WatchedDevice| device.answered && device.unopened.is_none();
        let none = !self.devices.iter().any(opened);
        (self.devices.iter().filter_map(|device| device.unopened.as_ref()).collect(), none)
    }

    /// Whether every device has been looked at once, as far as they answer.
    pub fn is_ready(&self) -> bool {
        let waited = now().instant.since(self.began) > PATIENCE;
        self.discovered && (waited || self.devices.iter().all(|device| device.answered))
    }

    /// Tells all threads to end.
    pub fn stop(&self) {
        self.stop.raise();
    }

    /// Waits for the next thing to happen, at most until `until`.
    pub fn next(&mut self, until: Option<Instant>) -> io::Result<Incident> {
        loop {
            if let Some(signal) = self.signals.next()? {
                return Ok(Incident::Signal(signal));
            }
            if let Some(incident) = self.incidents.pop_front() {
                return Ok(incident);
            }
            let instant = now().instant;
            if instant >= self.next_tick {
                self.next_tick = instant + TICK;
                self.tick();
            } else if let Ok(news) = self.news.try_recv() {
                self.hear(news)?;
            } else if until.is_some_and(|until| until <= instant) {
                return Ok(Incident::Timer);
            } else {
                let due = until.map_or(self.next_tick, |until| until.min(self.next_tick));
                self.sleep(due.since(instant))?;
            }
        }
    }

    fn sleep(&self, at_most: Duration) -> io::Result<()> {
        let millis = at_most.as_millis().saturating_add(1).min(60_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.post.wake.as_fd(), PollFlags::POLLIN),
        ];
        wait_for(&mut fds, timeout)?;
        self.post.wake.quiet()
    }

    /// Tells the sentinels of looks that take long.
    fn tick(&mut self) {
        let instant = now().instant;
        for index in 0..self.devices.len() {
            let due = self.devices[index].due;
            if instant.since(due) > TICK {
                self.show(index, Sight::Waiting(due));
            }
        }
    }

    /// Shows a sentinel something, and keeps what it says; tells when it wants to look next.
    fn show(&mut self, index: usize, sight: Sight) -> Instant {
        let device = &mut self.devices[index];
        let Reaction { changes, look } = device.sentinel.on(sight, now());
        let path = &device.path;
        self.incidents.extend(changes.into_iter().map(|c| Incident::Changed(path.clone(), c)));
        look
    }

    fn hear(&mut self, news: News) -> io::Result<()> {
        match news {
            News::View(view, found) => {
                self.view = view;
                self.rediscover(found)?;
                for index in 0..self.devices.len() {
                    let local = self.devices[index].local(&self.view);
                    self.show(index, Sight::Local(local));
                }
            }
            News::Glimpse(number, glimpse) => {
                // One that is no longer watched may still have had something to say.
                let index = self.devices.iter().position(|device| device.number == number);
                if let Some(index) = index {
                    self.glimpse(index, glimpse);
                }
            }
        }
        Ok(())
    }

    /// Takes over which devices there are. One that was found once is given up when it is gone.
    fn rediscover(&mut self, found: Vec<PathBuf>) -> io::Result<()> {
        if self.discovery == Discovery::Off {
            return Ok(());
        }
        let is_gone = |device: &WatchedDevice| !device.named && !found.contains(&device.path);
        while let Some(index) = self.devices.iter().position(is_gone) {
            self.clear(index);
            let device = self.devices.remove(index);
            if device.facts.is_some() {
                self.incidents.push_back(Incident::Gone(device.path));
            }
        }
        for path in found {
            let is_it = |device: &WatchedDevice| {
                device.path == path
                    || (device.place.is_some() && device.place == kernel_path(&path))
            };
            if !self.devices.iter().any(is_it) {
                self.add(path, false)?;
            }
        }
        self.discovered = true;
        Ok(())
    }

    /// Ends all alarms of a device.
    fn clear(&mut self, index: usize) {
        let device = &mut self.devices[index];
        let raised: Vec<_> = device.sentinel.alarms().iter().map(|cause| cause.alarm()).collect();
        device.sentinel = Sentinel::new(0, &self.node);
        for alarm in raised {
            let change = Change::Cleared(alarm);
            self.incidents.push_back(Incident::Changed(device.path.clone(), change));
        }
    }

    fn glimpse(&mut self, index: usize, glimpse: Glimpse) {
        let next = match glimpse {
            Glimpse::Facts(facts) => return self.learn(index, facts),
            Glimpse::Looked { submitted, result } => {
                self.show(index, Sight::Read { submitted, result })
            }
            Glimpse::Nothing(error) => {
                self.clear(index);
                let device = &mut self.devices[index];
                let told = device.facts.take().is_some() || (device.named && !device.answered);
                let retry = if device.named { RETRY_NAMED } else { RETRY };
                if told {
                    self.incidents.push_back(Incident::Nothing(device.path.clone(), error));
                } else {
                    device.unopened = Some(error).filter(|e| matches!(e, DeviceError::Open { .. }));
                }
                now().instant + retry
            }
        };
        let device = &mut self.devices[index];
        device.answered = true;
        device.order(next);
    }

    fn learn(&mut self, index: usize, facts: Facts) {
        self.devices[index].unopened = None;
        let before = self.devices[index].facts.take();
        let same = before
            .as_ref()
            .is_none_or(|before| (before.uuid, before.mmp_block) == (facts.uuid, facts.mmp_block));
        if !same {
            self.clear(index);
            self.incidents.push_back(Incident::Replaced(self.devices[index].path.clone()));
        }
        let device = &mut self.devices[index];
        let update_interval = facts.update_interval;
        device.facts = Some(facts);
        let local = device.local(&self.view);
        if before.is_none() {
            self.incidents.push_back(Incident::Watched(self.devices[index].path.clone()));
        }
        self.show(index, Sight::UpdateInterval(update_interval));
        self.show(index, Sight::Local(local));
    }
}

/// Asks the kernel's tables.
fn discover(discovery: Discovery) -> io::Result<(LocalView, Vec<PathBuf>)> {
    let view = LocalView::take()?;
    let found = match discovery {
        Discovery::Off => Vec::new(),
        Discovery::Mounted => mounted_among(block_devices()?, &view),
        Discovery::All => block_devices()?,
    };
    Ok((view, found))
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.raise();
    }
}
