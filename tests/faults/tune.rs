//! `mmptune` on a device that fails at each of its operations in turn.

use nix::errno::Errno;

use crate::common::image::Image;
use crate::common::program::{Running, run};
use crate::common::suite::Suite;
use crate::disk::{Fault, FaultyDisk, On};
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
}

/// Several groups, so that there are backups.
fn image(mmp: bool) -> Image {
    let feature = if mmp { "mmp" } else { "^mmp" };
    Image::with(&["-b", "1024", "-N", "16", "-O", feature], "12M")
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
