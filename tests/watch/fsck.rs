//! e2fsck at work, and killed.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::common::image::Image;
use super::common::program::{Running, run};
use super::common::suite::Suite;
use super::{SLACK, alarms, told, watch};

/// e2fsck claims as everybody does, and then checks.
const BEGUN: Duration = Duration::from_secs(60);
/// It renews the block after 60 s; the passes must take longer than that.
const RENEWED: Duration = Duration::from_secs(90);
/// Two renewals missed.
const DEAD: Duration = Duration::from_secs(132);

pub(super) fn cases(suite: &mut Suite) {
    suite.case("fsck/killed", killed);
    suite.case("fsck/at_work", at_work);
}

/// e2fsck on a file system large enough to be met at work, once its block says so. Without
/// checksums it looks at every inode, used or not, and at each renews the block if it is due.
fn begun() -> (Image, Running) {
    let plain = "^has_journal,^metadata_csum,^uninit_bg,^resize_inode";
    let image = Image::sparse(&["-O", plain, "-N", "4000000"], 256 << 30);
    let fsck = Running::start("e2fsck", &["-f", "-y", image.name()]);
    let deadline = Instant::now() + BEGUN;
    while !run("mmpdump", &["-i", image.name()]).out.contains("mmp_sequence: 0xe24d4d50") {
        assert!(Instant::now() < deadline, "e2fsck does not begin: {}", fsck.err());
        thread::sleep(Duration::from_millis(20));
    }
    (image, fsck)
}

fn killed() {
    let (image, fsck) = begun();
    fsck.signal(Signal::SIGKILL);
    let event = Instant::now();
    assert_eq!(fsck.end(SLACK).code, 128 + 9, "it was over already");
    let mut watch = watch(image.path());
    told(&mut watch, "fsck-dead", event, DEAD + 5 * SLACK);
    assert!(event.elapsed() > DEAD);
    assert_eq!(alarms(&watch.err()), ["fsck-dead"]);
    assert!(watch.err().contains("mmptune -f -E clear_mmp"), "{}", watch.err());
}

/// It gets the processor for moments only, so that it takes its time as on a slow disk.
fn at_work() {
    let (image, fsck) = begun();
    fsck.signal(Signal::SIGSTOP);
    let watch = watch(image.path());
    let event = Instant::now();
    while !watch.err().contains("fsck-alive") {
        assert!(event.elapsed() < RENEWED, "no sign of life: {}", watch.err());
        fsck.signal(Signal::SIGCONT);
        thread::sleep(Duration::from_millis(10));
        fsck.signal(Signal::SIGSTOP);
        thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(alarms(&watch.err()), ["fsck-alive"]);
    fsck.signal(Signal::SIGCONT);
    assert_eq!(fsck.end(60 * SLACK).code, 0);
    thread::sleep(SLACK);
    assert_eq!(alarms(&watch.err()), ["fsck-alive", "fsck-alive"]);
}
