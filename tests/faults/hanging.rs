//! A device that does not answer, or is gone.

use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::Sequence;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use crate::common::faulty::{Fault, FaultyDisk, On};
use crate::common::image::Image;
use crate::common::program::{Running, run};
use crate::common::suite::Suite;
use crate::{GUARD, HALF, SLACK, STUBBORN, held, running, running_with, wait_until};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "a hung write ends the command in time, and does not throw out the next holder",
        || {
            hung_while_held(On::Writes);
        },
    );
    suite.case("a hung read ends the command in time", || hung_while_held(On::Reads));
    for on in [On::Writes, On::Reads] {
        let name = format!("a device that answers just after its loss is not written ({on:?})");
        suite.case(name, move || hung_until_lost(on));
    }
    suite.case("a claim that hangs is lost to whoever came meanwhile", hung_claim);
    suite.case("a check waits for a device that hangs", hung_check);
    suite.case("a device that hangs for 5 s is held on", short_hang);
    suite.case("a release that hangs is finished when the device answers", hung_release);
    suite.case("a device that vanishes is lost, and never written again", vanished);
    suite.case("a device that vanishes while it is claimed is not held", vanished_while_claimed);
}

/// The first node's path to the disk hangs; the second takes over by another. When the first path
/// comes back, what was on its way lands on the second's block: it must defend that, and the first
/// must not write again.
fn hung_while_held(on: On) {
    let disk = FaultyDisk::new(Image::new());
    let (mut first, command) = running_with(&[], disk.path(), STUBBORN);
    disk.fail(on, Fault::Hang);
    wait_until("something hangs", SLACK, || disk.hangs());
    let (hung, lease) = (Instant::now(), disk.image.lease());
    wait_until("the command is gone", lease + SLACK, || kill(command, None) == Err(Errno::ESRCH));
    let gone = hung.elapsed();
    assert!(gone < lease + HALF, "the command lived for {gone:?} of a hang, lease {lease:?}");
    first.wait_for(": lost: ", SLACK);
    let second = held(disk.image.path());
    assert!(hung.elapsed() > 2 * GUARD, "in after {:?}", hung.elapsed());
    let writes = disk.writes();
    disk.heal();
    let lost = first.end(SLACK);
    assert_eq!(lost.code, 123, "{}", lost.err);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(disk.writes(), writes, "written after the loss");
    let late = second.err().contains("somebody else wrote the MMP block");
    assert_eq!(late, on == On::Writes, "{}", second.err());
    second.signal(Signal::SIGTERM);
    let ended = second.end(SLACK);
    assert_eq!(ended.code, 0, "thrown out: {}", ended.err);
    assert_eq!(disk.image.block().sequence(), Sequence::Clean);
    disk.image.assert_fsck_clean();
}

/// The disk answers when the device has just been declared lost, and `mmprun` is still there:
/// nothing is written any more, not even that the block is clean.
fn hung_until_lost(on: On) {
    let disk = FaultyDisk::new(Image::new());
    let (mut holder, _) = running(disk.path());
    disk.fail(on, Fault::Hang);
    holder.wait_for(": lost: ", GUARD + 2 * SLACK);
    let writes = disk.writes();
    disk.heal();
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 123, "{}", ended.err);
    assert!(ended.err.contains("it answered again after its lease"), "{}", ended.err);
    assert_eq!(disk.writes(), writes, "written after the loss");
    assert!(matches!(disk.image.block().sequence(), Sequence::Active(_)));
    disk.image.assert_fsck_clean();
}

/// The claim of the first hangs on its way; the second claims and holds meanwhile. Then the first
/// claim lands: the second defends, and the first sees that and gives up.
fn hung_claim() {
    let disk = FaultyDisk::new(Image::new());
    disk.fail(On::Writes, Fault::Hang);
    let first = Running::start("mmpd", &["hold", disk.name()]);
    wait_until("the claim hangs", SLACK, || disk.hangs());
    let mut second = held(disk.image.path());
    disk.heal();
    let refused = first.end(GUARD + SLACK);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("claimed it at the same moment"), "{}", refused.err);
    second.wait_for("somebody else wrote the MMP block", SLACK);
    second.signal(Signal::SIGTERM);
    assert_eq!(second.end(SLACK).code, 0);
    disk.image.assert_fsck_clean();
}

fn hung_check() {
    let disk = FaultyDisk::new(Image::new());
    disk.fail_mmp_block(1, On::Reads, Fault::Hang);
    let check = Running::start("mmpcheck", &[disk.name()]);
    wait_until("it hangs", SLACK, || disk.hangs());
    let mut holder = Running::start("mmpd", &["hold", disk.image.name()]);
    holder.wait_for("claim written", SLACK);
    // What it reads is what stands there now, not what stood there when it asked.
    disk.heal();
    let ended = check.end(2 * GUARD);
    assert_eq!(ended.code, 1, "{}", ended.said());
    assert!(ended.out.contains("in use"), "{}", ended.said());
    holder.wait_for(": held\n", GUARD + SLACK);
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.end(SLACK).code, 0);
}

fn short_hang() {
    let disk = FaultyDisk::new(Image::new());
    let (holder, command) = running(disk.path());
    for on in [On::Writes, On::Reads] {
        disk.fail(on, Fault::Hang);
        wait_until("something hangs", SLACK, || disk.hangs());
        thread::sleep(Duration::from_secs(5));
        disk.heal();
        thread::sleep(Duration::from_secs(2));
    }
    // A slow write is published: contenders must wait longer.
    assert!(disk.image.block().check_interval() >= 9, "{:?}", disk.image.block());
    kill(command, Signal::SIGTERM).expect("it runs");
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 128 + 15, "{}", ended.err);
    assert_eq!(disk.image.block().sequence(), Sequence::Clean);
    disk.image.assert_fsck_clean();
}

fn hung_release() {
    let disk = FaultyDisk::new(Image::new());
    let holder = held(disk.path());
    disk.fail(On::All, Fault::Hang);
    holder.signal(Signal::SIGTERM);
    wait_until("it hangs", SLACK, || disk.hangs());
    thread::sleep(Duration::from_secs(3));
    disk.heal();
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(disk.image.block().sequence(), Sequence::Clean);
    disk.image.assert_fsck_clean();
}

fn vanished() {
    let disk = FaultyDisk::new(Image::new());
    let (mut holder, command) = running_with(&[], disk.path(), STUBBORN);
    disk.fail(On::All, Fault::Error(Errno::ENODEV));
    holder.wait_for("No such device, it is gone from this machine", SLACK);
    let (writes, lease) = (disk.writes(), disk.image.lease());
    let is_gone = || kill(command, None) == Err(Errno::ESRCH);
    wait_until("the command is gone", lease + SLACK, is_gone);
    let ended = holder.end(2 * SLACK);
    assert_eq!(ended.code, 123, "{}", ended.err);
    assert_eq!(disk.writes(), writes);
    disk.heal();
    let told = run("mmpcheck", &[disk.name()]);
    assert_eq!(told.code, 0, "{}", told.said());
    disk.image.assert_fsck_clean();
}

fn vanished_while_claimed() {
    let disk = FaultyDisk::new(Image::new());
    let mut claimer = Running::start("mmpd", &["hold", disk.name()]);
    claimer.wait_for("claim written", SLACK);
    disk.fail(On::All, Fault::Error(Errno::ENODEV));
    let writes = disk.writes();
    let ended = claimer.end(GUARD + SLACK);
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("No such device"), "{}", ended.err);
    assert!(ended.err.contains("may be left in the MMP block"), "{}", ended.err);
    // It may have tried once to put back what was there.
    assert!(disk.writes() <= writes + 1);
    disk.heal();
    disk.image.assert_fsck_clean();
}
