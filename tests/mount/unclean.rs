//! A block that is not clean: stale, or waited for.

use std::thread;
use std::time::Duration;

use mmp::layout::Names;

use crate::common::disk::{CLEAN, Disk};
use crate::common::image::Image;
use crate::common::loops::Loop;
use crate::common::namespace::stand_in;
use crate::common::program::{Running, run, tool};
use crate::common::suite::Suite;
use crate::stage::{Stage, staged};
use crate::{GUARD, SLACK, assert_ended, assert_took};

pub(crate) fn cases(suite: &mut Suite) {
    for mode in ["guard", "strict", "check"] {
        suite.case(format!("stale, {mode}: no longer than the kernel alone"), move || {
            staged(move |stage| stale(stage, mode));
        });
    }
    suite.case("stale, read-only: one guard interval", || staged(stale_read_only));
    suite.case("after kill -9 in the middle of a claim", || staged(killed));
    suite.case("a holder that unmounts is waited for", || staged(waited_for));
    suite.case("stale, and its writer was fenced: one guard interval", || staged(fenced));
    suite.case("stale, and no proof of a fencing", || staged(not_fenced));
    suite.case("a local user that goes away is waited for", || staged(waited_for_locally));
    suite.case("a holder that stays is waited for in vain", || staged(in_vain));
}

fn stale(stage: &Stage, mode: &str) {
    stage.set_sequence("0x1234");
    // The kernel alone, at the same time on another disk.
    let other = Image::with(&[], "64M");
    let device = Loop::new(other.path());
    tool("debugfs", &["-w", "-c", "-R", "set_mmp_value seq 0x1234", device.name()]);
    let (kernel, ended) = thread::scope(|scope| {
        let kernel = scope.spawn(|| stage.plain(&device, "b"));
        let ended = stage.mount(&stage.a, "a", &format!("mmp.mode={mode}"));
        (kernel.join().expect("kernel"), ended)
    });
    assert_ended(&kernel, 0, &[]);
    assert_ended(&ended, 0, &["last written by"]);
    assert_took(&ended, 2 * GUARD, kernel.took + SLACK);
    assert_eq!(stage.mounted("a"), "ext4");
    stage.umount("b");
}

fn stale_read_only(stage: &Stage) {
    stage.set_sequence("0x1234");
    let ended = stage.mount(&stage.a, "a", "ro");
    assert_ended(&ended, 0, &[]);
    assert_took(&ended, GUARD, GUARD + SLACK);
}

fn killed(stage: &Stage) {
    let dir = stage.dir("a");
    let arguments = [stage.a.name(), dir.to_str().expect("UTF-8"), "-v"];
    let mut helper = Running::start("/sbin/mount.mmp", &arguments);
    helper.wait_for("claim written", GUARD);
    helper.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(helper.end(GUARD).code, 128 + 9);
    let ended = stage.mount(&stage.b, "b", "");
    assert_ended(&ended, 0, &[stage.a.kernel_name()]);
    assert_took(&ended, 2 * GUARD, 2 * GUARD + SLACK);
}

fn waited_for(stage: &Stage) {
    assert_ended(&stage.plain(&stage.a, "a"), 0, &[]);
    let leaves = Duration::from_secs(7);
    thread::scope(|scope| {
        let guard = scope.spawn(|| {
            thread::sleep(leaves);
            stage.umount("a");
            stage.guard_interval()
        });
        let ended = stage.mount(&stage.b, "b", "mmp.wait=60");
        assert_ended(&ended, 0, &[]);
        // A block that has just become clean is watched for a second.
        let done = leaves + Duration::from_secs(1) + guard.join().expect("holder");
        assert_took(&ended, done, done + 2 * SLACK);
    });
    stage.umount("b");
    stage.image.assert_fsck_clean();
}

fn waited_for_locally(stage: &Stage) {
    assert_ended(&stage.plain(&stage.a, "a"), 0, &[]);
    let refused = stage.mount(&stage.a, "b", "");
    assert_ended(&refused, 32, &["in use on this machine", "mounted on"]);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(3));
            stage.umount("a");
        });
        let ended = stage.mount(&stage.a, "b", "mmp.wait=60");
        assert_ended(&ended, 0, &["waiting up to 60 s", "mounted on"]);
    });
}

fn in_vain(stage: &Stage) {
    assert_ended(&stage.plain(&stage.a, "a"), 0, &[]);
    let wait = Duration::from_secs(8);
    for mode in ["guard", "strict"] {
        let ended = stage.mount(&stage.b, "b", &format!("mmp.mode={mode},mmp.wait=8"));
        assert_ended(
            &ended,
            32,
            &["in use", stage.a.kernel_name(), "longer than '-o mmp.wait=8' did"],
        );
        assert_took(&ended, wait, wait + Duration::from_secs(7));
    }
    // Nobody has disturbed it.
    stage.umount("a");
    assert_eq!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
    assert_eq!(run("e2fsck", &["-f", "-n", stage.image.name()]).code, 0);
}

/// A block that node `oss9` left, and a `stonith_admin` that tells when it was fenced.
fn left_by_a_node(stage: &Stage, fenced: &str) {
    stage.set_sequence("0x1234");
    let names = Names::new(b"oss9.example.org", b"dm-3");
    let long_ago = stage.image.block().time() - 100;
    stage.image.put(&stage.image.block().with_names(&names).with_time(long_ago));
    // As Pacemaker 2.1.5 answers.
    let known = "[ \"$*\" = '--history oss9 --quiet' ]";
    let script = format!("if {known}; then\n{fenced}\nfi || exit\necho '0 events found'");
    stand_in("stonith_admin", &script);
}

fn fenced(stage: &Stage) {
    left_by_a_node(stage, "expr $(date +%s) - 50");
    let ended = stage.mount(&stage.a, "a", "mmp.fenced=pacemaker");
    assert_ended(&ended, 0, &["'oss9.example.org'", "was fenced at", "is not watched for"]);
    assert_took(&ended, GUARD, GUARD + SLACK);
    assert_eq!(stage.mounted("a"), "ext4");
}

fn not_fenced(stage: &Stage) {
    for (fenced, why) in [
        ("expr $(date +%s) - 200", "not between its last write and now"),
        ("expr $(date +%s) + 50", "not between its last write and now"),
        (":", "knows of no fencing of it"),
        ("echo 0", "not between its last write and now"),
        ("exit 1", "cannot read the fencing history"),
        ("echo nonsense", "knows of no fencing of it"),
        ("exec sleep 99", "cannot read the fencing history: no answer"),
    ] {
        left_by_a_node(stage, fenced);
        let dir = stage.dir("a");
        let dir = dir.to_str().expect("UTF-8");
        let arguments = [stage.a.name(), dir, "-t", "mmp.ext4", "-o", "mmp.fenced=pacemaker"];
        let mut helper = Running::start("/sbin/mount.mmp", &arguments);
        helper.wait_for(why, GUARD);
        // And so it is watched.
        helper.wait_for("watching for 11 s whether it changes", GUARD);
        helper.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(helper.end(GUARD).code, 8);
    }
    // Nor is anybody asked who was not told to.
    left_by_a_node(stage, "expr $(date +%s) - 50");
    let ended = stage.mount(&stage.a, "a", "");
    assert_took(&ended, 2 * GUARD, 2 * GUARD + 2 * SLACK);
    assert!(!ended.said().contains("fenced"), "{}", ended.said());
}
