//! Ten of a hundred devices hang, and the others do not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mmp::layout::Sequence;
use mmp::report::StatusFields;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::common::faulty::{Fault, FaultyDisk, On};
use super::common::image::Image;
use super::common::program::{Running, run};
use super::common::suite::Suite;
use super::{GUARD, SLACK};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("ten_of_a_hundred_hang_and_the_others_are_on_time", ten_of_a_hundred);
}

const DEVICES: usize = 100;
const HUNG: usize = 10;
/// How long they hang.
const LONG: Duration = Duration::from_secs(60);
/// How late a heartbeat of the others may be on a machine that is not late itself.
const LATE: Duration = Duration::from_millis(200);
/// How far a loss may be from its deadline, and the end of a command behind it.
const HALF: Duration = Duration::from_millis(500);

/// What `mmpd status` tells, by device.
fn status(dir: &Path) -> Vec<StatusFields> {
    #[derive(serde::Deserialize)]
    struct Document {
        devices: Vec<StatusFields>,
    }
    let dir = dir.to_str().expect("UTF-8");
    let told = run("mmpd", &["status", "--json", "--status-dir", dir]);
    let document: Document = serde_json::from_str(&told.out).expect("JSON");
    document.devices
}

/// What is told of one device.
fn of(all: &[StatusFields], device: &Path) -> StatusFields {
    let name = device.display().to_string();
    all.iter().find(|fields| fields.device == name).cloned().expect("device")
}

/// A thread that sleeps and wakes as a heartbeat does, at no priority: how late it is at most, the
/// machine is.
struct Machine {
    over: Arc<AtomicBool>,
    latest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Machine {
    fn watch() -> Self {
        let (over, latest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, tells) = (Arc::clone(&over), Arc::clone(&latest));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                let due = Instant::now() + Duration::from_millis(20);
                thread::sleep(Duration::from_millis(20));
                let late = u64::try_from(due.elapsed().as_micros()).expect("short");
                tells.fetch_max(late, Ordering::SeqCst);
            }
        });
        Machine { over, latest, thread: Some(thread) }
    }

    fn latest(&self) -> Duration {
        Duration::from_micros(self.latest.load(Ordering::SeqCst))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What uses the devices that will hang: a process each, and the command for a loss that ends it.
struct Users {
    processes: Vec<Child>,
    on_loss: String,
}

impl Users {
    fn start(devices: &[PathBuf], folder: &Path) -> Self {
        let start = |_: &PathBuf| Command::new("sleep").arg("300").spawn().expect("sleep");
        let processes: Vec<Child> = devices.iter().map(start).collect();
        let lines = devices.iter().zip(&processes);
        let lines = lines.map(|(device, user)| format!("{} {}\n", device.display(), user.id()));
        let (table, told) = (folder.join("users"), folder.join("told"));
        fs::write(&table, lines.collect::<String>()).expect("write");
        let on_loss = format!(
            "while read -r device user; do \
             [ \"$device\" != \"$MMP_DEVICE\" ] || kill -9 $user; done <{}; \
             echo \"$MMP_DEVICE\" >>{}",
            table.display(),
            told.display(),
        );
        Users { processes, on_loss }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for user in &mut self.processes {
            let _ = user.kill();
            let _ = user.wait();
        }
    }
}

/// Waits until each device is declared lost and its user is dead; tells when.
fn losses(holder: &Running, sick: &[PathBuf], users: &mut Users) -> Vec<(Instant, Instant)> {
    let late = Instant::now() + 2 * GUARD;
    let mut seen = vec![(None, None); sick.len()];
    while seen.iter().any(|(lost, dead)| lost.is_none() || dead.is_none()) {
        assert!(Instant::now() < late, "{seen:?}: {}", holder.err());
        let err = holder.err();
        for ((lost, dead), (path, user)) in
            seen.iter_mut().zip(sick.iter().zip(&mut users.processes))
        {
            if err.contains(&format!("{}: lost: ", path.display())) {
                lost.get_or_insert_with(Instant::now);
            }
            if user.try_wait().expect("wait").is_some() {
                dead.get_or_insert_with(Instant::now);
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    seen.into_iter().map(|(lost, dead)| (lost.expect("lost"), dead.expect("dead"))).collect()
}

fn ten_of_a_hundred() {
    // In memory: how busy the disk is is not the question.
    let folder = TempDir::new_in("/dev/shm").expect("folder");
    let template = Image::with(&["-O", "^has_journal", "-N", "16"], "1M");
    let content = template.content();
    let image = |_| {
        let folder = TempDir::new_in(folder.path()).expect("folder");
        Image::at(folder, "disk.img", &content)
    };
    let disks: Vec<_> = (0..HUNG).map(|n| FaultyDisk::new(image(n))).collect();
    let sick: Vec<PathBuf> = disks.iter().map(|disk| disk.path().to_owned()).collect();
    let below: Vec<PathBuf> = disks.iter().map(|disk| disk.image.path().to_owned()).collect();
    let images: Vec<_> = (HUNG..DEVICES).map(image).collect();
    let well: Vec<PathBuf> = images.iter().map(|image| image.path().to_owned()).collect();
    let mut users = Users::start(&sick, folder.path());
    let sockets = TempDir::new().expect("folder");
    let options = ["hold".as_ref(), "--on-loss".as_ref(), users.on_loss.as_ref()];
    let options = options.into_iter().chain(["--status-dir".as_ref(), sockets.path().as_os_str()]);
    let devices = sick.iter().chain(&well).map(|path| path.as_os_str());
    let machine = Machine::watch();
    let mut holder = Running::start("mmpd", &options.chain(devices).collect::<Vec<_>>());
    for path in sick.iter().chain(&well) {
        holder.wait_for(&format!("{}: held\n", path.display()), GUARD + 3 * SLACK);
    }
    thread::sleep(Duration::from_secs(2));

    let before = status(sockets.path());
    disks.iter().for_each(|disk| disk.fail(On::All, Fault::Hang));
    let hung = Instant::now();
    let blocks = |paths: &[PathBuf]| -> Vec<Vec<u8>> {
        paths.iter().map(|path| fs::read(path).expect("read")).collect()
    };
    // What was under way has ended by then, or hangs.
    thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    let margins = status(sockets.path());
    let answered = Instant::now();
    let losses = losses(&holder, &sick, &mut users);
    for (path, (lost, dead)) in sick.iter().zip(losses) {
        let margin = of(&margins, path).lease_margin_s.expect("it is held");
        let margin = Duration::from_secs_f64(margin);
        let slack = HALF + machine.latest();
        let due = asked + margin..answered + margin;
        assert!(lost + slack > due.start && lost < due.end + slack, "{lost:?} {due:?}");
        assert!(dead < due.end + slack, "user dead at {dead:?}, lease {due:?}");
        let after = lost.saturating_duration_since(due.start).as_millis();
        println!("lost {after} ms after its deadline, its user dead at {:?}", dead - due.start);
    }
    thread::sleep(LONG.saturating_sub(hung.elapsed()));
    let after = status(sockets.path());
    let left = blocks(&below);
    disks.iter().for_each(FaultyDisk::heal);
    for path in &sick {
        holder.wait_for(&format!("{}: lost: it answered again", path.display()), SLACK);
    }
    thread::sleep(SLACK);
    // A heartbeat that was under way when the disk hung may land; nothing is written after it.
    for (before, after) in left.iter().zip(blocks(&below)) {
        let sequence = |image: &[u8]| Image::bytes(image).block().sequence().raw();
        let (before, after) = (sequence(before), sequence(&after));
        assert!(after == before || after == before + 1, "{before} to {after}");
    }

    let mut latest: f64 = 0.0;
    for device in &well {
        let (before, after) = (of(&before, device), of(&after, device));
        assert_eq!(after.state, "held");
        let beats = after.sequence - before.sequence;
        assert!(u64::from(beats) >= LONG.as_secs() - 2, "{before:?} {after:?}");
        latest = latest.max(after.lateness.max_s());
    }
    let own = machine.latest().as_secs_f64();
    println!(
        "latest heartbeat of the others: {:.1} ms; a thread here: {:.1} ms",
        1e3 * latest,
        1e3 * own
    );
    assert!(latest < LATE.as_secs_f64() + own, "{latest} s late");
    let told = fs::read_to_string(folder.path().join("told")).expect("the command ran");
    assert_eq!(told.lines().count(), HUNG, "{told}");
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.end(2 * SLACK).code, 1);
    for image in blocks(&well) {
        assert_eq!(Image::bytes(&image).block().sequence(), Sequence::Clean);
    }
}
