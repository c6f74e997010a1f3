//! Twenty file systems at work, mounted and unmounted, held and checked, and not one alarm.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{Ended, Running, run, tool};
use super::common::suite::Suite;
use super::{SLACK, alarms};

/// File systems mounted at a time.
const COUNT: usize = 20;
/// How long, unless MMP_SOAK_SECONDS says otherwise.
const SECONDS: u64 = 60;

pub(super) fn cases(suite: &mut Suite) {
    suite.case("healthy/twenty_file_systems_under_load", under_load);
}

fn under_load() {
    let seconds = std::env::var("MMP_SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let images: Vec<_> = (0..COUNT).map(|_| Image::with(&[], "64M")).collect();
    let devices: Vec<_> = images.iter().map(|image| Loop::new(image.path())).collect();
    let names: Vec<_> = devices.iter().map(Loop::name).collect();
    let time = format!("{seconds}s");
    let arguments = [&["watch", "--for", &time], names.as_slice()].concat();
    let watch = Running::start("mmpd", &arguments);
    let over = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        for (index, device) in devices.iter().enumerate() {
            let (over, images) = (&over, &images);
            scope.spawn(move || {
                if index < COUNT - 3 {
                    work(device, index, over);
                } else {
                    pass_around(device, &images[index], over);
                }
            });
        }
        let ended = watch.end(Duration::from_secs(seconds) + 10 * SLACK);
        over.store(true, Ordering::SeqCst);
        ended
    });
    let Ended { code, err, .. } = ended;
    assert_eq!(alarms(&err), [""; 0], "{err}");
    assert_eq!((code, err.matches(": watched\n").count()), (0, COUNT), "{err}");
}

/// fio writes; every now and then the file system is unmounted and mounted again.
fn work(device: &Loop, index: usize, over: &AtomicBool) {
    let spell = Duration::from_secs(20 + 3 * index as u64);
    while !over.load(Ordering::SeqCst) {
        let mount = Mount::new(device.path()).expect("mount");
        let folder = format!("--directory={}", mount.dir().display());
        let fio = ["--name=load", "--rw=randrw", "--bs=4k-64k", "--size=16M", "--rate_iops=40"];
        // In one process: what it forks would outlive it, and keep the file system mounted.
        let more = ["--thread", "--time_based", "--runtime=1d", "--fsync=32", &folder];
        let fio = Running::start("fio", &[&fio[..], &more].concat());
        wait(spell, over);
        drop(fio);
        drop(mount);
        let mounted = run("findmnt", &["--source", device.name()]);
        assert_eq!(mounted.code, 1, "not unmounted: {}", mounted.out);
    }
}

/// Everybody else who may have it, one after the other.
fn pass_around(device: &Loop, image: &Image, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        drop(Mount::new(device.path()).expect("mount"));
        let held = run("mmprun", &[device.name(), "--", "sleep", "5"]);
        assert_eq!(held.code, 0, "{}", held.said());
        tool("mmpcheck", &[device.name()]);
        tool("tune2fs", &["-c", "0", image.name()]);
        let mount = Mount::new(device.path()).expect("mount");
        wait(Duration::from_secs(3), over);
        drop(mount);
        let fsck = run("e2fsck", &["-f", "-y", device.name()]);
        assert!(fsck.code <= 1, "{}", fsck.said());
    }
}

fn wait(time: Duration, over: &AtomicBool) {
    let end = Instant::now() + time;
    while Instant::now() < end && !over.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(100));
    }
}
