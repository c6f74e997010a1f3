//! Devices held for a while, alone and beside a load; and the bare reads and writes of as many.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mmp::device::{MmpDevice, Reader};
use tempfile::TempDir;

use crate::{Bare, Images, Promise, cpu_seconds, output, promise};

const MMPD: &str = env!("CARGO_BIN_EXE_mmpd");

/// How long devices are held.
pub(crate) fn time() -> Duration {
    let seconds = std::env::var("MMP_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// `mmpd hold` on devices, and where to ask for its status.
pub(crate) struct Holder {
    child: Child,
    sockets: TempDir,
}

impl Holder {
    pub(crate) fn start(paths: &[PathBuf]) -> Self {
        let sockets = TempDir::new().expect("folder");
        let mut command = Command::new(MMPD);
        command.args(["hold", "--status-dir"]).arg(sockets.path()).args(paths);
        let child = command.stderr(Stdio::null()).spawn().expect("mmpd");
        let mut holder = Holder { child, sockets };
        let began = Instant::now();
        while !holder.status().iter().all(|device| device["state"] == "held") {
            assert!(began.elapsed() < Duration::from_secs(120), "not held");
            assert!(holder.child.try_wait().expect("wait").is_none(), "ended");
            thread::sleep(Duration::from_secs(1));
        }
        holder
    }

    fn status(&self) -> Vec<serde_json::Value> {
        let mut command = Command::new(MMPD);
        command.args(["status", "--json", "--status-dir"]).arg(self.sockets.path());
        let document = serde_json::from_slice(&output(&mut command).stdout);
        let document: serde_json::Value = document.unwrap_or(serde_json::Value::Null);
        match &document["devices"] {
            serde_json::Value::Array(devices) => devices.clone(),
            // It has only just been started.
            _ => vec![serde_json::json!({ "state": "unknown" })],
        }
    }

    fn of_proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("proc")
    }

    fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&self.of_proc("stat"))
    }

    fn field(&self, name: &str) -> u64 {
        let status = self.of_proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("field");
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("number")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Processes that keep all cores and the page cache busy.
struct Load {
    processes: Vec<Child>,
    _folder: TempDir,
}

impl Load {
    fn start() -> Self {
        let folder = TempDir::new().expect("folder");
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let mut shells = vec!["while :; do :; done".to_owned(); 2 * cores];
        for n in 0..cores {
            let file = folder.path().join(n.to_string());
            let write = format!("dd if=/dev/zero of={} bs=1M count=1024", file.display());
            shells.push(format!("while :; do {write} 2>/dev/null; done"));
        }
        let start = |shell: &String| Command::new("setsid").args(["sh", "-c", shell]).spawn();
        let processes = shells.iter().map(|shell| start(shell).expect("sh")).collect();
        Load { processes, _folder: folder }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Each has a group of its own.
            let group = format!("-{}", process.id());
            let _ = Command::new("kill").args(["-9", "--", &group]).status();
            let _ = process.wait();
        }
    }
}

/// Each device's heartbeats, and what they cost.
pub(crate) fn hold() -> Vec<Promise> {
    print_header();
    let images = Images::new(1000, &[]);
    let mut promises = Vec::new();
    for loaded in [false, true] {
        let least = bare(&images.paths, loaded);
        for count in [1, 100, 1000] {
            let (row, kept) = held(&images.paths[..count], count.to_string(), loaded);
            promises.extend(kept);
            if !loaded && count == 1000 {
                let enough = row.a_tick() <= least.mul_f64(1.2);
                promises.push(promise("1000 devices: 1.2 times the CPU of the bare I/O", enough));
            }
        }
    }
    promises
}

/// A thousand devices without what the disk costs: their images are in memory.
pub(crate) fn memory() -> Vec<Promise> {
    print_header();
    let images = Images::new_in(Path::new("/dev/shm"), 1000, &[]);
    let (row, mut promises) = held(&images.paths, "1000, in memory".to_owned(), false);
    promises.push(promise("1000 devices: 10 % of a core", row.percent() <= 10.0));
    promises
}

fn print_header() {
    println!(
        "| devices | load | ticks | late p50 | p99 | p99.9 | max | CPU, % of a core | a tick | \
         peak RSS | threads |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
}

fn held(paths: &[PathBuf], who: String, loaded: bool) -> (Row, Vec<Promise>) {
    let load = loaded.then(Load::start);
    let holder = Holder::start(paths);
    let sequences = |devices: &[serde_json::Value]| -> u64 {
        devices.iter().filter_map(|device| device["sequence"].as_u64()).sum()
    };
    let (before, cpu, began) = (sequences(&holder.status()), holder.cpu_seconds(), Instant::now());
    thread::sleep(time());
    let (held, cpu) = (began.elapsed(), holder.cpu_seconds() - cpu);
    let devices = holder.status();
    let ticks = sequences(&devices) - before;
    let (rss, threads) = (holder.field("VmHWM:"), holder.field("Threads:"));
    drop(load);
    let late = Lateness::of(&devices);
    let quantiles = [500, 990, 999, 1000].map(|thousandths| late.quantile(thousandths));
    let count = paths.len();
    let row = Row { who, loaded, ticks, quantiles, cpu, held };
    row.print(&format!("{:.1} MiB | {threads}", rss as f64 / 1024.0));
    let what = |text: &str| format!("{count} devices, loaded: {loaded}: {text}");
    let bound = if loaded { 0.2 } else { 0.05 };
    let wanted = (held.as_secs_f64() - 1.0) * count as f64;
    let promises = vec![
        promise(what("lateness p99.9"), quantiles[2] <= bound),
        promise(what("memory"), rss <= if count == 1 { 6 } else { 32 } * 1024),
        promise(what("every tick written"), ticks as f64 >= wanted),
    ];
    (row, promises)
}

/// The physical limit: one thread that reads and writes the same places and does nothing else, one
/// after the other over each second. Late is here how long a read and a write take. Returns the CPU
/// time of each.
fn bare(paths: &[PathBuf], loaded: bool) -> Duration {
    let load = loaded.then(Load::start);
    let device = MmpDevice::new(Reader::open(&paths[0]).expect("open")).expect("MMP");
    let offset = device.area().offset.0;
    let mut places: Vec<Bare> = paths.iter().map(|path| Bare::open(path, offset)).collect();
    let own = || cpu_seconds(&fs::read_to_string("/proc/thread-self/stat").expect("proc"));
    let apart = Duration::from_secs(1) / u32::try_from(paths.len()).expect("few");
    let (cpu, began) = (own(), Instant::now());
    let mut took = Vec::new();
    let mut due = began;
    'time: loop {
        for place in &mut places {
            due += apart;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let began_this = Instant::now();
            place.read_and_write();
            took.push(began_this.elapsed());
            if began.elapsed() > time() {
                break 'time;
            }
        }
    }
    let (cpu, held) = (own() - cpu, began.elapsed());
    drop(load);
    took.sort_unstable();
    let place = |thousandths: usize| (took.len() * thousandths).div_ceil(1000) - 1;
    let quantiles = [500, 990, 999, 1000].map(|t| took[place(t)].as_secs_f64());
    let who = format!("{}, bare I/O", paths.len());
    let row = Row { who, loaded, ticks: took.len() as u64, quantiles, cpu, held };
    row.print("| 1");
    row.a_tick()
}

struct Row {
    who: String,
    loaded: bool,
    ticks: u64,
    /// p50, p99, p99.9 and the largest, seconds.
    quantiles: [f64; 4],
    /// Seconds.
    cpu: f64,
    held: Duration,
}

impl Row {
    fn percent(&self) -> f64 {
        100.0 * self.cpu / self.held.as_secs_f64()
    }

    fn a_tick(&self) -> Duration {
        Duration::from_secs_f64(self.cpu / self.ticks as f64)
    }

    fn print(&self, memory_and_threads: &str) {
        let load = if self.loaded { "cores, page cache" } else { "none" };
        let late = self.quantiles.map(|seconds| format!("{:.1} ms", 1e3 * seconds)).join(" | ");
        let (percent, a_tick) = (self.percent(), self.a_tick().as_micros());
        println!(
            "| {} | {load} | {} | {late} | {percent:.1} | {a_tick} us | {memory_and_threads} |",
            self.who, self.ticks
        );
    }
}

/// When the heartbeats of all devices were on the disk, counted from when they were due.
struct Lateness {
    buckets: Vec<(f64, u64)>,
    max: f64,
}

impl Lateness {
    fn of(devices: &[serde_json::Value]) -> Self {
        let late = || devices.iter().map(|device| &device["lateness"]);
        let max = late().filter_map(|late| late["max_s"].as_f64()).fold(0.0, f64::max);
        let buckets = late().filter_map(|late| late["buckets"].as_array()).flatten();
        let bucket = |b: &serde_json::Value| Some((b["le_s"].as_f64()?, b["count"].as_u64()?));
        let mut buckets: Vec<_> = buckets.filter_map(bucket).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Lateness { buckets, max }
    }

    fn quantile(&self, thousandths: u64) -> f64 {
        let count: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        let mut wanted = (count * thousandths).div_ceil(1000);
        for (le, count) in &self.buckets {
            if wanted <= *count {
                return le.min(self.max);
            }
            wanted -= count;
        }
        self.max
    }
}
