//! A stand-in for mount.lustre: what it is given, and what it may do without harm.

use std::fs;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::{Names, Sequence};
use nix::sys::signal::Signal;

use crate::common::beside::beside;
use crate::common::disk::{CLEAN, Disk};
use crate::common::namespace::stand_in;
use crate::common::program::{Running, run};
use crate::common::suite::Suite;
use crate::stage::{Stage, staged};
use crate::{GUARD, SLACK, assert_ended, assert_took};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a mount.lustre that takes MMP itself", || staged(taking_mmp));
    suite.case("a mount.lustre that takes MMP itself and fails", || staged(taking_mmp_and_failing));
    suite.case("mount.lustre gets what mount(8) gives it", || staged(arguments));
    suite.case("'mmp' alone is lustre where mount.lustre is", || staged(default_type));
    suite.case("a mount.lustre that fails", || staged(failing));
    suite.case("a mount.lustre that retries for ever is ended by SIGTERM", || staged(retrying));
    suite.case("a slow mount is confirmed", || staged(slow));
    suite.case("a slow mount that somebody else overtook is undone", || staged(overtaken));
    suite.case("a slow mount that is unmounted here is not taken for two", || staged(left));
}

/// Ends the stand-in by a real mount, without the helper it stands for.
const MOUNT: &str = "exec mount -i -t ext4 \"$1\" \"$2\"";

fn arguments(stage: &Stage) {
    let record = stage.dir("record");
    stand_in(
        "mount.lustre",
        &format!("{{ for a in \"$@\"; do echo \"[$a]\"; done; }} >> {}", record.display()),
    );
    let recorded = |arguments: &[&str], fstype: &str| {
        let _ = fs::remove_file(&record);
        let dir = stage.dir("a");
        let place = [stage.a.name(), dir.to_str().expect("UTF-8"), "-t", fstype];
        assert_ended(&run("mount", &[arguments, &place].concat()), 0, &[]);
        fs::read_to_string(&record).expect("record")
    };
    for (plain, ours) in [
        (&["-o", "flock"][..], &["-o", "flock,mmp.mode=check"][..]),
        (&[], &["-o", "mmp.mode=check"]),
        (&["-n", "-s", "-v", "-r"], &["-n", "-s", "-v", "-r", "-o", "mmp.mode=check"]),
        (&["-f"], &["-f", "-o", "mmp.wait=3"]),
        (
            &["-o", "user_xattr,_netdev,mgsnode=a@tcp:b@tcp,retry=3"],
            &["-o", "user_xattr,mmp.mode=check,_netdev,mgsnode=a@tcp:b@tcp,retry=3"],
        ),
    ] {
        let (plain, ours) = (recorded(plain, "lustre"), recorded(ours, "mmp.lustre"));
        assert_eq!(ours, plain);
        assert!(plain.starts_with(&format!("[{}]\n", stage.a.name())), "{plain}");
    }
}

fn default_type(stage: &Stage) {
    stand_in("mount.lustre", "echo stand-in");
    let arguments = stage.arguments_for("mmp", stage.a.name(), "a", "mmp.mode=check");
    assert_ended(&run("mount", &arguments), 0, &["stand-in"]);
}

fn lustre(stage: &Stage, options: &str) -> Vec<String> {
    stage.arguments_for("mmp.lustre", stage.a.name(), "a", options)
}

fn failing(stage: &Stage) {
    stand_in("mount.lustre", "echo \"mount.lustre: no MGS\" >&2; exit 5");
    for mode in ["guard", "strict"] {
        let ended = run("mount", &lustre(stage, &format!("mmp.mode={mode}")));
        assert_ended(&ended, 5, &["no MGS"]);
        assert_eq!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
    }
}

fn retrying(stage: &Stage) {
    stand_in("mount.lustre", "while :; do echo retrying >&2; sleep 32; done");
    let dir = stage.dir("a");
    let arguments = [stage.a.name(), dir.to_str().expect("UTF-8"), "-t", "mmp.lustre"];
    let mut helper = Running::start("/sbin/mount.mmp", &arguments);
    helper.wait_for("retrying", 2 * GUARD);
    thread::sleep(Duration::from_secs(3));
    // Nothing is held meanwhile, on this machine or by the block.
    assert_ended(&run("e2fsck", &["-f", "-p", stage.a.name()]), 0, &[]);
    helper.signal(Signal::SIGTERM);
    assert_ended(&helper.end(Duration::from_secs(2)), 8, &["interrupted"]);
    assert_eq!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
}

fn taking_mmp(stage: &Stage) {
    // tune2fs takes MMP as mount.lustre does when it must rewrite its configuration.
    stand_in("mount.lustre", &format!("tune2fs -L renamed \"$1\" && {MOUNT}"));
    let ended = run("mount", &lustre(stage, ""));
    assert_ended(&ended, 0, &["watching that nobody else did"]);
    assert_took(&ended, 3 * GUARD, 5 * GUARD);
    assert_eq!(stage.mounted("a"), "ext4");
}

fn taking_mmp_and_failing(stage: &Stage) {
    stand_in("mount.lustre", "tune2fs -L renamed \"$1\" && exit 7");
    assert_ended(&run("mount", &lustre(stage, "")), 7, &[]);
    assert_eq!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
}

fn slow(stage: &Stage) {
    stand_in("mount.lustre", &format!("sleep 12; {MOUNT}"));
    let ended = run("mount", &lustre(stage, ""));
    assert_ended(&ended, 0, &["watching that nobody else did"]);
    // The kernel publishes 10 s as soon as it has mounted: its guard interval is 21 s.
    let done = GUARD + Duration::from_secs(12) + Duration::from_secs(21);
    assert_took(&ended, done, done + 4 * SLACK);
    assert_eq!(stage.mounted("a"), "ext4");
}

fn left(stage: &Stage) {
    stand_in("mount.lustre", &format!("sleep 12; {MOUNT}"));
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(GUARD + Duration::from_secs(15));
            stage.umount("a");
        });
        run("mount", &lustre(stage, ""))
    });
    assert_ended(&ended, 32, &["somebody on this machine"]);
    assert!(!ended.err.contains("two nodes"), "{}", ended.err);
}

/// Another node that uses the disk too: writes its own sequences, as a second kernel would.
fn overtaken(stage: &Stage) {
    stand_in("mount.lustre", &format!("sleep 12; {MOUNT}"));
    let area = stage.image.area();
    let disk = fs::OpenOptions::new().write(true).open(stage.b.path()).expect("open");
    let names = Names::new(b"other-node", b"sdz");
    let began = Instant::now();
    let mut sequence = Sequence::Active(40);
    let heartbeat = || {
        // From the time our mount is there.
        if began.elapsed() > GUARD + Duration::from_secs(13) {
            let block = stage.image.block().with_names(&names).with_sequence(sequence);
            disk.write_all_at(&block.sealed(area.checksum), area.offset.0).expect("write");
            disk.sync_all().expect("sync");
            sequence = sequence.next();
        }
    };
    let ended = beside(Duration::from_secs(3), heartbeat, || run("mount", &lustre(stage, "")));
    assert_ended(&ended, 32, &["two nodes", "other-node", "unmounted here", "e2fsck"]);
    assert_eq!(stage.mounted("a"), "");
}
