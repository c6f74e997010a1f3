//! Devices that do not answer.

use std::thread;
use std::time::Duration;

use mmp::layout::Sequence;
use serde_json::Value;

use super::common::faulty::{Fault, FaultyDisk, On};
use super::common::image::Image;
use super::common::loops::Loop;
use super::common::program::{Running, run};
use super::common::schema;
use super::common::suite::Suite;

/// A guard interval, the patience with a device that hangs, and a loaded machine.
const BOUND: Duration = Duration::from_secs(11 + 10 + 10);

pub(super) fn cases(suite: &mut Suite) {
    suite.case("hanging/two_of_two_hundred_are_named_in_time", two_of_two_hundred);
    suite.case("hanging/one_that_is_named_first_holds_up_nobody", named_first);
}

/// Without metadata_csum, so that a copy can be given another UUID by writing it.
fn small() -> Image {
    Image::with(&["-O", "^metadata_csum,^has_journal"], "2M")
}

/// The same file system with another UUID.
fn copy(image: &Image, number: u8) -> Image {
    let copy = Image::bytes(&image.content());
    copy.patch(1024 + 0x68, &[number; 16]);
    copy
}

/// Other devices that the machine has may have to be watched; a time-out bounds that.
fn two_of_two_hundred() {
    let template = small();
    let well: Vec<_> = thread::scope(|scope| {
        let make = |from: u8| {
            let template = &template;
            scope.spawn(move || {
                let images = (from..from + 18).map(|number| copy(template, number));
                images.map(|image| (Loop::new(image.path()), image)).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (1..200).step_by(18).map(make).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("loops")).collect()
    });
    let disks = [201, 202].map(|number| FaultyDisk::new(copy(&template, number)));
    let hung = disks.each_ref().map(|disk| Loop::new(disk.path()));
    disks.iter().for_each(|disk| disk.fail(On::All, Fault::Hang));
    let seen = std::panic::catch_unwind(|| are_named(&well, &hung));
    // What hangs could not even be detached.
    disks.iter().for_each(FaultyDisk::heal);
    seen.expect("named");

    let names = hung.each_ref().map(Loop::name);
    let ended = run("mmpcheck", &["-q", names[0], names[1]]);
    assert_eq!((ended.code, ended.said().as_str()), (0, ""));
}

/// The program is over, for whoever waits for its end and for its outputs, although a thread of it
/// still waits for the disk.
fn are_named(well: &[(Loop, Image)], hung: &[Loop]) {
    let ended = run("mmpcheck", &["--all", "--json", "--timeout", "15s"]);
    assert!(ended.took < Duration::from_secs(25), "{:?}", ended.took);
    assert_eq!(ended.code, 2, "{}", ended.err);
    let document: Value = serde_json::from_str(&ended.out).expect("JSON");
    let entry = |device: &Loop| {
        let entries = document["devices"].as_array().expect("devices");
        let entry = entries.iter().find(|entry| entry["device"] == device.name());
        entry.unwrap_or_else(|| panic!("{} is missing", device.name())).clone()
    };
    assert!(well.len() >= 198, "{}", well.len());
    for (device, _) in well {
        assert_eq!(entry(device)["state"], "clean", "{}", device.name());
    }
    for device in hung {
        assert_eq!(entry(device)["state"], "hung");
        assert_eq!(entry(device)["findings"][0]["name"], "hung");
    }
    let names: Vec<_> = hung.iter().map(Loop::name).collect();
    let ended = run("mmpcheck", &[&["--health", "--timeout", "12s"], &names[..]].concat());
    assert_eq!(ended.code, 1, "{}", ended.said());
    assert_eq!(ended.out.lines().count(), 3, "{}", ended.out);
    assert!(names.iter().all(|name| ended.out.contains(name)), "{}", ended.out);
}

/// What was found out of the others is told, each as soon as it is known; the program is over then,
/// and whoever waits for its outputs too.
fn named_first() {
    let label = format!("hang{}", std::process::id());
    let well = Image::with(&["-L", &label], "16M");
    let stale = Image::new();
    stale.put(&stale.block().with_sequence(Sequence::Active(7)).with_check_interval(5));
    let disk = FaultyDisk::new(small());
    let (hung, labelled) = (Loop::new(disk.path()), Loop::new(well.path()));
    disk.fail(On::All, Fault::Hang);
    let seen = std::panic::catch_unwind(|| {
        thread::scope(|scope| {
            scope.spawn(|| are_told(&hung, &well, &stale));
            scope.spawn(|| are_listed(&hung, &well));
            scope.spawn(|| cannot_be_told(&hung, &labelled, &label));
        });
    });
    disk.heal();
    seen.expect("told");
}

fn are_told(hung: &Loop, well: &Image, stale: &Image) {
    let devices = [hung.name(), stale.name(), well.name()];
    let json = Running::start("mmpcheck", &[&["--json"][..], &devices].concat());
    let ended = run("mmpcheck", &devices);
    assert_eq!(ended.code, 2, "{}", ended.said());
    assert!(ended.took < BOUND, "{:?}", ended.took);
    let told: Vec<_> = ended.out.lines().collect();
    assert_eq!(told.len(), 2, "{}", ended.out);
    assert!(told[0].contains(well.name()) && told[0].ends_with("MMP is clean"), "{}", told[0]);
    assert!(told[1].contains(stale.name()) && told[1].contains("MMP is stale"), "{}", told[1]);
    let begins = format!("mmpcheck: {}: hung: has not answered; ", hung.name());
    assert!(ended.err.starts_with(&begins), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);

    let ended = json.end(BOUND);
    assert_eq!(ended.code, 2, "{}", ended.said());
    let document: Value = serde_json::from_str(&ended.out).expect("JSON");
    schema::assert_valid(&document);
    let entries = document["devices"].as_array().expect("devices");
    let words: Vec<_> = entries.iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!(words, ["hung", "stale", "clean"]);
    assert_eq!(entries[0]["device"], hung.name());
}

fn are_listed(hung: &Loop, well: &Image) {
    let ended = run("mmpcheck", &["-i", hung.name(), well.name()]);
    assert_eq!(ended.code, 2, "{}", ended.said());
    assert!(ended.took < BOUND, "{:?}", ended.took);
    assert_eq!(ended.out.matches("MMP_block:").count(), 1, "{}", ended.out);
    assert!(ended.err.contains(&format!("{}: hung", hung.name())), "{}", ended.err);
}

/// The device that hangs may have the same name.
fn cannot_be_told(hung: &Loop, labelled: &Loop, label: &str) {
    let spec = format!("LABEL={label}");
    let ended = run("mmpcheck", &[&spec]);
    assert_eq!(ended.code, 2, "{}", ended.said());
    assert!(ended.took < BOUND, "{:?}", ended.took);
    assert!(ended.err.contains("cannot tell which device has this name: "), "{}", ended.err);
    assert!(ended.err.contains(hung.name()), "{}", ended.err);
    assert_eq!(run("mmpcheck", &[labelled.name()]).code, 0);
}
