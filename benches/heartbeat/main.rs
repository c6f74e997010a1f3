//! How soon, how many, how cheap: verdicts, ticks, and a thousand devices held, beside what there is
//! today, in one run on one machine.
//!
//! `cargo bench --bench heartbeat [-- SECTION…]`, with the sections tick, hold, memory, peers,
//! stale and verdict. MMP_BENCH_SECONDS is how long devices are held, 60 by default. With `--check`
//! it ends with an error unless what is promised holds; that means something on a quiet machine only.

mod hold;
mod peers;
mod verdict;

use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mmp::daemon::{Driver, Step, now};
use mmp::device::{MmpDevice, Writer};
use mmp::protocol::{Claimed, Hold, HoldRequest};
use tempfile::TempDir;

const TICKS: usize = 4000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().any(|argument| argument == "--check");
    let named: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let mut missed = Vec::new();
    let sections: [(&str, Section); 6] = [
        ("tick", tick),
        ("hold", hold::hold),
        ("memory", hold::memory),
        ("peers", peers::peers),
        ("stale", verdict::stale),
        ("verdict", verdict::verdict),
    ];
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

/// User and system time of a process or thread, from its `stat`; the kernel counts in hundredths.
fn cpu_seconds(stat: &str) -> f64 {
    let (_, fields) = stat.rsplit_once(") ").expect("stat");
    let fields = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>());
    f64::from(fields.map(|ticks| ticks.expect("ticks")).sum::<u32>()) / 100.0
}

/// So many small images, with `prepare` done to the one they are copies of.
struct Images {
    _folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Images {
    fn new(count: usize, prepare: &[&str]) -> Self {
        Self::new_in(&std::env::temp_dir(), count, prepare)
    }

    fn new_in(place: &Path, count: usize, prepare: &[&str]) -> Self {
        let folder = TempDir::new_in(place).expect("folder");
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
    let mut bare_device = Bare::open(path, offset);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..TICKS {
        let began = Instant::now();
        let step = Driver::new().run(&mut hold, &mut device, |_| ControlFlow::<()>::Continue(()));
        ours.push(began.elapsed());
        assert!(matches!(step, Step::Wait { .. }), "{step:?}");
        let began = Instant::now();
        bare_device.read_and_write();
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

/// A place that is read and written, and nothing else.
struct Bare {
    file: File,
    memory: Vec<u8>,
    offset: u64,
}

impl Bare {
    fn open(path: &Path, offset: u64) -> Self {
        let direct = nix::libc::O_DIRECT;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(direct).open(path).expect("open");
        Bare { file, memory: vec![0; 8192], offset }
    }

    fn read_and_write(&mut self) {
        let start = self.memory.as_ptr().align_offset(4096);
        let buffer = &mut self.memory[start..start + 1024];
        self.file.read_exact_at(buffer, self.offset).expect("read");
        self.file.write_all_at(buffer, self.offset).expect("write");
    }
}
