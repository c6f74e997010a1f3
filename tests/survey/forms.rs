//! The forms in which findings are told, each read by somebody else's rules.

use std::fs;
use std::thread;
use std::time::Duration;

use mmp::layout::{Names, Sequence};
use mmp::survey::KINDS;
use serde_json::Value;
use tempfile::TempDir;

use super::common::image::Image;
use super::common::program::{Ended, Running, assert_ended, command, ended, run, tool};
use super::common::schema;
use super::common::suite::Suite;

/// The parser of Prometheus's own client library.
const PARSER: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
samples = [[f.type, s.name, s.labels, s.value] for f in families for s in f.samples]
print(json.dumps(samples))
";

pub(super) fn cases(suite: &mut Suite) {
    suite.case("forms/every_state_in_every_form", every_state);
    suite.case("forms/a_hostile_disk_breaks_none", hostile);
    suite.case("forms/json_of_every_program_is_as_documented", every_program);
    suite.case("forms/every_finding_is_documented", documented);
    suite.case("forms/metrics_go_to_a_file_whole", to_a_file);
    suite.case("forms/health_heeds_lustre", health);
    suite.case("forms/trouble", trouble);
    suite.case("forms/a_schema_that_is_broken_shows", schema_can_fail);
}

/// An image whose block is changed in some way.
fn changed(change: impl FnOnce(&Image)) -> Image {
    let image = Image::new();
    change(&image);
    image
}

/// The samples as the parser saw them: type, name, labels, value.
pub(super) fn parsed(metrics: &str) -> Vec<Value> {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("metrics");
    fs::write(&file, metrics).expect("write");
    let mut python = command("/usr/bin/python3", &["-c", PARSER]);
    let said = ended(python.stdin(fs::File::open(file).expect("open")));
    assert_eq!(said.code, 0, "{}{metrics}", said.err);
    serde_json::from_str(&said.out).expect("JSON")
}

/// The line's parts, by the grammar of Nagios's plugins: status, text, performance data.
pub(super) fn nagios(said: &Ended) -> (String, String, Vec<(String, f64)>) {
    assert_eq!(said.err, "");
    let line = said.out.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n') && line.chars().all(|c| !c.is_control()), "{line:?}");
    let (text, data) = line.split_once(" | ").expect("performance data");
    assert!(!text.contains('|') && !data.contains('|'), "{line}");
    let (status, text) = text.strip_prefix("MMP ").and_then(|t| t.split_once(" - ")).expect("MMP");
    let code = ["OK", "WARNING", "CRITICAL", "UNKNOWN"].iter().position(|word| *word == status);
    assert_eq!(code, usize::try_from(said.code).ok(), "{line}");
    let datum = |datum: &str| {
        let (label, values) = datum.split_once('=').expect("a label");
        let fine = label.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(fine && !label.is_empty(), "{label}");
        let values: Vec<_> = values.split(';').collect();
        assert!(values.len() <= 5, "{datum}");
        let number = |text: &&str| text.parse::<f64>().expect("a number");
        let numbers: Vec<_> = values.iter().filter(|text| !text.is_empty()).map(number).collect();
        (label.to_owned(), numbers[0])
    };
    (status.to_owned(), text.to_owned(), data.split(' ').map(datum).collect())
}

/// One state: what is told of it, and the exit codes of --nagios and --health.
fn assert_told(image: &Image, state: &str, finding: Option<&str>, codes: [i32; 2]) {
    let [alarm, unhealthy] = codes;
    let form = |form: &str| run("mmpcheck", &[form, "--timeout", "30s", image.name()]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let said = form("--nagios");
            assert_eq!(said.code, alarm, "{}", said.said());
            let (_, text, data) = nagios(&said);
            assert!(
                finding.is_none_or(
                    |name| text.contains(&name.replace('-', " ")) || text.contains(name)
                ),
                "{text}"
            );
            assert_eq!(data[0], ("file_systems".to_owned(), 1.0));
        });
        scope.spawn(|| {
            let said = form("--health");
            assert_eq!(said.code, unhealthy, "{}", said.said());
            let last = said.out.lines().last();
            let expected = if unhealthy == 0 { "healthy" } else { "NOT HEALTHY" };
            assert_eq!(last, Some(expected), "{}", said.out);
            assert_eq!(said.out.lines().count() > 1, unhealthy != 0, "{}", said.out);
        });
        scope.spawn(|| {
            let said = form("--prometheus");
            assert_eq!((said.code, said.err.as_str()), (0, ""));
            let samples = parsed(&said.out);
            let has = |name: &str, label: &str, value: &str| {
                samples
                    .iter()
                    .any(|s| s[1] == name && s[2][label] == value && s[2]["device"] == image.name())
            };
            assert!(has("mmp_state", "state", state), "{}", said.out);
            assert!(finding.is_none_or(|name| has("mmp_finding", "finding", name)), "{}", said.out);
            assert!(samples.iter().all(|s| s[0] == "gauge"), "{}", said.out);
        });
    });
}

fn every_state() {
    let sequence =
        |sequence| move |image: &Image| image.put(&image.block().with_sequence(sequence));
    let spoil = |image: &Image| image.patch(image.area().offset.0 + 0x10, b"?");
    let states: Vec<(Image, &str, Option<&str>, [i32; 2])> = vec![
        (changed(|_| {}), "clean", None, [0, 0]),
        (changed(sequence(Sequence::Active(7))), "stale", Some("stale"), [1, 0]),
        (
            changed(|image| {
                image.put(&image.block().with_sequence(Sequence::Fsck).with_time(1));
            }),
            "fsck",
            Some("fsck-dead"),
            [1, 0],
        ),
        (changed(sequence(Sequence::Unknown(!0))), "unknown", Some("unknown"), [2, 1]),
        (changed(spoil), "bad checksum", Some("bad-checksum"), [2, 1]),
        (
            Image::with(&["-O", "^mmp", "-L", "lustre-OST0001"], "16M"),
            "no mmp",
            Some("no-mmp"),
            [1, 0],
        ),
        (
            changed(|image| {
                image.change_superblock(|raw| raw[0x166..0x168].copy_from_slice(&[20, 0]));
            }),
            "clean",
            Some("slow-failover"),
            [1, 0],
        ),
    ];
    thread::scope(|scope| {
        for (image, state, finding, codes) in &states {
            scope.spawn(|| assert_told(image, state, *finding, *codes));
        }
    });
}

/// Names that would end a quotation, begin performance data or drive a terminal, wherever a disk or
/// a command line has names.
fn hostile() {
    let nasty: &[u8] = b"\"}|\\\n\x1b[2J'=;\xff,";
    let folder = TempDir::new().expect("folder");
    let name = std::os::unix::ffi::OsStrExt::from_bytes(&b"a\"}|\\\n\x1b[2J'=;\xff"[..]);
    let name: &std::ffi::OsStr = name;
    let image = Image::at(folder, name, &Image::new().content());
    image.change_superblock(|raw| raw[0x78..0x78 + nasty.len()].copy_from_slice(nasty));
    let block = image.block().with_names(&Names::new(nasty, nasty)).with_sequence(Sequence::Fsck);
    image.put(&block.with_time(u64::MAX));

    let form = |words: &[&str]| {
        let mut command = command("mmpcheck", words);
        let said = ended(command.arg(image.path()));
        let printable = said.said().chars().all(|c| c == '\n' || !c.is_control());
        assert!(printable, "{:?}", said.said());
        said
    };
    let said = form(&["--nagios"]);
    assert_eq!(nagios(&said).0, "OK");
    let samples = parsed(&form(&["--prometheus"]).out);
    let shown = mmp::device::shown(image.path()).to_string();
    assert!(samples.iter().all(|sample| sample[2]["device"] == shown.as_str()), "{samples:?}");
    assert_eq!(form(&["--health"]).out, "healthy\n");
    let document: Value = serde_json::from_str(&form(&["--json"]).out).expect("JSON");
    schema::assert_valid(&document);

    // And where there is something to tell.
    image.put(&image.block().with_sequence(Sequence::Unknown(!0)));
    let (status, text, _) = nagios(&form(&["--nagios"]));
    assert_eq!(status, "CRITICAL");
    assert!(text.contains("unknown"), "{text}");
    parsed(&form(&["--prometheus"]).out);
    assert_eq!(form(&["--health"]).out.lines().count(), 2);
}

fn every_program() {
    let image = Image::new();
    let fsck = changed(|image| image.put(&image.block().with_sequence(Sequence::Fsck)));
    let none = Image::with(&["-O", "^mmp"], "16M");
    let mut documents = Vec::new();
    let bad = changed(|image| image.patch(image.area().offset.0 + 0x10, b"?"));
    for (program, options) in [
        ("mmpcheck", &["--json"][..]),
        ("mmpdump", &["--json"]),
        ("mmptune", &["--json", "-n", "-O", "mmp"]),
        ("mmptune", &["--json", "-n", "-O", "^mmp"]),
    ] {
        for device in [image.name(), fsck.name(), none.name(), bad.name(), "/nonexistent"] {
            let said = run(program, &[options, &[device]].concat());
            if said.out.is_empty() {
                // mmpdump has nothing to say of a device that it cannot read.
                assert!(program == "mmpdump" && said.code == 2, "{program}: {}", said.err);
                continue;
            }
            documents.push(said.out);
        }
    }
    documents.push(run("mmpcheck", &["--all", "--json", "--timeout", "2s"]).out);
    let folder = TempDir::new().expect("folder");
    let sockets = ["--status-dir", folder.path().to_str().expect("UTF-8")];
    let holder = [&["hold"], &sockets[..], &[image.name()]].concat();
    let mut holder = Running::start("mmpd", &holder);
    holder.wait_for("claim written", Duration::from_secs(10));
    documents.push(run("mmpd", &[&["status", "--json"], &sockets[..]].concat()).out);
    holder.signal(nix::sys::signal::Signal::SIGTERM);
    holder.end(Duration::from_secs(10));
    image.patch(image.area().offset.0 + 0x10, b"?");
    let alarms = run("mmpd", &["watch", "--json", "--for", "5s", image.name()]).out;
    assert!(alarms.contains("bad-checksum"), "{alarms}");
    documents.extend(alarms.lines().map(str::to_owned));
    for document in documents {
        schema::assert_valid(&serde_json::from_str(&document).expect("JSON"));
    }
}

/// The schema and docs/monitoring.md name exactly the findings that there are.
fn documented() {
    let root: Value =
        serde_json::from_str(include_str!("../../docs/json-schema.json")).expect("JSON");
    let listed = root.pointer("/$defs/finding/properties/name/enum").expect("an enum");
    let kinds: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(*listed, serde_json::json!(kinds));
    let (_, section) =
        include_str!("../../docs/monitoring.md").split_once("\n## Findings\n").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let told: Vec<_> = section
        .lines()
        .filter_map(|row| {
            let mut cells = row.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`'), cells.next()?))
        })
        .collect();
    let kinds: Vec<_> = KINDS.iter().map(|kind| (kind.name, kind.severity.word())).collect();
    assert_eq!(told, kinds);
}

fn to_a_file() {
    let image = Image::new();
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("mmp.prom");
    let name = file.to_str().expect("UTF-8");
    for _ in 0..2 {
        let said = run("mmpcheck", &["--prometheus", "-o", name, image.name()]);
        assert_eq!((said.code, said.said().as_str()), (0, ""));
        assert!(!parsed(&fs::read_to_string(&file).expect("read")).is_empty());
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }
    let said = run("mmpcheck", &["--prometheus", "-o", "/nonexistent/mmp.prom", image.name()]);
    assert_eq!(said.code, 2, "{}", said.said());
    assert!(
        said.err.starts_with("mmpcheck: /nonexistent/mmp.prom: cannot write: "),
        "{}",
        said.err
    );
}

fn health() {
    let image = Image::new();
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("health_check");
    let name = file.to_str().expect("UTF-8");
    for (content, code, expected) in [
        ("healthy\n", 0, "healthy\n"),
        ("NOT HEALTHY\n", 1, "NOT HEALTHY\n"),
        ("LBUG\n", 1, "LBUG\nNOT HEALTHY\n"),
        (
            "device lustre-OST0001 reported unhealthy\x1b[2J\nNOT HEALTHY\n",
            1,
            "device lustre-OST0001 reported unhealthy\\x1b[2J\nNOT HEALTHY\n",
        ),
    ] {
        fs::write(&file, content).expect("write");
        let said = run("mmpcheck", &["--health", "--lustre-health", name, image.name()]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (code, expected, ""));
    }
    fs::remove_file(&file).expect("remove");
    let said = run("mmpcheck", &["--health", "--lustre-health", name, image.name()]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    // What cannot be looked at is not well.
    for missing in ["/nonexistent", name] {
        let said = run("mmpcheck", &["--health", image.name(), missing]);
        assert_ended(&said, 2, &["cannot tell whether all is well: ", missing]);
        assert_eq!(said.out, "");
    }
    // A pipe that nobody writes hangs as a file of Lustre's may.
    tool("mkfifo", &[name]);
    let said = run("mmpcheck", &["--health", "--lustre-health", name, image.name()]);
    assert_eq!(said.code, 2, "{}", said.said());
    assert!(said.err.contains("has not answered"), "{}", said.err);
    assert!(said.took < Duration::from_secs(30), "{:?}", said.took);
}

/// What could not be done is 3 for Nagios, and 2 for everybody else.
fn trouble() {
    let said = run("mmpcheck", &["--nagios", "LABEL=no such label"]);
    assert_eq!(said.code, 3, "{}", said.said());
    assert!(said.out.starts_with("MMP UNKNOWN - LABEL=no such label: "), "{}", said.out);
    let said = run("mmpcheck", &["--nagios", "/nonexistent"]);
    assert_eq!(nagios(&said).0, "UNKNOWN");
    assert_eq!(run("mmpcheck", &["--nagios", "--no-such-option"]).code, 3);
    assert_eq!(run("mmpcheck", &["--nagios"]).code, 3);
    for wrong in [
        &["--all", "/dev/null"][..],
        &["--all", "--guard"],
        &["--all", "-i"],
        &["--all", "--mounted"],
        &["--timeout", "1", "/dev/null"],
        &["-o", "x", "/dev/null"],
        &["--all", "--json", "--prometheus"],
        &["--prometheus"],
    ] {
        let said = run("mmpcheck", wrong);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{wrong:?}");
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        if wrong[0] == "--timeout" {
            let told = "mmpcheck: --timeout goes with --all, --mounted, --nagios, --prometheus or";
            assert!(said.err.starts_with(told), "{}", said.err);
        }
    }
}

fn schema_can_fail() {
    for wrong in [
        serde_json::json!({"version": 2, "program": "mmpcheck", "devices": []}),
        serde_json::json!({"version": 1, "program": "mmpcheck"}),
        serde_json::json!({"version": 1, "program": "mmpcheck", "devices": [{}]}),
        serde_json::json!({"version": 1, "program": "mmpdump", "devices": [], "more": 1}),
    ] {
        let refused = std::panic::catch_unwind(|| schema::assert_valid(&wrong));
        assert!(refused.is_err(), "{wrong}");
    }
    schema::assert_valid(&serde_json::json!({"version": 1, "program": "mmpdump", "devices": []}));
}
