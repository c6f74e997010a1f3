//! How an alarm is told: lines, JSON, a command, metrics; and what is no device.

use std::fs;
use std::time::{Duration, Instant};

use mmp::layout::MmpBlock;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::common::image::Image;
use super::common::program::{Running, run};
use super::common::suite::Suite;
use super::{SLACK, UPDATE};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("telling/lines_json_command_and_metrics", all_ways);
    suite.case("telling/for_a_time", for_a_time);
    suite.case("telling/what_is_no_device", no_device);
    suite.case("telling/systemd", systemd);
}

/// A block with a wrong checksum and names full of escape sequences, and the one it was.
pub(super) fn damage(image: &Image) -> MmpBlock {
    let whole = image.block();
    let mut raw = *whole.as_bytes();
    for (index, byte) in raw[0x10..0x70].iter_mut().enumerate() {
        *byte = b"\x1b]0;\x07\x1b[2J\n\r\x08\x9b\xff'\"$(id)`"[index % 21];
    }
    image.patch(image.area().offset.0, &raw);
    whole
}

fn all_ways() {
    let image = Image::new();
    let (log, metrics) = (image.dir().join("log"), image.dir().join("mmp.prom"));
    let script = format!(
        "printf '%s|%s|%s|%s\\n' \"$MMP_DEVICE\" \"$MMP_ALARM\" \"$MMP_STATE\" \"$MMP_REASON\" >>{}",
        log.display()
    );
    let output = metrics.to_str().expect("UTF-8");
    let more = ["--on-alarm", &script, "-o", output, image.name()];
    let json = Running::start("mmpd", &[&["watch", "--json"], &more[..]].concat());
    let mut lines = Running::start("mmpd", &["watch", image.name()]);
    lines.wait_for(": watched\n", 2 * UPDATE);
    until("metrics", || metrics.exists());
    let read = || fs::read_to_string(&metrics).unwrap_or_default();
    let sample = |value: u8| {
        let device = image.name();
        format!("mmp_alarm{{device=\"{device}\",alarm=\"bad-checksum\"}} {value}\n")
    };
    until("no alarm", || read().contains(&sample(0)));
    let whole = damage(&image);
    lines.wait_for("bad-checksum: MMP block checksum does not match", 5 * SLACK);
    until("an alarm in the metrics", || read().contains(&sample(1)));
    assert!(read().contains("state=\"bad checksum\""), "{}", read());
    image.put(&whole);
    lines.wait_for("bad-checksum: cleared\n", 5 * SLACK);
    until("two commands", || fs::read_to_string(&log).is_ok_and(|log| log.lines().count() == 2));
    let log = fs::read_to_string(&log).expect("log");
    let told: Vec<Vec<_>> = log.lines().map(|line| line.splitn(4, '|').collect()).collect();
    assert_eq!(told[0][..3], [image.name(), "bad-checksum", "raised"]);
    assert!(told[0][3].contains(r"\x1b[2J"), "{log}");
    assert_eq!(told[1], [image.name(), "bad-checksum", "cleared", ""]);
    json.signal(Signal::SIGTERM);
    let ended = json.end(SLACK);
    assert_eq!(ended.code, 0, "{}", ended.said());
    let objects: Vec<Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let field = |name: &str| objects.iter().map(|o| o[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("state"), ["raised", "cleared"]);
    assert_eq!(field("alarm"), ["bad-checksum", "bad-checksum"]);
    assert_eq!(field("device"), [image.name(), image.name()]);
    assert_eq!(field("version"), [1, 1]);
    for text in [&ended.out, &lines.err()] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
}

#[track_caller]
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + 5 * SLACK;
    while !is_so() {
        assert!(Instant::now() < end, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn for_a_time() {
    let image = Image::new();
    let watch = || run("mmpd", &["watch", "--for", "3s", image.name()]);
    let well = watch();
    assert_eq!((well.code, well.err.lines().count()), (0, 1), "{}", well.err);
    assert!(well.took >= Duration::from_secs(3), "{:?}", well.took);
    damage(&image);
    let ill = watch();
    assert_eq!((ill.code, ill.err.lines().count()), (1, 2), "{}", ill.err);
}

fn no_device() {
    let no_mmp = Image::with(&["-O", "^mmp"], "16M");
    let no_ext4 = Image::bytes(&[0; 1 << 20]);
    for (device, why) in [
        (no_mmp.name(), "MMP"),
        (no_ext4.name(), "not an ext2/ext3/ext4"),
        ("/nonexistent", "No such file"),
        ("LABEL=no such label, ever", "no block device"),
        ("/", "a directory"),
    ] {
        let ended = run("mmpd", &["watch", device]);
        assert_eq!((ended.code, ended.err.lines().count()), (2, 1), "{}", ended.err);
        assert!(ended.err.contains(why) && ended.err.contains(device), "{}", ended.err);
    }
    assert_eq!(run("mmpd", &["watch"]).code, 2);
    assert_eq!(run("mmpd", &["watch", "--all", "--mounted"]).code, 2);
    assert_eq!(run("mmpd", &["watch", "-o", "/nonexistent/x.prom", no_mmp.name()]).code, 2);
}

/// READY once it watches, a watchdog, STOPPING.
fn systemd() {
    use std::os::unix::net::UnixDatagram;
    let image = Image::new();
    let path = image.dir().join("notify");
    let socket = UnixDatagram::bind(&path).expect("socket");
    socket.set_read_timeout(Some(5 * SLACK)).expect("timeout");
    let mut command = super::common::program::command("mmpd", &["watch", image.name()]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("mmpd");
    let wait_for = |what: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("no {what}: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).contains(what) {
                return;
            }
        }
    };
    wait_for("READY=1");
    wait_for("STATUS=watching 1, alarms: 0");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    damage(&image);
    wait_for("STATUS=watching 1, alarms: 1");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("pid"));
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("signal");
    wait_for("STOPPING=1");
    assert!(child.wait().expect("wait").success());
}
