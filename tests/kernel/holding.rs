//! While a device is held, by us or by the kernel.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::{MMP_SIZE, MmpBlock, Sequence};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::common::disk::{CLEAN, Disk, Observer, Sample};
use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{Running, run, tool};
use super::common::suite::Suite;
use super::{GUARD, SLACK, Shared, held};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("held_is_refused_to_the_kernel_and_all_tools", held_is_refused);
    suite.case("mounted_is_refused_to_all_programs", mounted_is_refused);
    suite.case("held_for_a_minute_beats_once_a_second", beats_once_a_second);
    suite.case("used_on_this_machine_is_refused_at_once", used_here_is_refused);
    suite.case("held_image_is_refused_to_the_kernel", held_image_is_refused);
    for (sector, block, fits) in
        [("512", "1024", true), ("4096", "4096", true), ("4096", "1024", false)]
    {
        let name = format!("sectors_of_{sector}_under_blocks_of_{block}");
        suite.case(name, move || sectors(sector, block, fits));
    }
}

fn node() -> String {
    tool("hostname", &[""; 0]).trim().to_owned()
}

fn held_is_refused() {
    let Shared { image, a, b } = Shared::new();
    let holder = held(a.path());
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(Mount::new(b.path()).map(drop), Err(Errno::EBUSY)));
        scope.spawn(|| {
            let told = run("e2mmpstatus", &[b.name()]);
            assert_eq!(told.code, 1, "{}", told.said());
            let (node, device) = (node(), a.kernel_name());
            assert!(told.said().contains(&format!("'{node}{device}'")), "{}", told.said());
        });
        scope.spawn(|| {
            let told = run("mmpcheck", &[b.name()]);
            assert_eq!(told.code, 1, "{}", told.said());
            assert!(told.took < SLACK, "{:?}", told.took);
            assert!(told.out.contains(&format!("node '{}' device '{}'", node(), a.kernel_name())));
        });
    });
    let patient = Running::start("mmpcheck", &["--wait", "1min", b.name()]);
    thread::sleep(SLACK);
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let told = patient.end(SLACK);
    assert_eq!(told.code, 0, "{}", told.said());
    assert_eq!(Disk::open(b.path()).mmp().sequence(), CLEAN);
    image.assert_fsck_clean();
    Mount::new(b.path()).expect("the kernel mounts what was released");
}

fn mounted_is_refused() {
    let Shared { image, a, b } = Shared::new();
    let mount = Mount::new(a.path()).expect("mount");
    tool("sync", &[mount.dir()]);
    thread::sleep(Duration::from_secs(1));
    let place = usize::try_from(image.area().offset.0).expect("small");
    let rest = || {
        let mut content = image.content();
        content.drain(place..place + MMP_SIZE);
        content
    };
    let before = rest();
    let observer = Observer::start(b.path());
    thread::scope(|scope| {
        scope.spawn(|| {
            let told = run("e2mmpstatus", &[b.name()]);
            assert_eq!(told.code, 1, "{}", told.said());
            assert!(told.took > Duration::from_secs(20), "{:?}", told.took);
        });
        scope.spawn(|| {
            for _ in 0..3 {
                refused("mmpcheck", &[b.name()], 1, &a);
            }
        });
        scope.spawn(|| {
            refused("mmpd", &["hold", b.name()], 1, &a);
            refused("mmprun", &[b.name(), "--", "true"], 121, &a);
        });
    });
    assert_eq!(rest(), before, "bytes outside the MMP block changed");
    let samples = observer.stop();
    assert!(samples.len() >= 4, "{samples:?}");
    for pair in samples.windows(2) {
        let [before, after] = pair else { unreachable!() };
        assert_eq!(after.block.sequence(), before.block.sequence() + 1, "{samples:?}");
        assert_eq!(after.block.device(), a.kernel_name());
    }
}

/// A program finds `holder`'s kmmpd at work, and names it, within 7 s.
fn refused(name: &str, arguments: &[&str], code: i32, holder: &Loop) {
    let told = run(name, arguments);
    assert_eq!(told.code, code, "{}", told.said());
    assert!(told.took < Duration::from_secs(7), "{name}: {:?}", told.took);
    let who = format!("node '{}' device '{}' at ", node(), holder.kernel_name());
    assert!(told.said().contains(&who), "{}", told.said());
}

fn beats_once_a_second() {
    let image = Image::with(&["-O", "^metadata_csum", "-b", "4096"], "16M");
    let area = image.area();
    // Everything that is not ours to write is filled with something that would show a change.
    let mut raw = *image.block().as_bytes();
    raw[0x72..].fill(0x5A);
    image.put(&MmpBlock::from_bytes(raw));
    image.patch(area.offset.0 + MMP_SIZE as u64, &[0xA5; 3072]);
    let (a, b) = (Loop::new(image.path()), Loop::new(image.path()));
    let before = image.content();

    let holder = held(a.path());
    // What else the machine has to do is not the question here.
    tool("chrt", &["--all-tasks", "--fifo", "--pid", "10", &holder.pid().to_string()]);
    let observer = Observer::start(b.path());
    assert_direct(holder.pid(), a.path());
    thread::sleep(Duration::from_secs(60));
    let samples = observer.stop();
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 0);

    assert!((59..=62).contains(&samples.len()), "{} heartbeats in 60 s", samples.len());
    assert_steady(&samples[1..], &ended.err);
    for sample in &samples {
        assert_eq!(sample.block.device(), a.kernel_name());
        assert!(sample.block.0[0x72..] == raw[0x72..], "padding changed");
    }
    let after = image.content();
    let start = usize::try_from(area.offset.0).expect("small");
    let (end, names) = (start + MMP_SIZE, 0x72);
    assert!(before[..start] == after[..start] && before[end..] == after[end..], "other blocks");
    assert!(before[start + names..end] == after[start + names..end], "other bytes of the block");
}

/// Each sequence is one more than the last, and there is a schedule of one a second from which no
/// heartbeat is further than 100 ms. What is known of each is the span in which it appeared.
fn assert_steady(samples: &[Sample], said: &str) {
    let origin = samples[0].absent;
    let first = samples[0].block.sequence();
    let mut spans = Vec::new();
    for (beat, sample) in (0u32..).zip(samples) {
        assert_eq!(sample.block.sequence(), first + beat, "{said}{samples:?}");
        let since = |at: Instant| at.duration_since(origin).as_secs_f64() - f64::from(beat);
        spans.push((since(sample.absent) - 0.1, since(sample.present) + 0.1));
    }
    let (_, latest) = spans.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).expect("beats");
    let late: Vec<_> = spans.iter().enumerate().filter(|(_, span)| span.0 > latest).collect();
    assert!(late.is_empty(), "beats that no schedule up to {latest} s fits: {late:?}");
}

/// All descriptors that `process` has on `device` are O_DIRECT, and there is one.
fn assert_direct(process: Pid, device: &Path) {
    let mut found = 0;
    for entry in fs::read_dir(format!("/proc/{process}/fd")).expect("fd").flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target == device) {
            let info = Path::new("/proc").join(process.to_string()).join("fdinfo");
            let info = fs::read_to_string(info.join(entry.file_name())).expect("fdinfo");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
            let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
            assert_ne!(flags & nix::libc::O_DIRECT, 0, "{info}");
            found += 1;
        }
    }
    assert_eq!(found, 1, "descriptors on {}", device.display());
}

fn used_here_is_refused() {
    let image = Image::new();
    let device = Loop::new(image.path());
    let refused = |name: &str, arguments: &[&str], code: i32, why: &str| {
        let told = run(name, arguments);
        assert_eq!(told.code, code, "{}", told.said());
        assert!(told.took < SLACK && told.err.contains(why), "{:?}: {}", told.took, told.said());
    };
    refused("mmpd", &["hold", image.name()], 1, device.name());
    {
        let mount = Mount::new(device.path()).expect("mount");
        let dir = mount.dir().to_str().expect("UTF-8");
        refused("mmpd", &["hold", device.name()], 1, dir);
        refused("mmprun", &[device.name(), "--", "true"], 121, dir);
    }
    let _holder = held(device.path());
    refused("mmpd", &["hold", device.name()], 1, "in use on this machine");
    assert_eq!(Mount::new(device.path()).map(drop), Err(Errno::EBUSY));
}

/// A loop device bound to an image that is held already gets the kernel no further.
fn held_image_is_refused() {
    let image = Image::new();
    let _holder = held(image.path());
    let device = Loop::new(image.path());
    assert_eq!(Mount::new(device.path()).map(drop), Err(Errno::EBUSY));
}

/// A disk of other sectors is held and released; where no kernel can mount it, it is refused.
fn sectors(sector: &str, block: &str, fits: bool) {
    let image = Image::with(&["-b", block], "16M");
    let device = Loop::with(image.path(), &["--sector-size", sector]);
    if !fits {
        let told = run("mmpd", &["hold", device.name()]);
        assert_eq!(told.code, 2, "{}", told.said());
        return assert!(told.err.contains("sectors of 4096 bytes"), "{}", told.err);
    }
    let holder = held(device.path());
    let took = holder.age();
    assert!(took >= GUARD, "{took:?}");
    assert_direct(holder.pid(), device.path());
    holder.signal(Signal::SIGINT);
    assert_eq!(holder.end(SLACK).code, 0);
    assert_eq!(image.block().sequence(), Sequence::Clean);
    image.assert_fsck_clean();
}
