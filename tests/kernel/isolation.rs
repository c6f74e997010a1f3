//! Ten of a hundred devices hang, and the others do not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::Sequence;
use mmp::report::StatusFields;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::common::fuse::{Fuse, Mood};
use super::common::image::Image;
use super::common::program::{Running, run};
use super::common::suite::Suite;
use super::{GUARD, SLACK};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("ten_of_a_hundred_hang_and_the_others_are_on_time", ten_of_a_hundred);
}

const DEVICES: usize = 100;
const HUNG: usize = 10;

/// What `mmpd status` tells, by device.
fn status(dir: &Path) -> Vec<StatusFields> {
    #[derive(serde::Deserialize)]
    struct Document {
        devices: Vec<StatusFields>,
    }
    let dir = dir.to_str().expect("UTF-8");
    let told = run("mmpd", &["status", "--json", "--status-dir", dir]);
    let document: Document = serde_json::from_str(&told.out).expect("JSON");
    document.devices
}

fn ten_of_a_hundred() {
    // In memory: how busy the disk is is not the question.
    let folder = TempDir::new_in("/dev/shm").expect("folder");
    let template = Image::with(&["-O", "^has_journal", "-N", "16"], "1M");
    let paths: Vec<PathBuf> =
        (0..DEVICES).map(|n| folder.path().join(format!("{n:03}.img"))).collect();
    for path in &paths {
        fs::copy(template.path(), path).expect("copy");
    }
    let (below, well) = paths.split_at(HUNG);
    let disks: Vec<Fuse> = below.iter().map(|path| Fuse::over(path)).collect();
    let sick: Vec<PathBuf> = disks.iter().map(Fuse::path).collect();
    let sockets = TempDir::new().expect("folder");
    let told = folder.path().join("told");
    let command = format!("echo \"$MMP_DEVICE\" >>{}", told.display());
    let options = ["hold".as_ref(), "--on-loss".as_ref(), command.as_ref()];
    let options = options.into_iter().chain(["--status-dir".as_ref(), sockets.path().as_os_str()]);
    let devices = sick.iter().chain(well).map(|path| path.as_os_str());
    let mut holder = Running::start("mmpd", &options.chain(devices).collect::<Vec<_>>());
    for path in sick.iter().chain(well) {
        holder.wait_for(&format!("{}: held\n", path.display()), GUARD + 3 * SLACK);
    }
    thread::sleep(Duration::from_secs(2));

    let before = status(sockets.path());
    disks.iter().for_each(|disk| disk.set(Mood::Hung));
    let hung = Instant::now();
    let blocks = |paths: &[PathBuf]| -> Vec<Vec<u8>> {
        paths.iter().map(|path| fs::read(path).expect("read")).collect()
    };
    for path in &sick {
        holder.wait_for(&format!("{}: lost: ", path.display()), GUARD + SLACK);
    }
    let lost = hung.elapsed();
    // The last heartbeat before was up to a second old.
    let due = GUARD - Duration::from_secs(1)..GUARD + Duration::from_millis(500);
    assert!(due.contains(&lost), "lost after {lost:?}");
    thread::sleep(Duration::from_secs(30).saturating_sub(lost));
    let after = status(sockets.path());
    let left = blocks(below);
    disks.iter().for_each(|disk| disk.set(Mood::Well));
    for path in &sick {
        holder.wait_for(&format!("{}: lost: it answered again", path.display()), SLACK);
    }
    thread::sleep(SLACK);
    // A heartbeat that was under way when the disk hung may land; nothing is written after it.
    for (before, after) in left.iter().zip(blocks(below)) {
        let sequence = |image: &[u8]| Image::bytes(image).block().sequence().raw();
        let (before, after) = (sequence(before), sequence(&after));
        assert!(after == before || after == before + 1, "{before} to {after}");
    }

    let mut latest: f64 = 0.0;
    for device in well {
        let name = device.display().to_string();
        let find = |all: &[StatusFields]| {
            all.iter().find(|fields| fields.device == name).cloned().expect("device")
        };
        let (before, after) = (find(&before), find(&after));
        assert_eq!(after.state, "held");
        assert!(after.sequence >= before.sequence + 28, "{before:?} {after:?}");
        latest = latest.max(after.lateness.max_s());
    }
    println!("latest heartbeat of the others: {:.1} ms", 1000.0 * latest);
    // A beat was missed by none. How much less than a second it is, make bench tells.
    assert!(latest < 1.0, "{latest} s late");
    let told = fs::read_to_string(told).expect("the command ran");
    assert_eq!(told.lines().count(), HUNG, "{told}");
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.end(2 * SLACK).code, 1);
    for image in blocks(well) {
        assert_eq!(Image::bytes(&image).block().sequence(), Sequence::Clean);
    }
}
