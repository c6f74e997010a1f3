//! Names on a disk that would break what shows them: in `mmpcheck --all` and `mmpd watch`, in every
//! form.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use mmp::layout::Escaped;
use serde_json::Value;
use tempfile::TempDir;

use super::common::hostile::{assert_harmless, images, spoil};
use super::common::image::Image;
use super::common::loops::Loop;
use super::common::program::{Ended, assert_ended, ended, run, tool};
use super::common::schema;
use super::common::suite::Suite;
use super::forms::{nagios, parsed};

/// Who may open no device.
const NOBODY: u32 = 65534;

pub(super) fn cases(suite: &mut Suite) {
    suite.case("hostile/every_form_of_all", every_form_of_all);
    suite.case("hostile/every_form_of_watch", every_form_of_watch);
    suite.case("hostile/a_machine_that_cannot_be_seen", unseen);
}

/// Other devices of the machine may hang: a time-out bounds that.
fn all(form: &[&str]) -> Ended {
    let said = run("mmpcheck", &[&["--all", "--timeout", "12s"], form].concat());
    assert_harmless(&said.said());
    assert!([0, 1, 2].contains(&said.code), "{}", said.said());
    said
}

fn every_form_of_all() {
    let images = images();
    let devices: Vec<_> = images.iter().map(|image| Loop::new(image.path())).collect();
    for damaged in [false, true] {
        if damaged {
            images.iter().for_each(spoil);
        }
        thread::scope(|scope| {
            scope.spawn(|| table(&devices));
            scope.spawn(|| json(&devices, &images));
            scope.spawn(|| {
                let (status, text, _) = nagios(&all(&["--nagios"]));
                assert_eq!(status, "CRITICAL", "{text}");
            });
            scope.spawn(|| {
                let samples = parsed(&all(&["--prometheus"]).out);
                for device in &devices {
                    let of_device = |s: &&Value| s[2]["device"] == device.name();
                    let states = samples.iter().filter(of_device).filter(|s| s[1] == "mmp_state");
                    assert_eq!(states.count(), 1, "{}", device.name());
                }
            });
            scope.spawn(|| {
                let said = all(&["--health"]).out;
                let (lines, last) = said.trim_end().rsplit_once('\n').expect("lines");
                assert_eq!(last, "NOT HEALTHY", "{said}");
                assert!(lines.lines().all(|line| line.starts_with("device /dev/")), "{said}");
            });
        });
    }
}

/// Where the kernel's tables or the devices are hidden, as in a chroot or a container, nothing is
/// known of the machine's disks: that they are well, least of all.
fn unseen() {
    let image = Image::new();
    let _device = Loop::new(image.path());
    let mmpcheck = env!("CARGO_BIN_EXE_mmpcheck");
    for hidden in ["/proc", "/sys", "/dev"] {
        let without = |program: &str, arguments: &[&str]| {
            let script = format!("mount -t tmpfs none {hidden} && exec \"$0\" \"$@\"");
            run("unshare", &[&["-m", "sh", "-c", &script, program], arguments].concat())
        };
        for form in ["--all", "--json", "--nagios", "--prometheus", "--health", "--mounted"] {
            let all = !["--all", "--mounted", "--health"].contains(&form);
            let arguments: Vec<_> = all.then_some("--all").into_iter().chain([form]).collect();
            let ended = without(mmpcheck, &arguments);
            let code = if form == "--nagios" { 3 } else { 2 };
            assert_ended(
                &ended,
                code,
                &["cannot tell which block devices this machine has: /proc/"],
            );
        }
        assert_ended(&without(mmpcheck, &["LABEL=none"]), 2, &["LABEL=none: /proc/partitions"]);
        for which in ["--all", "--mounted"] {
            let ended = without(env!("CARGO_BIN_EXE_mmpd"), &["watch", which, "--for", "1s"]);
            assert_ended(&ended, 2, &["cannot start: /proc/"]);
        }
    }
    // Nor where none may be opened.
    let folder = TempDir::new().expect("folder");
    let copied = folder.path().join("mmpcheck");
    tool("cp", &[Path::new(mmpcheck), &copied]);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
    let ended = ended(Command::new(copied).arg("--health").uid(NOBODY).gid(NOBODY));
    let words = ["cannot tell whether all is well: ", "cannot open: Permission denied"];
    assert_ended(&ended, 2, &words);
    assert_eq!(ended.out, "");
}

/// A row for each device, then sentences, and no line that a disk has made.
fn table(devices: &[Loop]) {
    let said = all(&[]);
    let mut lines = said.out.lines();
    assert!(lines.next().is_some_and(|head| head.starts_with("DEVICE  ")), "{}", said.out);
    let sentences: Vec<_> = lines.by_ref().skip_while(|line| line.starts_with("/dev/")).collect();
    assert!(sentences.iter().all(|line| line.starts_with("mmpcheck: /dev/")), "{}", said.out);
    for device in devices {
        let begins = format!("{} ", device.name());
        let rows = said.out.lines().filter(|line| line.starts_with(&begins));
        assert_eq!(rows.count(), 1, "{}", said.out);
    }
}

fn json(devices: &[Loop], images: &[Image]) {
    let document: Value = serde_json::from_str(&all(&["--json"]).out).expect("JSON");
    schema::assert_valid(&document);
    for text in strings(&document) {
        assert!(!text.contains('\n'), "{text}");
        assert_harmless(text);
    }
    for (device, image) in devices.iter().zip(images) {
        let entries = document["devices"].as_array().expect("devices");
        let entry = entries.iter().find(|entry| entry["device"] == device.name());
        let entry = entry.unwrap_or_else(|| panic!("{} is missing", device.name()));
        let block = image.block();
        let (node, kernel) = (&block.as_bytes()[0x10..0x50], &block.as_bytes()[0x50..0x70]);
        let holder = &entry["mmp"]["holder"];
        assert_eq!(holder["node_name"], Escaped(node).to_string());
        assert_eq!(holder["device_name"], Escaped(kernel).to_string());
    }
}

/// All text of a document.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(fields) => {
            let names = fields.keys().map(String::as_str);
            names.chain(fields.values().flat_map(strings)).collect()
        }
        _ => Vec::new(),
    }
}

fn every_form_of_watch() {
    let images = images();
    images.iter().for_each(spoil);
    let names: Vec<_> = images.iter().map(Image::name).collect();
    let metrics = images[0].dir().join("mmp.prom");
    let log = images[0].dir().join("log");
    let output = metrics.to_str().expect("UTF-8");
    let command = format!("printf '%s\\n' \"$MMP_REASON\" >>{}", log.display());
    let watch = |form: &[&str]| {
        let said = run("mmpd", &[&["watch", "--for", "6s"], form, &names[..]].concat());
        assert_harmless(&said.said());
        assert_eq!(said.code, 1, "{}", said.said());
        said
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let said = watch(&["-o", output, "--on-alarm", &command]);
            assert!(said.err.lines().all(|line| line.starts_with("mmpd: /")), "{}", said.err);
            let alarms = said.err.lines().filter(|line| line.contains(": bad-checksum: "));
            assert_eq!(alarms.count(), names.len(), "{}", said.err);
        });
        scope.spawn(|| {
            let said = watch(&["--json"]);
            let objects = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            let objects: Vec<Value> = objects.collect();
            assert_eq!(objects.len(), names.len(), "{}", said.out);
            for object in &objects {
                schema::assert_valid(object);
                strings(object).into_iter().for_each(assert_harmless);
            }
        });
    });
    let samples = parsed(&fs::read_to_string(&metrics).expect("metrics"));
    assert!(samples.iter().all(|s| names.iter().any(|name| s[2]["device"] == *name)));
    let log = fs::read_to_string(&log).expect("log");
    assert_harmless(&log);
    assert_eq!(log.lines().count(), names.len(), "{log}");
}
