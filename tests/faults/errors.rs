//! A device that reports errors, or transfers less than it was asked to.

use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::Sequence;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use crate::common::faulty::{Fault, FaultyDisk, On};
use crate::common::image::Image;
use crate::common::program::{Ended, run};
use crate::common::suite::Suite;
use crate::{GUARD, HALF, SLACK, STUBBORN, held, running_with, wait_until};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a device that cannot be read is not touched", unreadable);
    suite.case("an MMP block that cannot be read is never safe", unreadable_block);
    suite.case("three failed reads are no verdict", transient_reads);
    suite.case("a claim that cannot be written leaves the block alone, EIO", || {
        unwritable(Errno::EIO);
    });
    suite.case("a claim that cannot be written leaves the block alone, ENOSPC", || {
        unwritable(Errno::ENOSPC);
    });
    for bytes in [512, 100] {
        let name = format!("transfers of {bytes} bytes are completed");
        suite.case(name, move || short(bytes));
    }
    suite.case("a read that returns nothing is an error", no_bytes);
    suite.case("failed writes for 4 s are no loss", transient_writes);
    suite.case("failed writes for a lease are a loss, and none follows", lasting_writes);
    suite.case("failed reads for a lease are a loss, and no write follows", lasting_reads);
    suite.case("a release that fails is said, and not called clean", || {
        failed_release(On::Writes);
    });
    suite.case("a release that may not have reached the disk is said", || {
        failed_release(On::Flushes);
    });
}

const EIO: Fault = Fault::Error(Errno::EIO);

/// Every program, as it begins with a device, and its code for a device that fails.
fn programs(device: &str) -> [(&'static str, Vec<&str>, i32); 5] {
    [
        ("mmpcheck", vec![device], 2),
        ("mmpdump", vec![device], 2),
        ("mmpd", vec!["hold", device], 2),
        ("mmprun", vec![device, "--", "true"], 122),
        ("mmptune", vec!["-O", "^mmp", device], 2),
    ]
}

fn assert_told(name: &str, ended: &Ended, device: &str, error: Errno) {
    assert!(ended.err.contains(device), "{name}: {}", ended.err);
    assert!(ended.err.contains(error.desc()), "{name}: {}", ended.err);
    assert!(!ended.err.contains("panicked"), "{name}: {}", ended.err);
}

fn unreadable() {
    let disk = FaultyDisk::new(Image::new());
    for error in [Errno::EIO, Errno::ENODEV] {
        disk.fail(On::All, Fault::Error(error));
        for (name, arguments, code) in programs(disk.name()) {
            let ended = run(name, &arguments);
            assert_eq!(ended.code, code, "{name}: {}", ended.said());
            assert_told(name, &ended, disk.name(), error);
        }
    }
    assert_eq!(disk.writes(), 0);
    disk.image.assert_fsck_clean();
}

fn unreadable_block() {
    let disk = FaultyDisk::new(Image::new());
    disk.fail_mmp_block(usize::MAX, On::Reads, EIO);
    for (name, arguments, _) in programs(disk.name()) {
        let ended = run(name, &arguments);
        assert_ne!(ended.code, 0, "{name}: {}", ended.said());
        assert_told(name, &ended, disk.name(), Errno::EIO);
    }
    assert_eq!(run("mmpcheck", &[disk.name()]).code, 2);
    assert_eq!(disk.writes(), 0);
    disk.image.assert_fsck_clean();
}

fn transient_reads() {
    let disk = FaultyDisk::new(Image::new());
    disk.fail_mmp_block(3, On::Reads, EIO);
    let ended = run("mmpcheck", &[disk.name()]);
    assert_eq!((ended.code, ended.out.contains("MMP is clean")), (0, true), "{}", ended.said());
}

fn unwritable(errno: Errno) {
    let disk = FaultyDisk::new(Image::new());
    let before = disk.image.content();
    disk.fail(On::Writes, Fault::Error(errno));
    for (name, arguments, _) in &programs(disk.name())[2..] {
        let ended = run(name, arguments);
        assert_ne!(ended.code, 0, "{name}: {}", ended.said());
        assert_told(name, &ended, disk.name(), errno);
        assert!(disk.image.content() == before, "{name} has written");
    }
    disk.heal();
    assert_eq!(run("mmpcheck", &[disk.name()]).code, 0);
    disk.image.assert_fsck_clean();
}

/// The whole life of a holder, a check beside it, and changes, a few bytes at a time.
fn short(bytes: usize) {
    let disk = FaultyDisk::new(Image::new());
    disk.fail(On::All, Fault::Short(bytes));
    let told = run("mmpcheck", &[disk.name()]);
    assert_eq!(told.code, 0, "{}", told.said());
    let holder = held(disk.path());
    let beside = run("mmpcheck", &[disk.image.name()]);
    assert_eq!(beside.code, 1, "{}", beside.said());
    assert!(beside.out.contains("in use"), "{}", beside.said());
    thread::sleep(Duration::from_secs(4));
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!ended.err.contains("somebody else"), "{}", ended.err);
    assert_eq!(disk.image.block().sequence(), Sequence::Clean);
    for change in [&["-O", "^mmp"][..], &["-O", "mmp"]] {
        let ended = run("mmptune", &[change, &[disk.name()]].concat());
        assert_eq!(ended.code, 0, "{}", ended.said());
        disk.image.assert_fsck_clean();
    }
}

/// Nothing is also what a stale block shows: the bytes of the look before must not be taken for it.
fn no_bytes() {
    let disk = FaultyDisk::new(Image::new());
    disk.image.put(&disk.image.block().with_sequence(Sequence::active(7)));
    disk.fail_mmp_block_after(1, On::Reads, Fault::Short(0));
    let ended = run("mmpcheck", &[disk.name()]);
    assert_eq!(ended.code, 2, "{}", ended.said());
    assert!(ended.err.contains("cannot read MMP block"), "{}", ended.said());
    assert_eq!(disk.writes(), 0);
}

fn transient_writes() {
    let disk = FaultyDisk::new(Image::new());
    let mut holder = held(disk.path());
    disk.fail(On::Writes, EIO);
    holder.wait_for("cannot write the MMP block", SLACK);
    thread::sleep(Duration::from_secs(4));
    disk.heal();
    let before = disk.image.block().sequence();
    thread::sleep(Duration::from_secs(4));
    assert_ne!(disk.image.block().sequence(), before, "it beats again");
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(disk.image.block().sequence(), Sequence::Clean);
    disk.image.assert_fsck_clean();
}

/// A holder of a device whose operations fail from a moment on; the loss must come by the end of
/// the lease, the command must be gone with it, and nothing may be written after.
fn lasting(on: On, said: &str) {
    let disk = FaultyDisk::new(Image::new());
    let (mut holder, command) = running_with(&[], disk.path(), STUBBORN);
    disk.fail(on, EIO);
    let (failing, lease) = (Instant::now(), disk.image.lease());
    holder.wait_for(said, SLACK);
    wait_until("the command is gone", lease + SLACK, || kill(command, None) == Err(Errno::ESRCH));
    let gone = failing.elapsed();
    assert!(gone < lease + HALF, "the command lived for {gone:?} of failures, lease {lease:?}");
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 123, "{}", ended.err);
    assert!(ended.err.contains("a lease is lost or about to end"), "{}", ended.err);
    let writes = disk.writes();
    let left = disk.image.block();
    disk.heal();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(disk.writes(), writes);
    assert_eq!(disk.image.block(), left);
    let told = run("mmpcheck", &[disk.name()]);
    assert_eq!(told.code, 0, "{}", told.said());
    assert!(told.out.contains("stale"), "{}", told.out);
    disk.image.assert_fsck_clean();
}

fn lasting_writes() {
    lasting(On::Writes, "cannot write the MMP block");
}

fn lasting_reads() {
    lasting(On::Reads, "cannot read the MMP block");
}

fn failed_release(on: On) {
    let disk = FaultyDisk::new(Image::new());
    let holder = held(disk.path());
    disk.fail(on, EIO);
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(GUARD + 2 * SLACK);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_told("mmpd", &ended, disk.name(), Errno::EIO);
    if on == On::Writes {
        assert!(matches!(disk.image.block().sequence(), Sequence::Active(_)));
    }
    disk.heal();
    disk.image.assert_fsck_clean();
    // Whoever comes next gets it.
    let next = held(disk.path());
    next.signal(Signal::SIGTERM);
    assert_eq!(next.end(SLACK).code, 0);
}
