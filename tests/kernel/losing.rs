//! Killed, stopped, hung, gone: what becomes of a holder, its command and its disk.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread;
use std::time::Duration;

use mmp::layout::Sequence;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::common::disk::Observer;
use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{Running, command, command_of, run, tool};
use super::common::suite::Suite;
use super::{GUARD, SLACK, Shared, held, vanish};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("killed_leaves_a_stale_block_for_the_next", killed);
    suite.case("stopped_mmpd_loses_and_writes_no_more", || stopped(&["mmpd", "hold"], &[], 1));
    suite.case("stopped_mmprun_loses_and_ends_its_command", || {
        stopped(&["mmprun"], &COMMAND, 123);
    });
    suite.case("hung_disk_ends_the_command_within_the_lease", hung);
    suite.case("vanished_disk_is_lost", vanished);
    suite.case("detached_loop_device_is_held_to_the_end", detached);
    suite.case("unread_messages_do_not_spare_the_command", unread);
    suite.case("signalled_while_claiming_puts_the_block_back", interrupted);
    suite.case("wait_takes_over_when_the_holder_releases", waits);
}

/// Tells its process number, then stays.
pub(super) const COMMAND: [&str; 4] = ["--", "sh", "-c", "echo pid=$$ >&2; exec sleep 300"];

fn killed() {
    let Shared { image, a, b } = Shared::new();
    let holder = held(a.path());
    holder.signal(Signal::SIGKILL);
    assert_eq!(holder.end(SLACK).code, 137);
    let left = image.block();
    let told = run("mmpcheck", &[b.name()]);
    assert_eq!(told.code, 0, "{}", told.said());
    assert!(told.out.contains("MMP is stale"), "{}", told.out);
    assert!((GUARD..GUARD + SLACK).contains(&told.took), "{:?}", told.took);
    assert_eq!(image.block(), left);
    let took = held(b.path()).age();
    assert!((2 * GUARD..2 * GUARD + SLACK).contains(&took), "{took:?}");
}

/// A holder that is stopped while another takes over; `code` is its exit code for a loss.
fn stopped(program: &[&str], command: &[&str], code: i32) {
    let Shared { image: _image, a, b } = Shared::new();
    let arguments = [&program[1..], &[a.name()], command].concat();
    let mut first = Running::start(program[0], &arguments);
    first.wait_for(if command.is_empty() { ": held\n" } else { "pid=" }, GUARD + SLACK);
    first.signal(Signal::SIGSTOP);
    let second = held(b.path());
    let took = second.age();
    let observer = Observer::start(b.path());
    thread::sleep(Duration::from_secs(30).saturating_sub(took));
    first.signal(Signal::SIGCONT);
    let lost = first.end(SLACK);
    assert_eq!(lost.code, code, "{}", lost.err);
    assert!(lost.err.contains(&format!("device '{}'", b.kernel_name())), "{}", lost.err);
    if !command.is_empty() {
        assert_eq!(kill(command_of(&lost.err), None), Err(Errno::ESRCH), "the command lives");
    }
    thread::sleep(Duration::from_secs(3));
    let samples = observer.stop();
    assert!(samples.len() > 3);
    for pair in samples.windows(2) {
        let [before, after] = pair else { unreachable!() };
        assert_eq!(after.block.device(), b.kernel_name(), "{samples:?}");
        assert_eq!(after.block.sequence(), before.block.sequence() + 1, "{samples:?}");
    }
    assert!(!second.err().contains("somebody else wrote"), "{}", second.err());
}

/// A file system that can be frozen, for an image to lie on: writes to the image then hang.
struct Freezer {
    mount: Mount,
    _device: Loop,
    _image: Image,
}

impl Freezer {
    fn new() -> Self {
        let image = Image::with(&[], "64M");
        let device = Loop::new(image.path());
        let mount = Mount::new(device.path()).expect("mount");
        Freezer { mount, _device: device, _image: image }
    }

    fn freeze(&self) {
        tool("fsfreeze", &["--freeze".as_ref(), self.mount.dir().as_os_str()]);
    }

    fn thaw(&self) {
        run("fsfreeze", &["--unfreeze".as_ref(), self.mount.dir().as_os_str()]);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
    }
}

fn hung() {
    let freezer = Freezer::new();
    let folder = TempDir::new_in(freezer.mount.dir()).expect("folder");
    let image = Image::at(folder, "disk.img", &Image::new().content());
    let device = Loop::new(image.path());
    let arguments = [&[device.name(), "--grace", "2s"], &COMMAND[..]].concat();
    let mut holder = Running::start("mmprun", &arguments);
    let started = holder.wait_for("pid=", GUARD + SLACK);
    thread::sleep(Duration::from_secs(2));
    freezer.freeze();
    let told = holder.wait_for("lost: no heartbeat has ended", GUARD + 2 * SLACK);
    assert!(told - started > GUARD - SLACK, "{told:?} after {started:?}");
    thread::sleep(Duration::from_secs(4));
    let command = command_of(&holder.err());
    assert_eq!(kill(command, None), Err(Errno::ESRCH), "the command lives: {}", holder.err());
    freezer.thaw();
    let lost = holder.end(3 * SLACK);
    assert_eq!(lost.code, 123, "{}", lost.err);
}

fn vanished() {
    let image = Image::new();
    let device = Loop::new(image.path());
    let mut holder = held(device.path());
    vanish(&image, &device);
    holder.wait_for("cannot read the MMP block", SLACK);
    holder.wait_for(": lost: ", GUARD + SLACK);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.lines().all(|line| line.starts_with("mmpd: ")), "{}", ended.err);
    assert!(ended.err.contains(device.name()), "{}", ended.err);
    assert_eq!(image.content(), b"", "written to what is gone");
}

/// The kernel keeps a loop device that is in use until its last user is gone.
fn detached() {
    let image = Image::new();
    let device = Loop::new(image.path());
    let holder = held(device.path());
    drop(device);
    let before = image.block().sequence().raw();
    thread::sleep(Duration::from_secs(3));
    assert!((before + 2..=before + 4).contains(&image.block().sequence().raw()));
    holder.signal(Signal::SIGTERM);
    let ended = holder.end(SLACK);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(image.block().sequence(), Sequence::Clean);
}

/// Standard error is a pipe that is full and that nobody reads.
fn unread() {
    let image = Image::new();
    let device = Loop::new(image.path());
    let (pipe, told) = (image.dir().join("pipe"), image.dir().join("pid"));
    mkfifo(&pipe, Mode::S_IRWXU).expect("pipe");
    let mut end = OpenOptions::new().read(true).write(true).open(&pipe).expect("pipe");
    end.write_all(&[b'x'; 65536]).expect("fill");
    let mmprun = command("mmprun", &[device.name(), "--grace", "1s", "--", "sh", "-c"]);
    let mut arguments: Vec<&OsStr> = vec!["-c".as_ref(), "exec \"$@\" 2>\"$0\"".as_ref()];
    arguments.extend([pipe.as_os_str(), mmprun.get_program()]);
    arguments.extend(mmprun.get_args());
    arguments.extend(["echo pid=$$ >$0; exec sleep 300".as_ref(), told.as_os_str()]);
    let holder = Running::start("sh", &arguments);
    thread::sleep(GUARD + SLACK);
    let command = command_of(&fs::read_to_string(told).expect("started"));
    vanish(&image, &device);
    assert_eq!(holder.end(GUARD + 2 * SLACK).code, 123);
    assert_eq!(kill(command, None), Err(Errno::ESRCH), "the command lives");
}

fn interrupted() {
    let Shared { image, a, b } = Shared::new();
    let before = image.content();
    let hold: &[&str] = &["hold", a.name()];
    for (name, arguments, signal, code) in [
        ("mmpd", hold, Signal::SIGTERM, 0),
        ("mmpd", hold, Signal::SIGINT, 0),
        ("mmprun", &[a.name(), "--", "true"], Signal::SIGTERM, 128 + 15),
        ("mmprun", &[a.name(), "--", "true"], Signal::SIGHUP, 128 + 1),
    ] {
        let mut claimer = Running::start(name, arguments);
        claimer.wait_for("claim written", SLACK);
        thread::sleep(Duration::from_secs(1));
        claimer.signal(signal);
        let ended = claimer.end(SLACK);
        assert_eq!(ended.code, code, "{}", ended.err);
        assert!(image.content() == before, "not as it was");
        let told = run("mmpcheck", &[b.name()]);
        assert_eq!(told.code, 0, "{}", told.said());
    }
}

fn waits() {
    let Shared { image: _image, a, b } = Shared::new();
    let first = held(a.path());
    let mut second = Running::start("mmpd", &["hold", "--wait", "1min", b.name()]);
    second.wait_for("waiting until it is released", 2 * SLACK);
    thread::sleep(Duration::from_secs(1));
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end(SLACK).code, 0);
    let took = second.wait_for(": held\n", 2 * GUARD);
    assert!(took >= GUARD, "{took:?}");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.end(SLACK).code, 0);
}
