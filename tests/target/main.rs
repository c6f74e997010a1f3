//! `mmptarget` on the running kernel: every action, each state it can meet, the codes it ends with.
//! What cluster managers make of them is tested in `tests/ha`.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

use std::ffi::OsStr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::GUARD;
use common::beside::beside;
use common::disk::{CLEAN, Disk};
use common::image::Image;
use common::loops::Loop;
use common::program::{Ended, Running, assert_ended, held, run, tool};
use common::suite::{Need, Suite};
use mmp::layout::{Names, Sequence};
use tempfile::TempDir;

/// How late a step may be on a machine that also compiles.
const SLACK: Duration = Duration::from_secs(3);

/// A disk with two paths to it, and two places to mount it at.
struct Stage {
    image: Image,
    a: Loop,
    b: Loop,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let image = Image::with(&[], "64M");
        let (a, b) = (Loop::new(image.path()), Loop::new(image.path()));
        let folder = TempDir::new().expect("folder");
        for name in ["a", "b"] {
            std::fs::create_dir(folder.path().join(name)).expect("create");
        }
        Stage { image, a, b, folder }
    }

    fn dir(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// `mmptarget ACTION [OPTIONS] DEVICE DIR` for the path `a` or `b`.
    fn arguments(&self, action: &str, path: &str, options: &[&str]) -> Vec<String> {
        let device = if path == "a" { &self.a } else { &self.b };
        let dir = self.dir(path);
        let words = [&[action], options, &[device.name(), &dir]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn target(&self, action: &str, path: &str, options: &[&str]) -> Ended {
        run("mmptarget", &self.arguments(action, path, options))
    }

    fn start(&self, path: &str) {
        assert_ended(&self.target("start", path, &["-t", "ext4"]), 0, &[": mounted on "]);
    }

    fn sequence(&self) -> u32 {
        Disk::open(self.image.path()).mmp().sequence()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for name in ["a", "b"] {
            run("umount", &["-q", &self.dir(name)]);
        }
    }
}

fn main() -> std::process::ExitCode {
    let needs = [Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4];
    let mut suite = Suite::new(&needs);
    suite.case("a life: start, monitor, stop, each of them twice", life);
    suite.case("a start that may take longer than it is given", too_short);
    suite.case("a start gives up in time, and takes its claim back", gives_up_in_time);
    suite.case("what cannot be started here, or nowhere", impossible);
    suite.case("in use: refused, or waited for until the partner has stopped", waits);
    suite.case("a stop ends who uses it, or leaves them alone", users);
    suite.case("a stop that another mount outlives", outlived);
    suite.case("monitor: frozen", frozen);
    suite.case("monitor: frozen since the one before", frozen_since);
    suite.case("monitor: another node writes the block", foreign);
    suite.case("monitor: clean while mounted", released);
    suite.case("monitor: read-only", read_only);
    suite.case("what is mounted cannot be told", untold);
    suite.case("gone: only when it has stopped writing", gone);
    suite.run(12)
}

fn life() {
    let stage = Stage::new();
    assert_ended(&stage.target("status", "a", &[]), 7, &["stopped\n"]);
    assert_ended(&stage.target("monitor", "a", &[]), 7, &["not mounted"]);
    assert_ended(&stage.target("stop", "a", &[]), 0, &["not mounted"]);
    let ended = stage.target("start", "a", &["-t", "ext4", "--timeout", "60", "-o", "noatime"]);
    assert_ended(&ended, 0, &[": mounted on "]);
    assert!((GUARD..GUARD + SLACK).contains(&ended.took), "{:?}", ended.took);
    let again = stage.target("start", "a", &["-t", "ext4"]);
    assert_ended(&again, 0, &["is mounted already"]);
    assert_ended(&stage.target("status", "a", &[]), 0, &["running\n"]);
    // The other path to the same disk is not mounted, whatever the block says.
    assert_ended(&stage.target("monitor", "b", &[]), 7, &[]);
    let well = stage.target("monitor", "a", &[]);
    assert_ended(&well, 0, &[]);
    // It has seen one heartbeat, of which there is one every 5 s.
    assert!(well.said().is_empty() && well.took < Duration::from_secs(5) + SLACK, "{well:?}");
    // In a container the kernel's host name is another than the one seen.
    let other = stage.target("monitor", "a", &["--node", "elsewhere"]);
    assert_ended(&other, 1, &["two nodes may be using"]);
    // A name that a script failed to fill in is not the device of whatever is mounted there.
    for action in ["status", "stop"] {
        let unnamed = run("mmptarget", &[action, "", &stage.dir("a")]);
        assert_ended(&unnamed, 2, &["it is empty"]);
    }
    for words in [[": unmounted; its MMP block is clean"], [": not mounted"]] {
        assert_ended(&stage.target("stop", "a", &[]), 0, &words);
    }
    assert_eq!(stage.sequence(), CLEAN);
    stage.image.assert_fsck_clean();
}

fn too_short() {
    let stage = Stage::new();
    let before = stage.image.content();
    for action in ["start", "validate"] {
        let ended = stage.target(action, "a", &["-t", "ext4", "--timeout", "46"]);
        let words =
            ["timeout of 46 s is 1.2 s too short", "may take 47 s", "guard interval of 21 s"];
        assert_ended(&ended, 6, &words);
        assert!(ended.took < Duration::from_secs(1));
    }
    assert_ended(&stage.target("validate", "a", &["--timeout", "48"]), 0, &[]);
    assert!(stage.image.content() == before);
}

fn gives_up_in_time() {
    let stage = Stage::new();
    let before = stage.image.block();
    // In the middle of its guard interval.
    let start = Running::start("mmptarget", &stage.arguments("start", "a", &["-t", "ext4"]));
    thread::sleep(Duration::from_secs(4));
    start.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = start.end(Duration::from_secs(2));
    assert_ended(&ended, 1, &["interrupted"]);
    assert_eq!(stage.image.block(), before);
    // The same by its own clock, while a holder is waited for.
    let _holder = held(stage.b.path());
    let ended = stage.target("start", "a", &["-t", "ext4", "--timeout", "48", "-o", "mmp.wait=90"]);
    assert_ended(&ended, 1, &["waiting until it is released", "interrupted"]);
    assert!(ended.took < Duration::from_secs(48), "{:?}", ended.took);
}

fn impossible() {
    let stage = Stage::new();
    let start = |device: &str, dir: &str, options: &str| {
        run("mmptarget", &["start", "-t", "ext4", "-o", options, device, dir])
    };
    let dir = stage.dir("a");
    assert_ended(&start("/dev/no-such-disk", &dir, ""), 5, &["cannot open"]);
    assert_ended(&start(stage.a.name(), "/no/such/dir", ""), 5, &["is no directory"]);
    assert_ended(&start(stage.a.name(), &dir, "mmp.mode=yes"), 6, &["bad value"]);
    let plain = Image::with(&["-O", "^mmp"], "16M");
    let plain = Loop::new(plain.path());
    assert_ended(&start(plain.name(), &dir, ""), 6, &["MMP is not enabled", "mmptune -O mmp"]);
    let empty = Image::bytes(&[0; 1 << 20]);
    let empty = Loop::new(empty.path());
    assert_ended(&start(empty.name(), &dir, ""), 5, &[]);
    assert_ended(&run("mmptarget", &["start", stage.a.name()]), 2, &["--help"]);
    // e2fsck has it: may pass.
    tool("debugfs", &["-w", "-c", "-R", "set_mmp_value seq 0xe24d4d50", stage.a.name()]);
    assert_ended(&start(stage.a.name(), &dir, ""), 1, &["fsck"]);
}

fn waits() {
    let stage = Stage::new();
    stage.start("a");
    let refused = stage.target("start", "b", &["-t", "ext4"]);
    assert_ended(&refused, 1, &["in use by node", stage.a.kernel_name()]);
    assert!(refused.took < Duration::from_secs(8), "{:?}", refused.took);
    let options = ["-t", "ext4", "--timeout", "110"];
    let waiting = Running::start("mmptarget", &stage.arguments("start", "b", &options));
    thread::sleep(Duration::from_secs(8));
    assert_ended(&stage.target("stop", "a", &[]), 0, &[]);
    let ended = waiting.end(Duration::from_secs(60));
    assert_ended(&ended, 0, &[": mounted on "]);
    assert_ended(&stage.target("monitor", "b", &[]), 0, &[]);
}

fn users() {
    let stage = Stage::new();
    stage.start("a");
    let stand =
        || Running::start("sh", &["-c", &format!("cd {} && exec sleep 99", stage.dir("a"))]);
    let user = stand();
    thread::sleep(Duration::from_millis(500));
    let kept = stage.target("stop", "a", &["--keep-users", "--timeout", "4"]);
    assert_ended(&kept, 1, &["cannot be unmounted (1 processes use it)"]);
    assert!(kept.took < Duration::from_secs(4), "{:?}", kept.took);
    assert_ended(&stage.target("stop", "a", &[]), 0, &["SIGTERM sent to 1 processes"]);
    assert_eq!(user.end(Duration::from_secs(2)).code, 128 + 15);
    // One that does not listen.
    stage.start("a");
    let trap = format!("trap '' TERM; exec 3>{}/file; while :; do sleep 1; done", stage.dir("a"));
    let user = Running::start("sh", &["-c", &trap]);
    thread::sleep(Duration::from_millis(500));
    assert_ended(&stage.target("stop", "a", &[]), 0, &["SIGKILL sent to"]);
    assert_eq!(user.end(Duration::from_secs(2)).code, 128 + 9);
}

fn outlived() {
    let stage = Stage::new();
    stage.start("a");
    // Another mount of the file system keeps the kernel's heartbeat going.
    tool("mount", &["--bind", &stage.dir("a"), &stage.dir("b")]);
    let ended = stage.target("stop", "a", &["--timeout", "5"]);
    assert_ended(&ended, 1, &["unmounted, but its MMP block is still by", "/proc/*/mountinfo"]);
    tool("umount", &[&stage.dir("b")]);
    assert_ended(&stage.target("stop", "a", &[]), 0, &[]);
}

fn frozen() {
    let stage = Stage::new();
    stage.start("a");
    tool("fsfreeze", &["--freeze", &stage.dir("a")]);
    let frozen = Instant::now();
    let failed = loop {
        let ended = stage.target("monitor", "a", &[]);
        if ended.code != 0 {
            break ended;
        }
        thread::sleep(Duration::from_millis(500));
    };
    let after = frozen.elapsed();
    tool("fsfreeze", &["--unfreeze", &stage.dir("a")]);
    assert_ended(&failed, 1, &["its heartbeat stands still", "fsfreeze"]);
    // The kernel promises a write in 10 s, and one may have come right before; 6 s are watched.
    assert!(after < Duration::from_secs(16) + SLACK, "{after:?}");
}

/// Nothing was written since the monitor before: the next one says so after a second.
fn frozen_since() {
    let stage = Stage::new();
    stage.start("a");
    let beat = stage.dir("beat");
    let monitor = || stage.target("monitor", "a", &["--remember", &beat]);
    for _ in 0..2 {
        assert_ended(&monitor(), 0, &[]);
    }
    tool("fsfreeze", &["--freeze", &stage.dir("a")]);
    // Longer than the kernel promises.
    thread::sleep(Duration::from_secs(11));
    let failed = monitor();
    tool("fsfreeze", &["--unfreeze", &stage.dir("a")]);
    assert_ended(&failed, 1, &["its heartbeat stands still: unchanged for 1"]);
    assert!(failed.took < Duration::from_secs(1) + SLACK, "{:?}", failed.took);
    // What was remembered is no obstacle to a heartbeat that goes on.
    assert_ended(&monitor(), 0, &[]);
    // A target that is well does not fail for want of a place to remember it.
    let nowhere = stage.dir("nowhere/beat");
    let ended = stage.target("monitor", "a", &["--remember", &nowhere]);
    assert_ended(&ended, 0, &["cannot be written: No such file or directory"]);
}

fn foreign() {
    let stage = Stage::new();
    stage.start("a");
    let names = Names::new(b"other-node", b"sdx");
    let mut sequence = Sequence::Active(1000);
    let heartbeat = || {
        stage.image.put(&stage.image.block().with_names(&names).with_sequence(sequence));
        sequence = sequence.next();
    };
    let ended = beside(Duration::from_secs(3), heartbeat, || {
        thread::sleep(Duration::from_millis(200));
        stage.target("monitor", "a", &[])
    });
    assert_ended(&ended, 1, &["written by node 'other-node' device 'sdx'", "two nodes may"]);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    // One that was rude once and is gone does not bring the target down.
    stage.image.put(&stage.image.block().with_names(&names));
    assert_ended(&stage.target("monitor", "a", &[]), 0, &[]);
}

fn released() {
    let stage = Stage::new();
    stage.start("a");
    let clean = || {
        let block = stage.image.block();
        if block.sequence() != Sequence::Clean {
            stage.image.put(&block.with_sequence(Sequence::Clean).with_time(7));
        }
    };
    let ended = beside(Duration::from_millis(20), clean, || {
        thread::sleep(Duration::from_millis(200));
        stage.target("monitor", "a", &[])
    });
    assert_ended(&ended, 1, &["stays clean"]);
}

fn read_only() {
    let stage = Stage::new();
    let options = ["-t", "ext4", "-o", "ro,mmp.mode=check"];
    assert_ended(&stage.target("start", "a", &options), 0, &[]);
    assert_ended(&stage.target("monitor", "a", &[]), 0, &[]);
    assert_ended(&stage.target("stop", "a", &[]), 0, &[]);
    stage.start("b");
    assert_ended(&stage.target("monitor", "b", &[]), 0, &[]);
    // What the kernel does when it meets an error.
    tool("mount", &["-o", "remount,abort", &stage.dir("b")]);
    assert_ended(&stage.target("monitor", "b", &[]), 1, &["the kernel has made it read-only"]);
    assert_ended(&stage.target("stop", "b", &[]), 0, &[]);
}

/// A machine that does not say what is mounted has stopped nothing.
fn untold() {
    let stage = Stage::new();
    stage.start("a");
    for action in ["status", "monitor", "stop", "start"] {
        let program = env!("CARGO_BIN_EXE_mmptarget");
        let hidden = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
        let before = ["-m", "sh", "-c", hidden, program].map(str::to_owned);
        let arguments = before.into_iter().chain(stage.arguments(action, "a", &[]));
        let ended = run("unshare", &arguments.collect::<Vec<_>>());
        assert_ended(&ended, 1, &["/proc/self/mountinfo: No such file or directory"]);
        assert_eq!(ended.out, "", "{action}");
    }
    assert_ended(&stage.target("monitor", "a", &[]), 0, &[]);
}

fn gone() {
    let stage = Stage::new();
    let host = tool("uname", &["-n"]);
    let host = host.trim();
    stage.start("a");
    let unused = Image::new();
    let ask = |device: &Path| {
        let arguments = [OsStr::new("gone"), OsStr::new(host), device.as_os_str()];
        let more = unused.path().as_os_str();
        run("mmptarget", &[&arguments[..], &[more]].concat())
    };
    // A name that a script failed to fill in.
    let unnamed = run("mmptarget", &["gone", "", stage.b.name()]);
    assert_ended(&unnamed, 2, &["it is empty"]);
    let alive = ask(stage.b.path());
    assert_ended(&alive, 1, &["is not gone", "the MMP block changed within"]);
    // What this machine writes itself is not the other node's doing, be the name the same.
    assert_ended(&ask(stage.a.path()), 0, &[]);
    assert_ended(&stage.target("stop", "a", &[]), 0, &[]);
    let gone = ask(stage.b.path());
    assert_ended(&gone, 0, &[]);
    assert!(gone.took > GUARD, "{:?}", gone.took);
    assert_ended(&ask(Path::new("/dev/no-such-disk")), 2, &["cannot tell whether"]);
}
