//! `mmptune` beside `tune2fs`, from 64 MiB to 8 TiB, in one run on one machine.
//!
//! Images are sparse files in memory where there is a place for that. Each figure is the median of
//! several runs of the whole program, as a user would start it; the ratio is what counts. `--check`
//! ends with an error unless the promises hold: at 8 TiB 100 times faster than tune2fs, under
//! 8 MiB of memory, no more reads and writes than the backups account for.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use tempfile::TempDir;

const SIZES: [&str; 5] = ["64M", "1G", "64G", "1T", "8T"];
const RUNS: usize = 7;

/// Asks this program for [`peak_of_children`].
const PEAK_OF: &str = "--peak-of";

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == PEAK_OF) {
        println!("{}", peak_of_children(&arguments.next().expect("an image")));
        return;
    }
    let check = std::env::args().any(|argument| argument == "--check");
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    let folder = folder.expect("a folder");
    let image = folder.path().join("image");
    println!(
        "size  mmptune on   off    tune2fs on    off      ratio on   off   I/O  backups  peak"
    );
    let mut last = None;
    for size in SIZES {
        let _ = std::fs::remove_file(&image);
        // Quick to make: only one inode in 64 MiB, no journal.
        let options = ["-qF", "-text4", "-i67108864", "-O^has_journal", "-Elazy_itable_init=1"];
        must(Command::new("mke2fs").args(options).arg(&image).arg(size));
        let row = Row::measure(&image);
        println!("{size:5} {row}");
        last = Some(row);
    }
    let last = last.expect("a size");
    let holds = last.ratio_on() >= 100.0
        && last.ratio_off() >= 100.0
        && last.peak_kib < 8192
        && last.calls <= 60 + 6 * last.backups;
    if check && !holds {
        eprintln!("the promises do not hold at 8T");
        std::process::exit(1);
    }
}

struct Row {
    ours: [Duration; 2],
    theirs: [Duration; 2],
    calls: usize,
    backups: usize,
    peak_kib: u64,
}

impl Row {
    fn measure(image: &Path) -> Row {
        let mmptune = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mmptune"));
            command.arg("--no-guard");
            command
        };
        let tune2fs = || {
            let mut command = Command::new("tune2fs");
            command.arg("-f");
            command
        };
        let ours = median(mmptune, image);
        let theirs = median(tune2fs, image);
        let (calls, peak_kib) = (count_calls(image), peak(image));
        let shown = must(Command::new("dumpe2fs").arg(image));
        let backups = shown.matches("Backup superblock at").count();
        Row { ours, theirs, calls, backups, peak_kib }
    }

    fn ratio_on(&self) -> f64 {
        self.theirs[0].as_secs_f64() / self.ours[0].as_secs_f64()
    }

    fn ratio_off(&self) -> f64 {
        self.theirs[1].as_secs_f64() / self.ours[1].as_secs_f64()
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:7.2} ms {:7.2} ms {:9.2} ms {:9.2} ms {:7.1} {:7.1} {:5} {:5} {:6} KiB",
            ms(self.ours[0]),
            ms(self.ours[1]),
            ms(self.theirs[0]),
            ms(self.theirs[1]),
            self.ratio_on(),
            self.ratio_off(),
            self.calls,
            self.backups,
            self.peak_kib,
        )
    }
}

fn must(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().expect("start");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Turns MMP on and off several times; the median time of each.
fn median(program: impl Fn() -> Command, image: &Path) -> [Duration; 2] {
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..RUNS {
        for (times, feature) in times.iter_mut().zip(["mmp", "^mmp"]) {
            let began = Instant::now();
            must(program().args([OsStr::new("-O"), OsStr::new(feature)]).arg(image));
            times.push(began.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[RUNS / 2]
    })
}

/// Reads, writes and flushes of the image, for on and off together, as strace counts them; 0 where
/// there is no strace.
fn count_calls(image: &Path) -> usize {
    ["mmp", "^mmp"]
        .map(|feature| {
            let trace = "trace=pread64,pwrite64,fdatasync";
            let mut command = Command::new("strace");
            command.args(["-f", "-e", trace, env!("CARGO_BIN_EXE_mmptune"), "--no-guard", "-O"]);
            match command.arg(feature).arg(image).output() {
                Ok(output) => String::from_utf8_lossy(&output.stderr).matches(") = ").count(),
                Err(_) => {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_mmptune"));
                    must(command.args(["--no-guard", "-O", feature]).arg(image));
                    0
                }
            }
        })
        .into_iter()
        .sum()
}

/// Peak resident memory in KiB. A process counts its parent's memory until it is another program, so
/// its parent is this one started anew, which is small.
fn peak(image: &Path) -> u64 {
    let anew = std::env::current_exe().expect("this program");
    must(Command::new(anew).arg(PEAK_OF).arg(image)).trim().parse().expect("a number")
}

/// Turns MMP on and off; the peak of what was started, in KiB.
fn peak_of_children(image: &OsStr) -> i64 {
    for feature in ["mmp", "^mmp"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mmptune"));
        must(command.args(["--no-guard", "-O", feature]).arg(image));
    }
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage").max_rss()
}
