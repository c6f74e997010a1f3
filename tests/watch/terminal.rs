//! `mmpwatch` on a real terminal.

use std::path::PathBuf;

use tempfile::TempDir;

use super::common::hostile::{self, assert_harmless};
use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{command, run, tool};
use super::common::suite::Suite;
use super::telling::{damage, until};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("terminal/eighty_by_twenty_four_and_other_sizes", sizes);
    suite.case("terminal/why_a_device_is_not_read", not_read);
    suite.case("terminal/hostile_names_do_not_drive_it", hostile_names);
    suite.case("terminal/colours_unless_they_are_not_wanted", colours);
    suite.case("terminal/what_is_no_device_or_no_terminal", refused);
}

/// A terminal of its own, 80 by 24, in which a command runs.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn new(image: &Image, variables: &str, devices: &[&str]) -> Self {
        let terminal = Terminal { socket: image.dir().join("tmux") };
        let mmpwatch = command("mmpwatch", devices);
        let mut line = format!("{variables} {}", mmpwatch.get_program().display());
        for device in devices {
            line += &format!(" '{device}'");
        }
        line += "; echo left with $?; exec sleep 600";
        let size = ["-x", "80", "-y", "24"];
        let recorded = format!("cat >'{}'", terminal.record().display());
        let record = [";", "pipe-pane", &recorded];
        // Started without a terminal of its own it knows of none.
        let start = ["-f", "/dev/null", "new-session", "-d"];
        terminal.tmux(&[&start[..], &size, &[&line], &record].concat());
        terminal
    }

    /// The file into which all goes that is written to the terminal.
    fn record(&self) -> PathBuf {
        self.socket.with_extension("record")
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = ["-u", "-S", self.socket.to_str().expect("UTF-8")];
        tool("tmux", &[&socket[..], arguments].concat())
    }

    fn lines(&self) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p"]);
        screen.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until a line contains all of these words; that line's number.
    #[track_caller]
    fn wait_for(&self, words: &[&str]) -> usize {
        let found = |lines: Vec<String>| {
            lines.iter().position(|line| words.iter().all(|word| line.contains(word)))
        };
        // Kept, for it may be gone again: a screen is drawn anew.
        let mut place = None;
        until(&format!("{words:?}"), || {
            place = found(self.lines());
            place.is_some()
        });
        place.expect("found")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.socket.to_str().expect("UTF-8");
        run("tmux", &["-S", socket, "kill-server"]);
    }
}

fn sizes() {
    let (mounted, other) = (Image::with(&[], "64M"), Image::new());
    let device = Loop::new(mounted.path());
    let _mount = Mount::new(device.path()).expect("mount");
    let terminal = Terminal::new(&other, "", &[device.name(), other.name()]);
    let name = device.kernel_name();
    let here = format!("{name} (");
    assert_eq!(terminal.wait_for(&[device.name(), "in use", &here, "0x0000", "░"]), 2);
    let lines = terminal.lines();
    assert_eq!(lines[0], " mmpwatch   devices: 2   alarms: 0   q leaves");
    let heading: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(heading, ["DEVICE", "STATE", "HOLDER", "SEQUENCE", "AGE", "PACE"]);
    assert!(lines[3].contains(" clean "), "{lines:#?}");
    assert!(lines[4..].iter().all(String::is_empty), "{lines:#?}");
    // A heartbeat later there is a pace: half of what is in order at most, less where writes take
    // long, for then the kernel allows more.
    until("a pace", || terminal.lines()[2].contains(['▂', '▃', '▄', '▅', '▆']));
    damage(&other);
    terminal.wait_for(&["!", "bad checksum"]);
    terminal.wait_for(&["alarms: 1"]);
    let alarm = format!("{}: bad-checksum: MMP block checksum", other.name());
    terminal.wait_for(&[&alarm]);
    for (columns, rows) in [(132, 40), (40, 10), (10, 3), (80, 24)] {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
        terminal.wait_for(&[" mmpwatc"]);
    }
    terminal.wait_for(&[device.name(), "in use"]);
    terminal.tmux(&["send-keys", "q"]);
    terminal.wait_for(&["left with 0"]);
    assert!(!terminal.lines().concat().contains("mmpwatch"), "the screen is not given back");
}

/// What was a file system and is none any more.
fn not_read() {
    let image = Image::new();
    let terminal = Terminal::new(&image, "", &[image.name()]);
    terminal.wait_for(&["clean"]);
    image.patch(0, &vec![0; image.content().len()]);
    assert_eq!(terminal.wait_for(&[" unreadable"]), 2);
    terminal.wait_for(&[&format!("{}: unreadable: not an ext2", image.name())]);
    terminal.wait_for(&["alarms: 0"]);
}

fn hostile_names() {
    let mut images = hostile::images();
    // One whose path is as bad as what is on it.
    let folder = TempDir::new().expect("folder");
    let path = "a\x1b]0;own\x07\n\u{9b}7m\u{202e}.img";
    images.push(Image::at(folder, path, &images[0].content()));
    let names: Vec<_> = images.iter().map(Image::name).collect();
    let terminal = Terminal::new(&images[0], "", &names);
    terminal.wait_for(&[&format!("devices: {}", names.len())]);
    images.iter().for_each(hostile::spoil);
    terminal.wait_for(&[&format!("alarms: {}", names.len())]);
    terminal.tmux(&["resize-window", "-x", "200", "-y", "50"]);
    terminal.wait_for(&[r"\x1b]0;own\x07"]);
    terminal.wait_for(&[r"\u{202e}"]);
    terminal.lines().iter().for_each(|line| assert_harmless(line));
    // The terminal would have taken in what is not to be shown.
    let record = std::fs::read(terminal.record()).expect("record");
    let record = String::from_utf8(record).expect("UTF-8");
    for evil in ["\x1b]", "\x07", "\x1b[41;5m", "\x1b[9;9H", "\u{9b}", "\u{202e}", "\u{2028}"] {
        assert!(!record.contains(evil), "{evil:?}");
    }
}

fn colours() {
    for (variables, coloured) in [("NO_COLOR=1", false), ("env -u NO_COLOR", true)] {
        let image = Image::new();
        damage(&image);
        let terminal = Terminal::new(&image, variables, &[image.name()]);
        terminal.wait_for(&["!", "bad checksum"]);
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
        let red = screen.contains("\x1b[31m") || screen.contains("38;5;1m");
        assert_eq!(red, coloured, "{screen:?}");
        terminal.tmux(&["send-keys", "C-c"]);
        terminal.wait_for(&["left with 0"]);
    }
}

fn refused() {
    let image = Image::new();
    for (device, why) in [("/nonexistent", "No such file"), (image.name(), "no terminal")] {
        let ended = run("mmpwatch", &[device]);
        assert_eq!((ended.code, ended.err.lines().count()), (2, 1), "{}", ended.said());
        assert!(ended.err.contains(why), "{}", ended.err);
        assert_eq!(ended.out, "");
    }
}
