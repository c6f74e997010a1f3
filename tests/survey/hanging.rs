//! Devices that do not answer.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::common::image::Image;
use super::common::loops::Loop;
use super::common::program::run;
use super::common::suite::Suite;
use super::disk::{Fault, FaultyDisk, On};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("hanging/two_of_two_hundred_are_named_in_time", two_of_two_hundred);
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
