//! How soon, how many, how cheap: verdicts, ticks, and a thousand devices held, beside what there is
//! today, in one run on one machine.
//!
//! `cargo bench --bench heartbeat [-- SECTION…]`, with the sections verdict, stale, tick and hold.
//! MMP_BENCH_SECONDS is how long devices are held, 60 by default. With `--check` it ends with an
//! error unless what is promised holds; that means something on a quiet machine only.

use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mmp::daemon::{Driver, Step, now};
use mmp::device::{MmpDevice, Writer};
use mmp::protocol::{Claimed, Hold, HoldRequest};
use tempfile::TempDir;

const MMPD: &str = env!("CARGO_BIN_EXE_mmpd");
const MMPCHECK: &str = env!("CARGO_BIN_EXE_mmpcheck");
/// How many of each is measured where a figure is a median.
const RUNS: usize = 5;
const TICKS: usize = 4000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().any(|argument| argument == "--check");
    let named: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let mut missed = Vec::new();
    let sections: [(&str, Section); 4] =
        [("tick", tick), ("hold", hold), ("stale", stale), ("verdict", verdict)];
    for (name, section) in sections {
        if named.is_empty() || named.iter().any(|wanted| *wanted == name) {
            println!("\n## {name}\n");
            missed.extend(section().into_iter().filter(|promise| !promise.holds));
        }
    }
    for promise in &missed {
        println!("not as promised: {}", promise.what);
    }
    if check && !missed.is_empty() {
        std::process::exit(1);
    }
}

type Section = fn() -> Vec<Promise>;

struct Promise {
    what: String,
    holds: bool,
}

fn promise(what: impl Into<String>, holds: bool) -> Promise {
    Promise { what: what.into(), holds }
}

fn output(command: &mut Command) -> std::process::Output {
    command.env("LC_ALL", "C").output().expect("start")
}

fn must(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn took(command: &mut Command) -> Duration {
    let began = Instant::now();
    output(command);
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio(theirs: Duration, ours: Duration) -> f64 {
    theirs.as_secs_f64() / ours.as_secs_f64()
}

/// So many small images, with `prepare` done to the one they are copies of.
struct Images {
    _folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Images {
    fn new(count: usize, prepare: &[&str]) -> Self {
        let folder = TempDir::new().expect("folder");
        let template = folder.path().join("template");
        let options = ["-qF", "-text4", "-Ommp,^has_journal", "-b4096", "-N16"];
        must(Command::new("mke2fs").args(options).arg(&template).arg("1M"));
        if !prepare.is_empty() {
            must(Command::new("debugfs").args(["-w", "-c", "-R"]).args(prepare).arg(&template));
        }
        let path = |n| folder.path().join(format!("{n:04}.img"));
        let paths: Vec<PathBuf> = (0..count).map(path).collect();
        for path in &paths {
            must(Command::new("cp").arg("--sparse=always").arg(&template).arg(path));
        }
        must(&mut Command::new("sync"));
        Images { _folder: folder, paths }
    }
}

/// `mmpd hold` on devices, and where to ask for its status.
struct Holder {
    child: Child,
    sockets: TempDir,
}

impl Holder {
    fn start(paths: &[PathBuf]) -> Self {
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

/// User and system time of a process, from its `stat`; the kernel counts in hundredths.
fn cpu_seconds(stat: &str) -> f64 {
    let (_, fields) = stat.rsplit_once(") ").expect("stat");
    let fields = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>());
    f64::from(fields.map(|ticks| ticks.expect("ticks")).sum::<u32>()) / 100.0
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

/// One heartbeat beside the bare read and write of the same place, by turns.
fn tick() -> Vec<Promise> {
    let images = Images::new(1, &[]);
    let path = &images.paths[0];
    let mut device = MmpDevice::new(Writer::open(path).expect("open")).expect("MMP");
    let block = device.read().expect("read").with_sequence(mmp::layout::Sequence::active(1));
    device.write(&block, true).expect("write");
    let (update_interval, offset) = (device.area().update_interval, device.area().offset.0);
    let interval = Duration::from_secs(1);
    let request = HoldRequest { update_interval, interval };
    let claimed = Claimed { block: block.clone(), original: block, verified: now().instant };
    let mut hold = Hold::new(claimed, request);
    let mut options = OpenOptions::new();
    let direct = nix::libc::O_DIRECT;
    let file = options.read(true).write(true).custom_flags(direct).open(path).expect("open");
    let mut memory = vec![0u8; 8192];
    let start = memory.as_ptr().align_offset(4096);
    let buffer = &mut memory[start..start + 1024];
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..TICKS {
        let began = Instant::now();
        let step = Driver::new().run(&mut hold, &mut device, |_| ControlFlow::<()>::Continue(()));
        ours.push(began.elapsed());
        assert!(matches!(step, Step::Wait { .. }), "{step:?}");
        let began = Instant::now();
        read_and_write(&file, buffer, offset);
        bare.push(began.elapsed());
    }
    let (ours, bare) = (median(ours), median(bare));
    let ratio = ratio(ours, bare);
    println!("| one heartbeat | bare read + write | ratio |\n| --- | --- | --- |");
    println!("| {:.1} us | {:.1} us | {ratio:.2} |", micros(ours), micros(bare));
    vec![promise("a tick takes at most 1.2 times the bare read and write", ratio <= 1.2)]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn read_and_write(file: &File, buffer: &mut [u8], offset: u64) {
    file.read_exact_at(buffer, offset).expect("read");
    file.write_all_at(buffer, offset).expect("write");
}

/// Devices held for a while, alone and beside a load.
fn hold() -> Vec<Promise> {
    let seconds = std::env::var("MMP_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(60));
    println!(
        "| devices | load | ticks | late p50 | p99 | p99.9 | max | CPU, % of a core | peak RSS | \
         threads |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let images = Images::new(1000, &[]);
    let mut promises = Vec::new();
    for (count, loaded) in
        [(1, false), (100, false), (1000, false), (1, true), (100, true), (1000, true)]
    {
        let load = loaded.then(Load::start);
        let holder = Holder::start(&images.paths[..count]);
        let cpu = holder.cpu_seconds();
        let sequences = |holder: &Holder| -> u64 {
            holder.status().iter().filter_map(|device| device["sequence"].as_u64()).sum()
        };
        let (before, began) = (sequences(&holder), Instant::now());
        thread::sleep(time);
        let held = began.elapsed().as_secs_f64();
        let cpu = 100.0 * (holder.cpu_seconds() - cpu) / held;
        let ticks = sequences(&holder) - before;
        let devices = holder.status();
        let late = Lateness::of(&devices);
        let (rss, threads) = (holder.field("VmHWM:"), holder.field("Threads:"));
        drop(load);
        let [p50, p99, p999] = [500, 990, 999].map(|thousandths| late.quantile(thousandths));
        let load = if loaded { "cores, page cache" } else { "none" };
        println!(
            "| {count} | {load} | {ticks} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {cpu:.1} | \
             {:.1} MiB | {threads} |",
            1e3 * p50,
            1e3 * p99,
            1e3 * p999,
            1e3 * late.max,
            rss as f64 / 1024.0,
        );
        let what = |text: &str| format!("{count} devices, load {load}: {text}");
        let bound = if loaded { 0.2 } else { 0.05 };
        promises.push(promise(what("lateness p99.9"), p999 <= bound));
        promises.push(promise(what("memory"), rss <= if count == 1 { 6 } else { 32 } * 1024));
        let wanted = (held - 1.0) * count as f64;
        promises.push(promise(what("every tick written"), ticks as f64 >= wanted));
        if !loaded {
            promises.push(promise(what("10 % of a core"), cpu <= 10.0));
        }
    }
    kernel(time);
    promises
}

/// The kernel's own heartbeats, of as many mounted loop devices as there may be.
fn kernel(time: Duration) {
    let images = Images::new(100, &[]);
    let mut mounted = Vec::new();
    for path in &images.paths {
        let mut command = Command::new("losetup");
        let device = command.args(["--find", "--show", "--direct-io=on"]).arg(path);
        let device = output(device);
        let device = String::from_utf8_lossy(&device.stdout).trim().to_owned();
        let dir = TempDir::new().expect("folder");
        let mount = Command::new("mount").args(["-text4", &device]).arg(dir.path()).status();
        if device.is_empty() || !mount.is_ok_and(|status| status.success()) {
            break;
        }
        mounted.push((device, dir));
    }
    let cpu = || -> f64 {
        let threads = fs::read_dir("/proc").expect("proc").flatten();
        let stats = threads.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        stats.filter(|stat| stat.contains("(kmmpd-loop")).map(|stat| cpu_seconds(&stat)).sum()
    };
    let (before, began) = (cpu(), Instant::now());
    thread::sleep(time);
    let percent = 100.0 * (cpu() - before) / began.elapsed().as_secs_f64();
    println!(
        "\nkmmpd, {} mounted loop devices, a write every 5 s: {percent:.1} % of a core, one thread \
         each, not counting the loop devices' own",
        mounted.len(),
    );
    for (device, dir) in mounted {
        let _ = Command::new("umount").arg(dir.path()).status();
        let _ = Command::new("losetup").args(["--detach", &device]).status();
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

/// Stale devices checked, all at once, and one after the other as e2mmpstatus would.
fn stale() -> Vec<Promise> {
    let images = Images::new(1000, &["set_mmp_value seq 0x1234"]);
    let theirs = took(Command::new("e2mmpstatus").arg(&images.paths[0]));
    println!("| stale devices | mmpcheck | e2mmpstatus in a loop | ratio |");
    println!("| --- | --- | --- | --- |");
    let mut promises = Vec::new();
    for count in [1, 100, 1000] {
        let ours = took(Command::new(MMPCHECK).args(&images.paths[..count]));
        let theirs = theirs * u32::try_from(count).expect("small");
        let how = if count == 1 { "" } else { " (extrapolated from one)" };
        println!(
            "| {count} | {:.1} s | {:.0} s{how} | {:.0} |",
            ours.as_secs_f64(),
            theirs.as_secs_f64(),
            ratio(theirs, ours),
        );
        let promised = ours <= Duration::from_secs(12);
        promises.push(promise(format!("{count} stale devices in 12 s"), promised));
    }
    promises
}

/// Time to the verdict on one device in each state.
fn verdict() -> Vec<Promise> {
    println!("| device | mmpcheck (median) | e2mmpstatus | ratio |\n| --- | --- | --- | --- |");
    let mut promises = Vec::new();
    let mut compare = |what: &str, path: &Path, least: f64| {
        let theirs = thread::scope(|scope| {
            let theirs = scope.spawn(|| took(Command::new("e2mmpstatus").arg(path)));
            let runs = (0..RUNS).map(|_| {
                // At any moment between two writes.
                thread::sleep(Duration::from_millis(fastrand::u64(..1500)));
                took(Command::new(MMPCHECK).arg(path))
            });
            let ours = median(runs.collect());
            (ours, theirs.join().expect("e2mmpstatus"))
        });
        let (ours, theirs) = theirs;
        let times = ratio(theirs, ours);
        println!(
            "| {what} | {:.3} s | {:.3} s | {times:.1} |",
            ours.as_secs_f64(),
            theirs.as_secs_f64()
        );
        promises.push(promise(format!("{what}: {least} times as fast"), times >= least));
    };
    let clean = Images::new(1, &[]);
    compare("clean", &clean.paths[0], 0.0);
    let held = Images::new(1, &[]);
    let holder = Holder::start(&held.paths);
    compare("held by mmpd", &held.paths[0], 15.0);
    drop(holder);
    let kernel = Images::new(1, &[]);
    let mut losetup = Command::new("losetup");
    losetup.args(["--find", "--show", "--direct-io=on"]).arg(&kernel.paths[0]);
    let device = must(&mut losetup).trim().to_owned();
    let dir = TempDir::new().expect("folder");
    must(Command::new("mount").args(["-text4", &device]).arg(dir.path()));
    compare("mounted", Path::new(&device), 4.0);
    must(Command::new("umount").arg(dir.path()));
    must(Command::new("losetup").args(["--detach", &device]));
    promises
}
