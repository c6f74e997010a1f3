//! Command lines, and what the help says of exit codes.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::common::image::Image;
use super::common::program::{Running, command, ended, run};
use super::common::suite::Suite;
use super::table::{PROGRAMS, Program};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("usage/help_and_version", help_and_version);
    suite.case("usage/wrong", wrong);
    suite.case("usage/every_exit_code_is_documented", documented);
    suite.case("usage/two_at_once_on_one_image", two_at_once);
    suite.case("usage/waits_its_turn", waits_its_turn);
    for (name, code, words) in COMMANDS {
        suite.case(format!("mmprun/{name}"), move || passes_on(code, words));
    }
    suite.case("mmprun/passes_signals_on", passes_signals_on);
    suite.case("mmprun/wrong_options", || {
        for options in [&["--grace", "11s"][..], &["--wait", "never"], &["--grace=-1"]] {
            assert_wrong("mmprun", &[options, &["disk", "--", "true"]].concat(), 122);
        }
    });
    suite.case("mmpd/wrong_options", || {
        for interval in ["0", "99ms", "151s", "1x", "-1", ""] {
            assert_wrong("mmpd", &["hold", &format!("--interval={interval}"), "disk"], 2);
        }
        assert_wrong("mmpd", &["hold", "disk", "disk"], 2);
        assert_wrong("mmpd", &[], 2);
        assert_wrong("mmpd", &["keep"], 2);
    });
}

fn help(program: &Program) -> String {
    let subcommand = program.before.iter().filter(|word| !word.starts_with('-'));
    let ended = run(program.name, &subcommand.copied().chain(["--help"]).collect::<Vec<_>>());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    ended.out
}

fn help_and_version() {
    for program in &PROGRAMS {
        assert!(help(program).contains("Usage: "), "{}", program.name);
        let ended = run(program.name, &["--version"]);
        let version = format!("{} {}\n", program.name, env!("CARGO_PKG_VERSION"));
        assert_eq!((ended.code, ended.out, ended.err), (0, version, String::new()));
    }
}

fn assert_wrong(name: &str, arguments: &[&str], code: i32) {
    let ended = run(name, arguments);
    assert_eq!(ended.code, code, "{name} {arguments:?}: {}", ended.said());
    assert!(ended.err.starts_with(&format!("{name}: ")), "{}", ended.err);
    assert_eq!((ended.err.lines().count(), ended.out.as_str()), (1, ""), "{}", ended.err);
}

fn wrong() {
    for program in &PROGRAMS {
        assert_wrong(program.name, program.before, program.trouble);
        let unknown = [program.before, &["--no-such-option", "disk"], program.after].concat();
        assert_wrong(program.name, &unknown, program.trouble);
    }
    assert_wrong("mmprun", &["disk"], 122);
    assert_wrong("mmprun", &["disk", "--"], 122);
}

/// The codes that a program's help lists under "Exit status", a line each.
fn listed(help: &str) -> Vec<i32> {
    let (_, section) = help.split_once("Exit status:").expect("an exit status section");
    let lines = section.lines().filter_map(|line| line.strip_prefix("  "));
    lines.filter_map(|line| line.split_once("  ")?.0.parse().ok()).collect()
}

/// What the other tests of this table see happen is what the help says.
fn documented() {
    for program in &PROGRAMS {
        let listed = listed(&help(program));
        let Program { trouble, unsafe_state, bad_checksum, bad_magic, read_only, .. } = program;
        for code in [trouble, unsafe_state, bad_checksum, bad_magic, read_only] {
            let known = listed.contains(code) || (program.name == "mmprun" && *code == 0);
            assert!(known, "{}: {code} is not among {listed:?}", program.title());
        }
    }
    let mmprun = PROGRAMS.iter().find(|program| program.name == "mmprun").expect("mmprun");
    let text = help(mmprun);
    assert!(text.contains("\n  128+N  signal N ended the command\n"), "{text}");
    assert!(text.contains("\n  other  the command's own\n"), "{text}");
    assert_eq!(listed(&text), [121, 122, 123, 126, 127]);
}

/// The second is refused at once, by whatever name it knows the image.
fn two_at_once() {
    let image = Image::new();
    let link = image.dir().join("link");
    std::os::unix::fs::symlink(image.path(), &link).expect("link");
    let mut first = Running::start("mmpd", &["hold", image.name()]);
    first.wait_for("claim written", Duration::from_secs(2));
    for path in [image.path(), &link] {
        for program in PROGRAMS.iter().filter(|program| !program.prints) {
            let second = program.run(path);
            program.assert_failed(&second, program.unsafe_state, path.as_os_str(), "is in use");
        }
    }
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end(Duration::from_secs(2)).code, 0);
}

/// One who waits gets it when the first lets go, and can be told to wait no longer.
fn waits_its_turn() {
    let soon = Duration::from_secs(2);
    let image = Image::new();
    let mut first = Running::start("mmpd", &["hold", image.name()]);
    first.wait_for("claim written", soon);
    let wait = ["hold", "--wait", "1min", image.name()];
    let (mut second, mut third) = (Running::start("mmpd", &wait), Running::start("mmpd", &wait));
    second.wait_for("in use on this machine", soon);
    third.wait_for("in use on this machine", soon);
    third.signal(Signal::SIGTERM);
    assert_eq!(third.end(soon).code, 0);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end(soon).code, 0);
    second.wait_for("claim written", soon);
    second.signal(Signal::SIGTERM);
    assert_eq!(second.end(soon).code, 0);
}

/// Commands under `mmprun`, and the exit codes they give it.
const COMMANDS: [(&str, i32, &[&str]); 7] = [
    ("passes_success_on", 0, &["true"]),
    ("passes_the_code_on", 7, &["sh", "-c", "exit 7"]),
    ("tells_the_signal", 128 + 9, &["sh", "-c", "kill -9 $$"]),
    ("command_not_found", 127, &["/nonexistent/command"]),
    ("command_not_executable", 126, &["/etc/passwd"]),
    (
        "command_inherits_no_descriptors",
        0,
        &["sh", "-c", "! ls -l /proc/self/fd | grep -E 'disk.img|anon_inode'"],
    ),
    ("command_gets_sigpipe_and_sigterm", 128 + 15, &["sh", "-c", "yes | head -n1; kill $$"]),
];

fn passes_on(code: i32, words: &[&str]) {
    let image = Image::new();
    let ended = run("mmprun", &[&[image.name(), "--"], words].concat());
    assert_eq!(ended.code, code, "{}", ended.said());
    assert!(ended.took >= Duration::from_secs(11), "{:?}", ended.took);
    assert!(!ended.said().contains("Broken pipe"), "{}", ended.said());
    let check = ended_clean(&image);
    assert!(check.contains("MMP is clean"), "{check}");
}

fn ended_clean(image: &Image) -> String {
    let mut check = command("mmpcheck", &[image.name()]);
    ended(&mut check).out
}

fn passes_signals_on() {
    let image = Image::new();
    let script = "trap 'echo usr1 >&2' USR1; trap 'exit 9' TERM; echo up >&2; \
                  while :; do sleep 0.1; done";
    let mut running = Running::start("mmprun", &[image.name(), "--", "sh", "-c", script]);
    running.wait_for("up\n", Duration::from_secs(13));
    running.signal(Signal::SIGUSR1);
    running.wait_for("usr1\n", Duration::from_secs(2));
    thread::sleep(Duration::from_millis(200));
    running.signal(Signal::SIGTERM);
    let ended = running.end(Duration::from_secs(3));
    assert_eq!(ended.code, 9, "{}", ended.err);
    assert!(ended_clean(&image).contains("MMP is clean"));
}
