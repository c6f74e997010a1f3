//! `mmptune` on a device that fails at each of its operations in turn.

use mmp::layout::{Names, Sequence};
use nix::errno::Errno;

use crate::common::faulty::{Fault, FaultyDisk, On};
use crate::common::image::Image;
use crate::common::program::{Running, run};
use crate::common::suite::Suite;
use crate::{GUARD, SLACK};

pub(crate) fn cases(suite: &mut Suite) {
    for mmp in [true, false] {
        let what = if mmp { "off" } else { "on" };
        for (on, name) in [(On::Writes, "write"), (On::Reads, "read"), (On::Flushes, "flush")] {
            for errno in [Errno::EIO, Errno::ENOSPC] {
                let case = format!("mmptune turns MMP {what}, and a {name} fails with {errno:?}");
                suite.case(case, move || each_fails(mmp, on, errno));
            }
        }
    }
    suite.case("mmptune goes on when a device that hung answers", hangs);
    suite.case("mmptune writes nothing after it has lost the device", lost);
    for (on, skip) in [(On::Writes, 1), (On::Flushes, 0)] {
        let case = format!("mmptune undoes FSCK that it could not put down ({on:?})");
        suite.case(case, move || undoes(on, skip));
    }
    suite.case("mmptune undoes FSCK that came too late", too_late);
    suite.case("mmptune says so when the block is left at fsck", cannot_release);
}

/// Several groups, so that there are backups.
fn image(mmp: bool) -> Image {
    let feature = if mmp { "mmp" } else { "^mmp" };
    Image::with(&["-b", "1024", "-g", "2048", "-N", "16", "-O", feature], "5M")
}

fn arguments(mmp: bool, device: &str) -> Vec<&str> {
    vec!["--no-guard", "-O", if mmp { "^mmp" } else { "mmp" }, device]
}

/// Fails the first operation, then all but the first, and so on until none fails.
fn each_fails(mmp: bool, on: On, errno: Errno) {
    let original = image(mmp).content();
    let disk = FaultyDisk::new(Image::bytes(&original));
    for skip in 0.. {
        disk.fail_after(skip, on, Fault::Error(errno));
        let before = disk.writes();
        let ended = run("mmptune", &arguments(mmp, disk.name()));
        disk.heal();
        if ended.code == 0 {
            assert!(skip > 1, "hardly anything was tried: {}", ended.said());
            break;
        }
        let context = format!("operation {skip}: {}", ended.said());
        assert!(ended.err.contains(disk.name()) && ended.err.contains(errno.desc()), "{context}");
        assert_eq!(ended.code, if on == On::Reads { ended.code } else { 2 }, "{context}");
        if disk.writes() == before {
            assert!(disk.image.content() == original, "{context}");
            continue;
        }
        assert!(ended.err.contains("run 'e2fsck -f"), "{context}");
        // What has been begun, e2fsck puts right.
        let fixed = run("e2fsck", &["-fp", disk.image.name()]);
        assert!(fixed.code <= 1, "{context}: {}", fixed.said());
        disk.image.assert_fsck_clean();
        disk.image.patch(0, &original);
    }
    disk.image.assert_fsck_clean();
}

fn hangs() {
    let disk = FaultyDisk::new(image(false));
    disk.fail_after(3, On::Writes, Fault::Hang);
    let change = Running::start("mmptune", &arguments(false, disk.name()));
    let deadline = std::time::Instant::now() + SLACK;
    while !disk.hangs() {
        assert!(std::time::Instant::now() < deadline, "it does not hang: {}", change.err());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    disk.heal();
    let ended = change.end(GUARD);
    assert_eq!(ended.code, 0, "{}", ended.err);
    disk.image.assert_fsck_clean();
}

/// The first writes of a change under MMP: the claim, then FSCK.
const CLAIM: usize = 2;

/// Starts turning MMP off on a disk on which something is to fail.
fn off(disk: &FaultyDisk) -> Running {
    Running::start("mmptune", &["-O", "^mmp", disk.name()])
}

/// Waits until the disk hangs.
fn wait_for_hang(disk: &FaultyDisk, change: &Running) {
    let deadline = std::time::Instant::now() + 2 * GUARD + SLACK;
    while !disk.hangs() {
        assert!(std::time::Instant::now() < deadline, "it does not hang: {}", change.err());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// It is stopped at each write of the change in turn, as a paused machine would be, and meanwhile
/// somebody else clears the block and takes the device: that one write lands, and no more.
fn lost() {
    std::thread::scope(|scope| {
        for at in 0..6 {
            scope.spawn(move || lost_at(at));
        }
    });
}

fn lost_at(at: usize) {
    let disk = FaultyDisk::new(image(true));
    let (area, theirs) = (disk.image.area(), disk.image.block());
    let theirs = theirs.with_sequence(Sequence::active(7)).with_names(&Names::new(b"other", b"d"));
    disk.fail_after(CLAIM + at, On::Writes, Fault::Hang);
    let change = off(&disk);
    wait_for_hang(&disk, &change);
    disk.image.patch(area.offset.0, &theirs.sealed(area.checksum));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let before = disk.writes();
    disk.heal();
    let ended = change.end(GUARD);
    assert_eq!(ended.code, 1, "{at}: {}", ended.err);
    assert!(ended.err.contains("node 'other'"), "{at}: {}", ended.err);
    assert!(ended.err.contains("run 'e2fsck -f"), "{at}: {}", ended.err);
    assert_eq!(disk.writes(), before, "{at}: it went on writing: {}", ended.err);
}

/// A write of FSCK, or the flush behind it, fails once.
fn undoes(on: On, skip: usize) {
    let disk = FaultyDisk::new(image(true));
    let before = disk.image.content();
    disk.fail_once_after(skip, on, Fault::Error(Errno::EIO));
    let ended = off(&disk).end(3 * GUARD);
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("cannot mark the MMP block as fsck: I/O error"), "{}", ended.err);
    assert!(disk.image.content() == before, "{}", ended.err);
}

/// FSCK that lands after the claim ran out may have gone over somebody's block.
fn too_late() {
    let disk = FaultyDisk::new(image(true));
    disk.fail_after(1, On::Writes, Fault::Hang);
    let change = off(&disk);
    wait_for_hang(&disk, &change);
    std::thread::sleep(GUARD);
    disk.heal();
    let ended = change.end(GUARD);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("stale after the guard interval"), "{}", ended.err);
    assert!(matches!(disk.image.block().sequence(), Sequence::Active(_)), "{}", ended.err);
}

/// The change is made, but the last write, which makes the block clean, fails.
fn cannot_release() {
    let disk = FaultyDisk::new(image(true));
    // The superblock and its backup are written in between.
    disk.fail_after(CLAIM + 2, On::Writes, Fault::Error(Errno::EIO));
    let arguments = ["-E", "mmp_update_interval=7", disk.name()];
    let ended = Running::start("mmptune", &arguments).end(3 * GUARD);
    assert_eq!(ended.code, 2, "{}", ended.err);
    for words in ["changed, but cannot write", "left at fsck", "mmptune -f -E clear_mmp"] {
        assert!(ended.err.contains(words), "{}", ended.err);
    }
    assert_eq!(disk.image.block().sequence(), Sequence::Fsck);
}
