//! What is mounted on this machine: frozen, given up, coming and going.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{Running, assert_ended, command, ended, run, tool};
use super::common::suite::Suite;
use super::{KERNEL_GUARD, SLACK, UPDATE, alarms, told, watch};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("local/frozen_and_thawed", frozen);
    suite.case("local/made_read_only_by_an_error", error);
    suite.case("local/read_only_because_asked_for", read_only);
    suite.case("local/mounts_come_and_go", come_and_go);
    suite.case("local/watched_devices_can_be_detached", detached);
    suite.case("local/what_is_gone_is_unreadable", gone);
    suite.case("local/another_file_system_in_its_place", replaced);
    suite.case("local/what_cannot_be_opened_is_not_watched_in_silence", unopened);
    suite.case("local/a_crashed_holder_is_silent", crashed);
}

fn frozen() {
    let image = Image::with(&[], "64M");
    let device = Loop::new(image.path());
    let mount = Mount::new(device.path()).expect("mount");
    let mut watch = watch(device.path());
    thread::sleep(UPDATE + Duration::from_secs(1));
    tool("fsfreeze", &["--freeze".as_ref(), mount.dir().as_os_str()]);
    let event = Instant::now();
    watch.wait_for("frozen: ", Duration::from_secs(10));
    println!("       frozen: {:.1} s", event.elapsed().as_secs_f64());
    thread::sleep(KERNEL_GUARD);
    tool("fsfreeze", &["--unfreeze".as_ref(), mount.dir().as_os_str()]);
    told(&mut watch, "frozen: cleared", Instant::now(), UPDATE);
    assert_eq!(alarms(&watch.err()), ["frozen", "frozen"]);
    assert!(watch.err().contains("the kernel waits for a thaw"), "{}", watch.err());
}

fn error() {
    let image = Image::with(&["-e", "remount-ro"], "64M");
    let device = Loop::new(image.path());
    let _mount = Mount::new(device.path()).expect("mount");
    let mut watch = watch(device.path());
    let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", device.kernel_name());
    fs::write(trigger, "a test").expect("trigger");
    let event = Instant::now();
    told(&mut watch, "clean-while-mounted: mounted here, but clean", event, 3 * UPDATE);
    assert!(watch.err().contains("made it read-only"), "{}", watch.err());
    assert_eq!(alarms(&watch.err()), ["clean-while-mounted"]);
}

fn read_only() {
    let image = Image::with(&[], "64M");
    let device = Loop::new(image.path());
    let mounted = Mount::new(device.path()).expect("mount");
    let watch = watch(device.path());
    let remount = |flags| {
        let flags = MsFlags::MS_REMOUNT | flags;
        mount(None::<&str>, mounted.dir(), None::<&str>, flags, None::<&str>).expect("remount");
    };
    for _ in 0..2 {
        remount(MsFlags::MS_RDONLY);
        thread::sleep(UPDATE);
        remount(MsFlags::empty());
        thread::sleep(UPDATE);
    }
    assert_eq!(alarms(&watch.err()), [""; 0]);
}

fn come_and_go() {
    let image = Image::with(&[], "64M");
    // A device that is named is watched once, by whatever path it is found.
    let link = image.dir().join("link");
    let named = Loop::new(image.path());
    symlink(named.path(), &link).expect("link");
    let link = link.to_str().expect("UTF-8");
    let mut watch = Running::start("mmpd", &["watch", "--mounted", link]);
    thread::sleep(SLACK);
    let first = Mount::new(named.path()).expect("mount");
    thread::sleep(SLACK);
    drop(first);
    assert!(!watch.err().contains(&format!("{}: ", named.name())), "{}", watch.err());
    let device = Loop::new(image.path());
    let line = |what: &str| format!("mmpd: {}: {what}\n", device.name());
    let mount = Mount::new(device.path()).expect("mount");
    told(&mut watch, &line("watched"), Instant::now(), 2 * UPDATE);
    drop(mount);
    told(&mut watch, &line("gone; no longer watched"), Instant::now(), 2 * UPDATE);
    let of_ours = watch.err();
    let ours = format!("{}: ", device.name());
    let of_ours: Vec<_> = of_ours.lines().filter(|line| line.contains(&ours)).collect();
    assert_eq!(of_ours.len(), 2, "{of_ours:?}");
}

/// A device that is watched is not in use.
fn detached() {
    let image = Image::with(&[], "64M");
    let device = Loop::new(image.path());
    let watch = watch(device.path());
    // A look may be under way: the kernel then detaches it when that is over. Somebody else may
    // have it for another image right after.
    device.detach();
    let event = Instant::now();
    while !run("losetup", &["--associated", image.name()]).out.is_empty() {
        assert!(event.elapsed() < SLACK, "still bound");
        thread::sleep(Duration::from_millis(20));
    }
    drop(watch);
}

/// Without size, as a loop device is that was detached.
fn gone() {
    let image = Image::with(&[], "64M");
    let mut watch = watch(image.path());
    OpenOptions::new().write(true).open(image.path()).expect("open").set_len(0).expect("truncate");
    told(&mut watch, "it is gone from this machine; check the paths", Instant::now(), 2 * UPDATE);
}

/// As long as the superblock is relied on, 30 s, it may go unseen.
fn replaced() {
    let image = Image::with(&[], "64M");
    let mut watch = watch(image.path());
    let other = Image::with(&[], "64M");
    fs::copy(other.path(), image.path()).expect("copy");
    let seen = Duration::from_secs(30) + SLACK;
    told(&mut watch, "another file system than before is there", Instant::now(), seen);
}

fn unopened() {
    const NOBODY: u32 = 65534;
    let image = Image::with(&[], "64M");
    let _device = Loop::new(image.path());
    let folder = TempDir::new().expect("folder");
    let mmpd = folder.path().join("mmpd");
    // By another program: what this one has open for writing, one that it starts has for a moment too,
    // and then it cannot be executed.
    let built = command("mmpd", &[""]).get_program().to_owned();
    tool("cp", &[built.as_os_str(), mmpd.as_os_str()]);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
    let watch = ["watch", "--all", "--for", "1min"];
    let ended = ended(Command::new(mmpd).args(watch).uid(NOBODY).gid(NOBODY));
    assert_ended(&ended, 2, &["cannot open: Permission denied", "it takes root"]);
}

/// The block is left as a crash leaves it.
fn crashed() {
    let image = Image::with(&[], "64M");
    let device = Loop::new(image.path());
    let mount = Mount::new(device.path()).expect("mount");
    thread::sleep(UPDATE + Duration::from_secs(1));
    let left = image.block();
    drop(mount);
    image.put(&left);
    let mut watch = watch(image.path());
    let event = Instant::now();
    told(&mut watch, "stalled: left in use by", event, KERNEL_GUARD + 2 * UPDATE + SLACK);
    assert!(event.elapsed() > KERNEL_GUARD);
}
