//! Outputs that fail.

use std::fs::OpenOptions;
use std::io::pipe;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use mmp::layout::Sequence;

use super::common::image::Image;
use super::common::program::{command, ended, run};
use super::common::suite::Suite;
use super::table::PROGRAMS;

pub(super) fn cases(suite: &mut Suite) {
    suite.case("output/reader_that_has_seen_enough", reader_gone);
    suite.case("output/disk_full", disk_full);
    suite.case("output/closed", closed);
    suite.case("output/standard_error_full", standard_error_full);
    suite.case("output/progress_on_a_terminal_only", progress);
}

/// What each program prints: its result on a clean device where it has one, help and version.
fn printing(image: &Path) -> Vec<(i32, Command)> {
    let mut commands = Vec::new();
    for program in &PROGRAMS {
        commands.push((program.trouble, command(program.name, &["--help"])));
        commands.push((program.trouble, command(program.name, &["--version"])));
        if program.prints {
            commands.push((program.trouble, program.command(image)));
        }
    }
    commands
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into()
}

fn reader_gone() {
    let image = Image::new();
    for (_, mut command) in printing(image.path()) {
        let (reader, writer) = pipe().expect("pipe");
        drop(reader);
        let output = command.stdout(writer).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert_eq!(output.stderr, b"", "{command:?}");

        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\" | head -c1", "sh"]).arg(command.get_program());
        let ended = ended(shell.args(command.get_args()));
        assert_eq!((ended.out.len(), ended.err.as_str()), (1, ""), "{command:?}");
    }
}

fn disk_full() {
    let image = Image::new();
    for (trouble, mut command) in printing(image.path()) {
        let output = command.stdout(full()).output().expect("runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(trouble), "{command:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.ends_with("No space left on device\n"), "{err}");
    }
}

/// The result is lost, but nothing else is written in its place: not to the device, above all.
fn closed() {
    let image = Image::new();
    let before = image.content();
    for (_, command) in printing(image.path()) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(command.get_program());
        let ended = ended(shell.args(command.get_args()));
        assert_eq!(ended.code, 0, "{command:?}");
    }
    assert!(image.content() == before, "written to");
}

fn standard_error_full() {
    for program in &PROGRAMS {
        let mut command = program.command("/nonexistent".as_ref());
        let status = command.stderr(full()).stdout(Stdio::null()).status().expect("runs");
        assert_eq!(status.code(), Some(program.trouble), "{command:?}");
    }
}

/// A stale device is watched for the guard interval: a terminal sees the time left and who was
/// last seen, a pipe only the result, and with `-v` a line a step.
fn progress() {
    let image = Image::new();
    image.put(&image.block().with_sequence(Sequence::Active(7)));
    let node = image.block().nodename().to_string();
    let plain = command("mmpcheck", &[image.name()]);
    let program = plain.get_program().to_str().expect("UTF-8");
    let on_terminal = format!("{program} {}", image.name());
    thread::scope(|scope| {
        scope.spawn(|| {
            let told = run("script", &["-qec", &on_terminal, "/dev/null"]);
            assert_eq!(told.code, 0, "{}", told.said());
            assert!(told.out.contains("s left") && told.out.contains(&node), "{}", told.out);
        });
        scope.spawn(|| {
            let told = run("mmpcheck", &[image.name()]);
            assert_eq!((told.out.lines().count(), told.err.as_str()), (1, ""), "{}", told.out);
        });
        scope.spawn(|| {
            let told = run("mmpcheck", &["-v", image.name()]);
            assert_eq!((told.code, told.out.lines().count()), (0, 1), "{}", told.said());
            assert!(told.err.contains("watching for 11 s"), "{}", told.err);
        });
    });
}
