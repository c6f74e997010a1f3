//! Whatever becomes of a holder, what it guards does not outlive the lease.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mmp::protocol::{effective_interval, lease_interval};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::common::image::Image;
use super::common::program::Running;
use super::common::suite::Suite;
use super::losing::{COMMAND, command_of};
use super::{GUARD, SLACK};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("stopped_mmprun_ends_its_command_with_the_lease", || outlived(Signal::SIGSTOP));
    suite.case("killed_mmprun_ends_its_command", || outlived(Signal::SIGKILL));
    suite.case("killed_guardian_ends_the_command", guardian_killed);
    suite.case("stubborn_command_is_killed_with_the_lease", stubborn);
    suite.case("killed_mmpd_fences", || fenced(Signal::SIGKILL, true));
    suite.case("stopped_mmpd_fences", || fenced(Signal::SIGSTOP, true));
    suite.case("released_mmpd_does_not_fence", || fenced(Signal::SIGTERM, false));
    suite.case("useless_watchdog_is_refused_before_anything_is_claimed", useless_watchdog);
}

const HALF: Duration = Duration::from_millis(500);

/// How long a lease is at most that began with what stands in the block: longer than a guard
/// interval where writes took long, as they do on a busy disk.
fn lease(image: &Image) -> Duration {
    lease_interval(effective_interval(5, image.block().check_interval()))
}

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
    let lease = lease(&image);
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
    kill(guardian_of(holder.pid()), Signal::SIGKILL).expect("kill");
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 123, "{}", ended.err);
    gone(command_of(&ended.err), SLACK);
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
    let lease = lease(&image);
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
    let deadline = signalled + 2 * lease(&image) - Duration::from_secs(1);
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
