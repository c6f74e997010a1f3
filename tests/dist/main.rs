//! What dist/ hands to other programs: units for systemd, a table for cron.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::program::{PROGRAMS, run, tool};
use common::suite::{Need, Suite};
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[]);
    suite.case("cron/runs_what_there_is", cron);
    suite.case("systemd/starts_what_there_is", starts);
    suite.case("install/papers_and_what_they_link_to", papers);
    suite.case("stonith/fence_mmp_tells_its_usage", usage);
    suite.need(&[Need::Systemd]);
    suite.case("systemd/units_are_valid", valid);
    suite.case("systemd/units_that_are_not_valid_show", invalid_shows);
    suite.case("systemd/what_reads_is_shut_in", shut_in);
    suite.run(4)
}

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

/// The units, by their names.
fn units() -> Vec<(String, String)> {
    let entries = fs::read_dir(dist().join("systemd")).expect("folder");
    let read = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        (name.to_owned(), fs::read_to_string(&path).expect("UTF-8"))
    };
    let units: Vec<_> = entries.map(|entry| read(entry.expect("entry").path())).collect();
    assert!(units.len() >= 5, "{units:?}");
    units
}

/// Asserts that a program of ours understands a command line.
fn understood(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    let commands = mmp::cli::commands();
    let command = commands.iter().find(|command| command.get_name() == words[0]).expect(line);
    command.clone().try_get_matches_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn cron() {
    let table = fs::read_to_string(dist().join("cron/mmpcheck")).expect("UTF-8");
    let lines: Vec<_> = table.lines().filter(|line| !line.starts_with('#')).collect();
    let [path, line] = lines[..] else { panic!("{lines:?}") };
    assert!(path.starts_with("PATH=/usr/local/sbin:/usr/sbin:"), "{path}");
    let fields: Vec<_> = line.splitn(7, ' ').collect();
    for field in &fields[..5] {
        let fine = field.chars().all(|c| c.is_ascii_digit() || "*/,-".contains(c));
        assert!(fine && !field.is_empty(), "{line}");
    }
    assert_eq!(fields[5], "root");
    let (guard, command) = fields[6].split_once(" || ").expect("a condition");
    assert_eq!(guard, "[ -d /run/systemd/system ]");
    understood(command);
    tool("sh", &["-n", "-c", fields[6]]);
}

fn starts() {
    let mut started = 0;
    for (name, text) in units() {
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            understood(line);
            started += 1;
        }
        let notify = text.contains("\nType=notify\n");
        assert_eq!(text.contains("=mmpd "), notify, "{name}: mmpd tells when it is ready");
        assert_eq!(text.contains("\nWatchdogSec="), notify, "{name}: mmpd shows that it lives");
        assert_eq!(text.contains("\nRestart="), notify, "{name}");
    }
    assert!(started >= 3, "{started}");
}

/// README and its like are installed with whatever they link to, and the licences with them; all of
/// it goes again. Empty files stand for what is built.
fn papers() {
    let folder = TempDir::new().expect("folder");
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("target/share")).expect("folder");
    fs::create_dir_all(source.join("target/release")).expect("folder");
    tool("sh", &["-c", "cp -r bin dist docs man *.md LICENSE-* \"$0\"", path(&source)]);
    for file in fs::read_dir(source.join("bin")).expect("folder") {
        let name = file.expect("entry").path().with_extension("");
        let name = name.file_name().expect("a name");
        fs::write(source.join("target/release").join(name), "").expect("write");
    }
    let root = folder.path().join("root");
    let root_is = format!("DESTDIR={}", path(&root));
    let script = source.join("dist/install.sh");
    tool("env", &[&root_is, path(&script), "install"]);
    let docs = root.join("usr/local/share/doc/mmp-utils");
    let documents = common::document::all();
    let there: Vec<_> = documents.iter().filter(|d| docs.join(&d.name).exists()).collect();
    assert!(there.iter().any(|document| document.name == "README.md"), "{}", there.len());
    for document in there {
        let place = docs.join(&document.name);
        for (line, link) in document.links().iter().filter(|(_, link)| !link.contains("://")) {
            let file = link.split('#').next().unwrap_or_default();
            let found = place.parent().expect("a folder").join(file);
            assert!(found.exists(), "{}:{line}: {link}", document.name);
        }
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(docs.join(licence).exists(), "{licence}");
    }
    tool("env", &[&root_is, path(&script), "uninstall"]);
    assert!(!docs.exists());
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn usage() {
    let agent = dist().join("stonith/fence_mmp");
    for option in ["--help", "-h"] {
        let ended = run(path(&agent), &[option]);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        assert!(ended.out.starts_with("usage: "), "{}", ended.out);
    }
    assert_eq!(run(path(&agent), &["--wrong"]).code, 1);
}

/// The units in a folder, with the programs just built in place of installed ones.
fn installed() -> TempDir {
    let folder = TempDir::new().expect("folder");
    for (name, mut text) in units() {
        for (program, path) in PROGRAMS {
            text = text.replace(&format!("ExecStart={program} "), &format!("ExecStart={path} "));
        }
        fs::write(folder.path().join(name), text).expect("write");
    }
    folder
}

/// What systemd says of a unit; nothing if it is valid.
fn verdict(unit: &Path) -> String {
    let unit = unit.to_str().expect("UTF-8");
    let ended = run("systemd-analyze", &["verify", "--man=no", "--recursive-errors=no", unit]);
    ended.said()
}

fn valid() {
    let folder = installed();
    for (name, _) in units() {
        assert_eq!(verdict(&folder.path().join(&name)), "", "{name}");
    }
}

fn invalid_shows() {
    let folder = installed();
    let unit = folder.path().join("mmpcheck.service");
    let text = fs::read_to_string(&unit).expect("read");
    fs::write(&unit, text.replace("DevicePolicy=closed", "DevicePolicy=ajar")).expect("write");
    assert!(verdict(&unit).contains("ajar"), "{}", verdict(&unit));
}

/// systemd's own measure, 0 to 10: at most 2.5. Block devices stay readable all the same.
fn shut_in() {
    let folder = installed();
    for name in ["mmpcheck.service", "mmpd-watch.service", "mmpd-hold@.service"] {
        let unit = folder.path().join(name);
        let unit = unit.to_str().expect("UTF-8");
        let offline = ["security", "--offline=true", "--threshold=25", "--no-pager", unit];
        let ended = run("systemd-analyze", &offline);
        assert_eq!(ended.code, 0, "{name}: {}", ended.said());
        let text = fs::read_to_string(unit).expect("read");
        assert!(text.contains("\nDeviceAllow=block-* r"), "{name}");
        assert!(!text.contains("PrivateDevices=yes"), "{name}");
    }
}
