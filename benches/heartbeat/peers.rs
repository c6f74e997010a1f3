//! What others spend on as many devices: the kernel's kmmpd, sanlock and sbd.
//!
//! Each is measured where it runs, and said not to where it does not. They do different things
//! (kmmpd writes every 5 s and does not compare; sanlock reads a megabyte a renewal; sbd only
//! reads), so the CPU time of one write or look is what may be compared.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::hold::{Holder, time};
use crate::{Images, Promise, cpu_seconds, must, output};

/// How many devices each has, where it takes so many.
const DEVICES: usize = 100;
/// sbd takes no more.
const SBD_DEVICES: usize = 3;

pub(crate) fn peers() -> Vec<Promise> {
    println!(
        "| | devices | each is seen to every | CPU, % of a core | each time | resident | \
         processes, threads |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    ours();
    kernel();
    sanlock();
    sbd();
    Vec::new()
}

/// The processes whose name begins so.
struct Processes(Vec<u32>);

impl Processes {
    fn named(name: &str) -> Self {
        let all = fs::read_dir("/proc").expect("proc").flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_it = |pid: &u32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.starts_with(name))
        };
        Processes(all.filter(is_it).collect())
    }

    fn read(&self, file: &str) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(move |pid| fs::read_to_string(format!("/proc/{pid}/{file}")).ok())
    }

    fn cpu_seconds(&self) -> f64 {
        self.read("stat").map(|stat| cpu_seconds(&stat)).sum()
    }

    /// The sum of a field of one of their files, whatever its unit.
    fn sum(&self, file: &str, field: &str) -> u64 {
        let line = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        self.read(file).filter_map(line).sum()
    }

    /// Measures them for a while and prints their row.
    fn measure(&self, who: &str, devices: usize, every: Duration) {
        let (cpu, began) = (self.cpu_seconds(), Instant::now());
        thread::sleep(time());
        let (cpu, held) = (self.cpu_seconds() - cpu, began.elapsed().as_secs_f64());
        let times = held / every.as_secs_f64() * devices as f64;
        println!(
            "| {who} | {devices} | {} s | {:.1} | {:.0} us | {:.1} MiB | {}, {} |",
            every.as_secs(),
            100.0 * cpu / held,
            1e6 * cpu / times,
            // What is shared among them counts once.
            self.sum("smaps_rollup", "Pss:") as f64 / 1024.0,
            self.0.len(),
            self.sum("status", "Threads:"),
        );
    }
}

fn ours() {
    let images = Images::new(DEVICES, &[]);
    let _holder = Holder::start(&images.paths);
    Processes::named("mmpd").measure("mmpd", DEVICES, Duration::from_secs(1));
}

/// Loop devices over files, detached at the end.
struct Loops(Vec<String>);

impl Loops {
    fn over(paths: &[PathBuf]) -> Self {
        let attach = |path| {
            let mut command = Command::new("losetup");
            must(command.args(["--find", "--show", "--direct-io=on"]).arg(path)).trim().to_owned()
        };
        Loops(paths.iter().map(attach).collect())
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}

/// A thread for each mounted file system; their loop devices' own are not counted.
fn kernel() {
    let images = Images::new(DEVICES, &[]);
    let loops = Loops::over(&images.paths);
    let mut mounted = Vec::new();
    for device in &loops.0 {
        let dir = TempDir::new().expect("folder");
        must(Command::new("mount").args(["-text4", device]).arg(dir.path()));
        mounted.push(dir);
    }
    Processes::named("kmmpd-loop").measure("kmmpd", DEVICES, Duration::from_secs(5));
    for dir in mounted {
        must(Command::new("umount").arg(dir.path()));
    }
}

/// A lockspace for each device, with the shortest time-out: a renewal every two seconds.
fn sanlock() {
    let folder = TempDir::new().expect("folder");
    let space = |n: usize| format!("B{n}:1:{}/{n}:0", folder.path().display());
    for n in 0..DEVICES {
        let file = fs::File::create(folder.path().join(n.to_string())).expect("file");
        file.set_len(1 << 20).expect("length");
        let place = format!("B{n}:0:{}/{n}:0", folder.path().display());
        if Command::new("sanlock").args(["direct", "init", "-s", &place]).output().is_err() {
            println!("\nsanlock is not installed.");
            return;
        }
    }
    // Without its watchdog daemon; as the user who owns the files.
    let options = ["daemon", "-w", "0", "-U", "root", "-G", "root", "-h", "1"];
    output(Command::new("sanlock").args(options));
    let add = |n| {
        Command::new("sanlock")
            .args(["client", "add_lockspace", "-o", "1", "-s", &space(n)])
            .output()
    };
    let added = thread::scope(|scope| {
        let each: Vec<_> = (0..DEVICES).map(|n| scope.spawn(move || add(n))).collect();
        let each = each.into_iter().map(|add| add.join().expect("thread"));
        each.filter(|added| added.as_ref().is_ok_and(|o| o.status.success())).count()
    });
    match added {
        0 => println!("\nsanlock does not run here."),
        _ => Processes::named("sanlock").measure("sanlock", added, Duration::from_secs(2)),
    }
    let _ = Command::new("sanlock").args(["client", "shutdown", "-f", "1"]).output();
}

/// A process for each device, which looks into its slot every second. It is kept from restarting
/// the machine, in case it should think that it must.
fn sbd() {
    let folder = TempDir::new().expect("folder");
    let paths: Vec<PathBuf> = (0..SBD_DEVICES).map(|n| folder.path().join(n.to_string())).collect();
    for path in &paths {
        fs::File::create(path).and_then(|file| file.set_len(1 << 20)).expect("file");
    }
    let loops = Loops::over(&paths);
    let devices: Vec<&str> = loops.0.iter().flat_map(|device| ["-d", device.as_str()]).collect();
    if Command::new("sbd").args(&devices).arg("create").output().is_err() {
        println!("\nsbd is not installed.");
        return;
    }
    // -W twice is without a watchdog.
    let script = "mount --bind /dev/null /proc/sysrq-trigger && \
                  exec setpriv --bounding-set=-sys_boot sbd \"$@\" -W -W -n bench watch";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sbd"]).args(&devices);
    output(&mut command);
    thread::sleep(Duration::from_secs(5));
    match Processes::named("sbd") {
        none if none.0.len() < SBD_DEVICES => println!("\nsbd does not run here."),
        processes => processes.measure("sbd", SBD_DEVICES, Duration::from_secs(1)),
    }
    let _ = Command::new("pkill").args(["-x", "sbd"]).status();
    thread::sleep(Duration::from_secs(2));
}
