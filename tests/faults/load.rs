//! A machine that has no time and no memory to spare.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use mmp::layout::Sequence;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::common::image::Image;
use crate::common::program::run;
use crate::common::suite::Suite;
use crate::{GUARD, held, running};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("held with every core busy", busy);
    suite.case("held with no memory to spare", short_of_memory);
}

/// Processes that end with this value.
struct Others(Vec<Child>);

impl Others {
    fn start(count: usize, script: &str) -> Self {
        let one = |_| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("sh")
        };
        Others((0..count).map(one).collect())
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// SCHED_RR as the kernel shows it.
const ROUND_ROBIN: &str = "2";

/// What the kernel says of a process: each thread's scheduling class, whether memory is locked, and
/// the plea to be spared when it runs out. What was refused, the program has said.
fn assert_in_real_time(process: Pid, said: &str) {
    let proc = PathBuf::from(format!("/proc/{process}"));
    let read = |file: PathBuf| fs::read_to_string(file).expect("proc");
    if !said.contains("may not run in real time") {
        for task in fs::read_dir(proc.join("task")).expect("tasks").flatten() {
            let stat = read(task.path().join("stat"));
            let (name, fields) = stat.rsplit_once(") ").expect("stat");
            let class = fields.split(' ').nth(38);
            // What talks to people need not be on time.
            let slow = ["log", "status"].iter().any(|slow| name.ends_with(&format!("({slow}")));
            assert!(slow || class == Some(ROUND_ROBIN), "{name}: {class:?}");
        }
    }
    if !said.contains("may not lock its memory") {
        let status = read(proc.join("status"));
        let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        let locked = locked.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        assert!(locked.is_some_and(|kilobytes| kilobytes > 0), "{status}");
    }
    if !said.contains("may not be spared") {
        assert_eq!(read(proc.join("oom_score_adj")).trim(), "-1000");
    }
}

/// Twice as many processes that never rest as there are cores, from before the claim on.
fn busy() {
    let image = Image::new();
    let others = Others::start(2 * cores(), "while :; do :; done");
    let holder = held(image.path());
    assert_in_real_time(holder.pid(), &holder.err());
    thread::sleep(2 * GUARD);
    assert!(!holder.err().contains(": lost: "), "{}", holder.err());
    let told = run("mmpcheck", &[image.name()]);
    assert_eq!(told.code, 1, "{}", told.said());
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(GUARD);
    drop(others);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(image.block().sequence(), Sequence::Clean);
    image.assert_fsck_clean();
}

/// A control group of little memory, of either version of control groups.
struct Group {
    folder: PathBuf,
    /// What counts how often the limit was met.
    met: &'static str,
}

impl Group {
    const MEMORY: &str = "33554432";

    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
        let mounted = |wanted: &dyn Fn(&str, &str) -> bool| {
            let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let mut found = fields.filter(|f| f.len() > 3 && wanted(f[2], f[3]));
            found.next().map(|fields| PathBuf::from(fields[1]))
        };
        let first = mounted(&|kind, options| {
            kind == "cgroup" && options.split(',').any(|option| option == "memory")
        });
        let (root, limit, met) = match first {
            Some(root) => (root, "memory.limit_in_bytes", "memory.failcnt"),
            None => {
                let root = mounted(&|kind, _| kind == "cgroup2").expect("control groups");
                // Where it is on already, the limit shows.
                let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
                (root, "memory.max", "memory.events")
            }
        };
        let folder = root.join(format!("mmp-test-{}", std::process::id()));
        fs::create_dir(&folder).expect("control group");
        let group = Group { folder, met };
        fs::write(group.folder.join(limit), Self::MEMORY).expect("limit on memory");
        group
    }

    /// How often somebody wanted more.
    fn met(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.met)).expect("counter");
        let line = text.lines().find(|line| line.starts_with("max ") || !line.contains(' '));
        let number = line.and_then(|line| line.rsplit(' ').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn add(&self, process: &str) {
        fs::write(self.folder.join("cgroup.procs"), process).expect("add");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Those that end are in it a moment longer.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A holder shares 32 MiB with processes that read and allocate more than that, and are killed for
/// it again and again.
fn short_of_memory() {
    let image = Image::new();
    let group = Group::new();
    let (holder, command) = running(image.path());
    assert_in_real_time(holder.pid(), &holder.err());
    let command = PathBuf::from(format!("/proc/{command}/oom_score_adj"));
    assert_ne!(fs::read_to_string(command).expect("proc").trim(), "-1000", "it is spared as well");
    group.add(&holder.pid().to_string());
    let join = format!("echo $$ > {}/cgroup.procs", group.folder.display());
    let program = std::env::current_exe().expect("this program");
    let script = format!(
        "{join}; echo 1000 > /proc/self/oom_score_adj; while :; do cat {} >/dev/null; \
         head -c 64M /dev/zero | tail >/dev/null; done",
        program.display()
    );
    // The shells themselves may be killed, too.
    let begin = || Others::start(2, &script);
    let mut others = begin();
    for _ in 0..2 * GUARD.as_secs() {
        thread::sleep(Duration::from_secs(1));
        if others.0.iter_mut().any(|child| matches!(child.try_wait(), Ok(Some(_)))) {
            others = begin();
        }
    }
    assert!(!holder.err().contains(": lost: "), "{}", holder.err());
    assert!(group.met() > 0, "there was memory to spare");
    drop(others);
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(GUARD);
    assert_eq!(ended.code, 128 + 15, "{}", ended.err);
    assert_eq!(image.block().sequence(), Sequence::Clean);
    image.assert_fsck_clean();
}
