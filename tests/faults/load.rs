//! A machine that has no time and no memory to spare.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use mmp::layout::Sequence;
use nix::sys::signal::Signal;

use crate::common::image::Image;
use crate::common::program::run;
use crate::common::suite::Suite;
use crate::{GUARD, SLACK, held, running};

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

/// Twice as many processes that never rest as there are cores, from before the claim on.
fn busy() {
    let image = Image::new();
    let others = Others::start(2 * cores(), "while :; do :; done");
    let holder = held(image.path());
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

/// A control group of little memory.
struct Group(PathBuf);

impl Group {
    const MEMORY: &str = "33554432";

    /// In the second version of control groups or the first.
    fn new() -> Self {
        let name = format!("mmp-test-{}", std::process::id());
        let roots =
            [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        for (root, limit) in roots {
            if root == "/sys/fs/cgroup" && Path::new(root).join("cgroup.controllers").exists() {
                // Where it is on already, or forbidden, the limit shows.
                let _ = fs::write(Path::new(root).join("cgroup.subtree_control"), "+memory");
            }
            let folder = Path::new(root).join(&name);
            if fs::create_dir(&folder).is_ok() {
                let group = Group(folder);
                if fs::write(group.0.join(limit), Self::MEMORY).is_ok() {
                    return group;
                }
            }
        }
        panic!("no control group with a limit on memory");
    }

    fn add(&self, process: &str) {
        fs::write(self.0.join("cgroup.procs"), process).expect("add");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Those that end are in it a moment longer.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
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
    let (holder, _) = running(image.path());
    group.add(&holder.pid().to_string());
    let join = format!("echo $$ > {}/cgroup.procs", group.0.display());
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
    drop(others);
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(GUARD);
    assert_eq!(ended.code, 128 + 15, "{}", ended.err);
    assert_eq!(image.block().sequence(), Sequence::Clean);
    image.assert_fsck_clean();
    assert!(ended.took > 2 * GUARD + SLACK / 5);
}
