//! Whatever becomes of a holder, what it guards does not outlive the lease.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::Sequence;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::common::faulty::{Fault, FaultyDisk, On};
use super::common::image::Image;
use super::common::program::{Running, command, command_of, tool};
use super::common::suite::Suite;
use super::losing::COMMAND;
use super::{GUARD, SLACK};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("stopped_mmprun_ends_its_command_with_the_lease", || outlived(Signal::SIGSTOP));
    suite.case("killed_mmprun_ends_its_command", || outlived(Signal::SIGKILL));
    suite.case("killed_guardian_ends_the_command", guardian_killed);
    suite.case("signals_to_the_guardian_change_nothing", guardian_signalled);
    suite.case("stopped_guardian_does_not_spare_the_command", guardian_stopped);
    suite.case("stopped_from_the_terminal_it_goes_on", stopped_from_terminal);
    suite.case("stopped_by_a_signal_it_stays_stopped_and_held", stopped_by_signal);
    suite.case("stubborn_command_is_killed_with_the_lease", stubborn);
    suite.case("killed_mmpd_fences", || fenced(Signal::SIGKILL, true));
    suite.case("stopped_mmpd_fences", || fenced(Signal::SIGSTOP, true));
    suite.case("released_mmpd_does_not_fence", || fenced(Signal::SIGTERM, false));
    suite.case("useless_watchdog_is_refused_before_anything_is_claimed", useless_watchdog);
}

const HALF: Duration = Duration::from_millis(500);

/// Waits until a process is gone; tells when that was.
fn gone(process: Pid, at_most: Duration) -> Instant {
    let deadline = Instant::now() + at_most;
    while kill(process, None) != Err(Errno::ESRCH) {
        assert!(Instant::now() < deadline, "lives after {at_most:?}");
        thread::sleep(Duration::from_millis(10));
    }
    Instant::now()
}

fn outlived(signal: Signal) {
    let image = Image::new();
    let mut holder = Running::start("mmprun", &[&[image.name()], &COMMAND[..]].concat());
    holder.wait_for("pid=", GUARD + SLACK);
    thread::sleep(Duration::from_secs(2));
    holder.signal(signal);
    let signalled = Instant::now();
    // The last heartbeat comes before the signal.
    let lease = image.lease();
    let took = gone(command_of(&holder.err()), lease + SLACK) - signalled;
    assert!(took <= lease + HALF, "{took:?} of {lease:?}");
    println!("command gone {:.2} s after {signal}", took.as_secs_f64());
}

/// The guardian of a holder.
fn guardian_of(holder: Pid) -> Pid {
    let children = fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once(") ")?;
        let parent: i32 = rest.split(' ').nth(1)?.parse().ok()?;
        (name.ends_with("(mmp-guardian") && holder.as_raw() == parent).then_some(number)
    });
    Pid::from_raw(children.into_iter().next().expect("a guardian"))
}

fn guardian_killed() {
    let image = Image::new();
    let mut holder = Running::start("mmprun", &[&[image.name()], &COMMAND[..]].concat());
    holder.wait_for("pid=", GUARD + SLACK);
    let command = command_of(&holder.err());
    kill(guardian_of(holder.pid()), Signal::SIGKILL).expect("kill");
    gone(command, SLACK);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 123, "{}", ended.err);
}

/// Who signals all processes of a group means the command. 34 is the first real-time signal.
fn guardian_signalled() {
    let image = Image::new();
    let mut holder = Running::start("mmprun", &[&[image.name()], &COMMAND[..]].concat());
    holder.wait_for("pid=", GUARD + SLACK);
    let (command, guardian) = (command_of(&holder.err()), guardian_of(holder.pid()));
    for signal in ["HUP", "INT", "TERM", "USR1", "PIPE", "ALRM", "34", "64"] {
        tool("kill", &["-s", signal, &guardian.to_string()]);
    }
    let before = image.block().sequence();
    thread::sleep(Duration::from_secs(3));
    assert_ne!(image.block().sequence(), before, "{}", holder.err());
    assert_eq!(guardian_of(holder.pid()), guardian);
    // It heeds the holder as before: the command is ended, and the block left clean.
    kill(command, None).expect("the command lives");
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(SLACK);
    assert!(is_dead(command), "{}", ended.err);
    assert_eq!(image.block().sequence(), Sequence::Clean, "{}", ended.err);
}

/// The disk hangs and the guardian does nothing: mmprun itself kills the command.
fn guardian_stopped() {
    let disk = FaultyDisk::new(Image::new());
    let mut holder = Running::start("mmprun", &[&[disk.name()], &COMMAND[..]].concat());
    holder.wait_for("pid=", GUARD + SLACK);
    thread::sleep(Duration::from_secs(2));
    let guardian = Stopped::new(guardian_of(holder.pid()));
    disk.fail(On::All, Fault::Hang);
    let (hung, lease) = (Instant::now(), disk.image.lease());
    let command = command_of(&holder.err());
    let deadline = hung + lease + SLACK;
    while !is_dead(command) {
        assert!(Instant::now() < deadline, "the command lives: {}", holder.err());
        thread::sleep(Duration::from_millis(10));
    }
    let took = hung.elapsed();
    assert!(took <= lease + HALF, "{took:?} of {lease:?}");
    println!("command dead {:.2} s after the disk hung", took.as_secs_f64());
    disk.heal();
    drop(guardian);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 123, "{}", ended.err);
}

/// A process that is stopped, until this value is gone.
struct Stopped(Pid);

impl Stopped {
    fn new(process: Pid) -> Self {
        kill(process, Signal::SIGSTOP).expect("stop");
        Stopped(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Whether a process has ended, though its parent may not have heard of it.
fn is_dead(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z')))
}

/// A process that is killed when the test is over, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ctrl-Z does not stop the command: there would be no way to go on. Ctrl-C ends it.
fn stopped_from_terminal() {
    let image = Image::new();
    let program = command("mmprun", &[""; 0]);
    let line = format!(
        "{} {} -- sh -c 'echo pid=$$ >&2; while :; do echo goes on; sleep 1; done'",
        program.get_program().display(),
        image.name(),
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = Killed(script.spawn().expect("script"));
    let mut keys = script.0.stdin.take().expect("piped");
    let mut screen = script.0.stdout.take().expect("piped");
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&seen);
    let reader = thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(len @ 1..) = screen.read(&mut some) {
            sink.lock().expect("lock").push_str(&String::from_utf8_lossy(&some[..len]));
        }
    });
    let wait_for = |words: &str, after: &str| {
        let deadline = Instant::now() + GUARD + 2 * SLACK;
        loop {
            let seen = seen.lock().expect("lock").clone();
            if seen.split_once(after).is_some_and(|(_, seen)| seen.contains(words)) {
                return;
            }
            assert!(Instant::now() < deadline, "no '{words}' after '{after}': {seen}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    // Not while the shell starts a sleep: one that is stopped before it is a program of its own keeps
    // the shell from stopping.
    let asleep = || thread::sleep(Duration::from_millis(500));
    wait_for("goes on", "pid=");
    asleep();
    keys.write_all(b"\x1a").expect("Ctrl-Z");
    let told = "the command cannot be stopped from the terminal";
    wait_for(told, "");
    wait_for("goes on\r\ngoes on\r\ngoes on", told);
    assert!(matches!(image.block().sequence(), Sequence::Active(_)));
    asleep();
    keys.write_all(b"\x03").expect("Ctrl-C");
    let status = script.0.wait().expect("wait");
    reader.join().expect("reader");
    assert_eq!(status.code(), Some(130), "{}", seen.lock().expect("lock"));
    assert_eq!(image.block().sequence(), Sequence::Clean);
}

/// A command stopped on purpose is not woken, and its device is held on.
fn stopped_by_signal() {
    let image = Image::new();
    let mut holder = Running::start("mmprun", &[&[image.name()], &COMMAND[..]].concat());
    holder.wait_for("pid=", GUARD + SLACK);
    let command = command_of(&holder.err());
    kill(command, Signal::SIGSTOP).expect("stop");
    holder.wait_for(&format!("'kill -CONT -{command}'"), SLACK);
    let before = image.block().sequence().raw();
    thread::sleep(GUARD);
    let beats = image.block().sequence().raw() - before;
    assert!(beats + 2 >= u32::try_from(GUARD.as_secs()).expect("small"), "{beats} heartbeats");
    holder.signal(Signal::SIGTERM);
    thread::sleep(Duration::from_secs(1));
    kill(command, Signal::SIGCONT).expect("it was stopped, and not ended");
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 128 + 15, "{}", ended.err);
    assert_eq!(image.block().sequence(), Sequence::Clean);
}

/// One that does not heed SIGTERM, nor does what it has started, also in a group of its own.
fn stubborn() {
    let image = Image::new();
    let script = "trap '' TERM; setsid sh -c 'echo pid=$$ >&2; sleep 300' & sleep 300; sleep 300";
    let arguments = [image.name(), "--", "sh", "-c", script];
    let mut holder = Running::start("mmprun", &arguments);
    holder.wait_for("pid=", GUARD + SLACK);
    let command = command_of(&holder.err());
    holder.signal(Signal::SIGSTOP);
    let signalled = Instant::now();
    let lease = image.lease();
    let took = gone(command, lease + SLACK) - signalled;
    assert!(took <= lease + HALF, "{took:?} of {lease:?}");
}

fn fenced(signal: Signal, wanted: bool) {
    let image = Image::new();
    let told = image.dir().join("fenced");
    let fence = format!("date +%s.%N >{}", told.display());
    let mut holder = Running::start("mmpd", &["hold", "--fence", &fence, image.name()]);
    holder.wait_for(": held\n", GUARD + SLACK);
    thread::sleep(Duration::from_secs(1));
    holder.signal(signal);
    let signalled = Instant::now();
    // A partner that saw the last heartbeat waits twice before it uses the device.
    let deadline = signalled + 2 * image.lease() - Duration::from_secs(1);
    while !told.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(told.exists(), wanted, "{}", holder.err());
    if wanted {
        println!("fenced {:.1} s after {signal}", signalled.elapsed().as_secs_f64());
    }
}

fn useless_watchdog() {
    let image = Image::new();
    let before = image.content();
    for device in ["/dev/null", "/nonexistent"] {
        let fence = format!("watchdog:{device}");
        assert!(Path::new(device).exists() == (device == "/dev/null"));
        let told = super::common::program::run("mmpd", &["hold", "--fence", &fence, image.name()]);
        assert_eq!(told.code, 2, "{}", told.said());
        assert!(told.err.contains(device), "{}", told.err);
        assert!(image.content() == before, "claimed");
    }
}
