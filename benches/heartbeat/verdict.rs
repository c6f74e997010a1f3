//! Time to the verdict, beside e2mmpstatus.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::hold::Holder;
use crate::{Images, Promise, median, must, promise, ratio, took};

const MMPCHECK: &str = env!("CARGO_BIN_EXE_mmpcheck");
/// How many of each is measured where a figure is a median.
const RUNS: usize = 15;

/// Stale devices checked, all at once, and one after the other as e2mmpstatus would.
pub(crate) fn stale() -> Vec<Promise> {
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
pub(crate) fn verdict() -> Vec<Promise> {
    println!("| device | mmpcheck (median) | e2mmpstatus | ratio |\n| --- | --- | --- | --- |");
    let mut promises = Vec::new();
    // `interval` is how often it is written, in seconds.
    let mut compare = |what: &str, path: &Path, interval: u64, least: f64| {
        let theirs = thread::scope(|scope| {
            let theirs = scope.spawn(|| took(Command::new("e2mmpstatus").arg(path)));
            let runs = (0..RUNS).map(|_| {
                // At any moment between two writes: the last run ended with one.
                thread::sleep(Duration::from_millis(fastrand::u64(..1000 * interval)));
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
    compare("clean", &clean.paths[0], 1, 0.0);
    let held = Images::new(1, &[]);
    let holder = Holder::start(&held.paths);
    compare("held by mmpd", &held.paths[0], 1, 15.0);
    drop(holder);
    let kernel = Images::new(1, &[]);
    let mut losetup = Command::new("losetup");
    losetup.args(["--find", "--show", "--direct-io=on"]).arg(&kernel.paths[0]);
    let device = must(&mut losetup).trim().to_owned();
    let dir = TempDir::new().expect("folder");
    must(Command::new("mount").args(["-text4", &device]).arg(dir.path()));
    compare("mounted", Path::new(&device), 5, 4.0);
    must(Command::new("umount").arg(dir.path()));
    must(Command::new("losetup").args(["--detach", &device]));
    promises
}
