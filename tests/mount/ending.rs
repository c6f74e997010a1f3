//! Mounts that do not come to be: nothing stays held.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::disk::{CLEAN, Disk};
use crate::common::program::{Running, run};
use crate::common::suite::Suite;
use crate::stage::{Stage, staged};
use crate::{GUARD, assert_ended};

pub(crate) fn cases(suite: &mut Suite) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        suite.case(format!("{signal} while the claim is watched"), move || {
            staged(move |stage| interrupted(stage, "guard", "claim written", signal));
        });
    }
    suite.case("SIGTERM while the kernel waits", || {
        staged(|stage| interrupted(stage, "strict", "the kernel waits", Signal::SIGTERM));
    });
    for mode in ["guard", "strict"] {
        suite.case(format!("a mount that the kernel refuses, {mode}"), move || {
            staged(move |stage| refused_by_the_kernel(stage, mode));
        });
    }
    suite.case("SIGTERM while a stale block is watched", || staged(interrupted_on_stale));
    suite.case("SIGTERM during a remount leaves what is mounted", || staged(interrupted_remount));
}

fn helper(stage: &Stage, options: &str) -> Running {
    let dir = stage.dir("a");
    let arguments = [stage.a.name(), dir.to_str().expect("UTF-8"), "-v", "-o", options];
    Running::start("/sbin/mount.mmp", &arguments)
}

fn interrupted(stage: &Stage, mode: &str, at: &str, signal: Signal) {
    let before = stage.image.content();
    let mut helper = helper(stage, &format!("mmp.mode={mode}"));
    helper.wait_for(at, GUARD);
    std::thread::sleep(Duration::from_secs(1));
    assert_ne!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
    helper.signal(signal);
    let ended = helper.end(Duration::from_secs(2));
    assert_ended(&ended, 8, &["interrupted", "nothing"]);
    assert_eq!(stage.mounted("a"), "");
    assert!(stage.image.content() == before, "the image is not as it was");
}

fn interrupted_remount(stage: &Stage) {
    stage.set_sequence("0x1234");
    assert_ended(&stage.mount(&stage.a, "a", "ro,mmp.mode=check"), 0, &[]);
    let mut helper = helper(stage, "remount,rw");
    // It watches for a guard interval, then the kernel waits twice.
    helper.wait_for("last written by", GUARD);
    std::thread::sleep(GUARD + Duration::from_secs(3));
    helper.signal(Signal::SIGTERM);
    assert_ended(&helper.end(Duration::from_secs(3)), 8, &["interrupted", "stays mounted"]);
    assert_eq!(stage.mounted("a"), "ext4");
}

fn interrupted_on_stale(stage: &Stage) {
    stage.set_sequence("0x1234");
    let before = stage.image.content();
    for mode in ["guard", "strict"] {
        let mut helper = helper(stage, &format!("mmp.mode={mode}"));
        helper.wait_for("last written by", GUARD);
        std::thread::sleep(Duration::from_secs(1));
        helper.signal(Signal::SIGTERM);
        assert_ended(&helper.end(Duration::from_secs(2)), 8, &["interrupted", "nothing"]);
        assert!(stage.image.content() == before, "the image is not as it was");
    }
}

fn refused_by_the_kernel(stage: &Stage, mode: &str) {
    let ended = stage.mount(&stage.a, "a", &format!("mmp.mode={mode},nosuchoption"));
    assert_ended(&ended, 32, &[]);
    assert_eq!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
    // Free for the next one, on the other path too.
    fs::metadata(stage.dir("b")).expect("folder");
    assert_ended(&run("e2fsck", &["-f", "-p", stage.b.name()]), 0, &[]);
}
