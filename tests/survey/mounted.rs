//! File systems that this machine's kernel has mounted.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::{run, tool};
use super::common::suite::Suite;

pub(super) fn cases(suite: &mut Suite) {
    suite.case("mounted/is_found_with_its_directory", found);
    suite.case("mounted/a_frozen_one_is_told", frozen);
    suite.case("mounted/two_loop_devices_over_one_image_are_told", twice);
}

/// A device's entry in `mmpcheck --all` or `--mounted`; other devices of the machine may be busy.
fn entry(which: &str, device: &Loop) -> Option<Value> {
    let ended = run("mmpcheck", &[which, "--json", "--timeout", "30s"]);
    let document: Value = serde_json::from_str(&ended.out).expect("JSON");
    let entries = document["devices"].as_array().expect("devices").clone();
    entries.into_iter().find(|entry| entry["device"] == device.name())
}

fn names(entry: &Value) -> Vec<&str> {
    let findings = entry["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["name"].as_str().expect("a name")).collect()
}

fn found() {
    let image = Image::with(&["-L", "target"], "16M");
    let device = Loop::new(image.path());
    assert_eq!(entry("--mounted", &device), None);
    let mount = Mount::new(device.path()).expect("mount");
    let entry = entry("--mounted", &device).expect("listed");
    assert_eq!(entry["state"], "in use", "{entry:#}");
    assert_eq!(entry["mounted"], "read-write");
    assert_eq!(entry["mounts"][0]["directory"], mount.dir().to_str().expect("UTF-8"));
    assert_eq!(entry["volume_name"], "target");
    assert_eq!((entry["safe_to_mount"].as_bool(), names(&entry)), (Some(false), vec![]));

    let table = run("mmpcheck", &["--mounted", "--timeout", "30s"]).out;
    let row = table.lines().find(|line| line.contains(device.name())).expect("a row");
    for cell in ["target", " on ", "in use", "5/10 s", device.kernel_name()] {
        assert!(row.contains(cell), "{row}");
    }
    let quiet = run("mmpcheck", &["--mounted", "--quiet", "--timeout", "30s"]).out;
    assert!(!quiet.contains(device.name()), "{quiet}");
}

fn frozen() {
    let image = Image::new();
    let device = Loop::new(image.path());
    let mount = Mount::new(device.path()).expect("mount");
    let dir = mount.dir().to_str().expect("UTF-8");
    // kmmpd is to have begun.
    thread::sleep(Duration::from_secs(1));
    tool("fsfreeze", &["--freeze", dir]);
    let seen = std::panic::catch_unwind(|| {
        let entry = entry("--all", &device).expect("listed");
        assert_eq!(entry["state"], "stale", "{entry:#}");
        assert_eq!(names(&entry), ["frozen"], "{entry:#}");
    });
    tool("fsfreeze", &["--unfreeze", dir]);
    seen.expect("frozen");
}

fn twice() {
    let image = Image::new();
    let (one, other) = (Loop::new(image.path()), Loop::new(image.path()));
    for (device, twin) in [(&one, &other), (&other, &one)] {
        let entry = entry("--all", device).expect("listed");
        assert_eq!(names(&entry), ["same-uuid"], "{entry:#}");
        let message = entry["findings"][0]["message"].as_str().expect("a message");
        assert!(message.contains(&format!("{} has the same UUID", twin.name())), "{message}");
    }
}
