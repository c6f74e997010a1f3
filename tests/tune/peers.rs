//! Beside e2fsprogs in earnest: what one turns on the other turns off, with every guard in force.
//! Each of these waits for real guard intervals.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::program::Ended;
use crate::common::suite::Suite;
use crate::images::{
    assert_clean, copy, differences, folder, header, mke2fs, mmptune, must, run, tune2fs,
};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("peers/on_with_tune2fs_off_with_mmptune", on_with_tune2fs_off_with_mmptune);
    suite.case("peers/on_with_mmptune_off_with_tune2fs", on_with_mmptune_off_with_tune2fs);
    suite
        .case("peers/the_interval_is_changed_under_a_claim", the_interval_is_changed_under_a_claim);
    suite.case("peers/a_killed_e2fsck_is_cleared", a_killed_e2fsck_is_cleared);
    suite.case("peers/clearing_at_once_takes_two_f", clearing_at_once_takes_two_f);
    suite.case("peers/a_block_that_advances_is_left_alone", a_block_that_advances_is_left_alone);
    suite.case(
        "peers/a_crashed_server_leaves_a_journal_to_replay_first",
        a_crashed_server_leaves_a_journal_to_replay_first,
    );
    suite.case("peers/a_device_mounted_elsewhere_is_in_use", a_device_mounted_elsewhere_is_in_use);
}

fn made(image: &Path) {
    mke2fs(image, "-t ext4", "16M").expect("mke2fs");
}

/// An image on which `mmptune` has turned MMP on, and the folder it is in.
fn turned_on() -> (TempDir, PathBuf) {
    let folder = folder();
    let image = folder.path().join("image");
    made(&image);
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    (folder, image)
}

/// Puts a sequence into the MMP block.
fn set_sequence(image: &Path, sequence: &str) {
    let request = format!("set_mmp_value seq {sequence}");
    let request = ["-w", "-c", "-R", &request].map(OsStr::new);
    must("debugfs", request.into_iter().chain([image.as_os_str()]));
}

fn sequence(image: &Path) -> String {
    let text = run("debugfs", [OsStr::new("-R"), OsStr::new("dump_mmp"), image.as_os_str()]).out;
    let line = text.lines().find_map(|line| line.strip_prefix("sequence: "));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn on_with_tune2fs_off_with_mmptune() {
    let folder = folder();
    let image = folder.path().join("image");
    made(&image);
    assert_eq!(tune2fs("-O mmp", &image).code, 0);
    let ended = mmptune("-O ^mmp", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.took >= Duration::from_secs(11), "off without a guard interval: {ended:?}");
    assert_clean(&image, "off");
}

fn on_with_mmptune_off_with_tune2fs() {
    let (_folder, image) = turned_on();
    assert_eq!(run("e2mmpstatus", [&image]).code, 0);
    assert_eq!(tune2fs("-O ^mmp", &image).code, 0);
    assert_clean(&image, "off");
}

/// A claim leaves the block clean, with the interval it had.
fn the_interval_is_changed_under_a_claim() {
    let (_folder, image) = turned_on();
    let ended = mmptune("-E mmp_update_interval=20", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(header(&image, "MMP update interval"), 20);
    assert_eq!(sequence(&image), "ff4d4d50");
    assert_eq!(run("e2mmpstatus", [&image]).code, 0);
    assert_clean(&image, "interval");
}

fn a_killed_e2fsck_is_cleared() {
    let (_folder, image) = turned_on();
    set_sequence(&image, "0xe24d4d50");
    // e2fsck does not go on, and neither does a change.
    assert_eq!(run("e2fsck", [OsStr::new("-fp"), image.as_os_str()]).code & 8, 8);
    let ended = mmptune("-O ^mmp", &image);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("mmptune -f -E clear_mmp"), "{ended:?}");
    let ended = mmptune("-f -E clear_mmp", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    // One that waits at a question does not.
    assert!(ended.err.contains("waits at a question"), "{ended:?}");
    assert!(ended.err.contains("cleared; run 'e2fsck -f "), "{ended:?}");
    // A living e2fsck writes once a minute.
    assert!(ended.took >= Duration::from_secs(66), "{ended:?}");
    assert_eq!(sequence(&image), "ff4d4d50");
    let ended = run("e2fsck", [OsStr::new("-fp"), image.as_os_str()]);
    assert!(ended.code <= 1, "{ended:?}");
}

fn clearing_at_once_takes_two_f() {
    let (_folder, image) = turned_on();
    set_sequence(&image, "0xe24d4d50");
    let ended = mmptune("-f -f -E clear_mmp", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.took < Duration::from_secs(10) && ended.err.contains("-ff: not watched"),
        "{ended:?}"
    );
    assert_eq!(sequence(&image), "ff4d4d50");
}

/// A change while somebody else writes the block: refused, and nothing is written.
fn while_it_advances(arguments: &str, image: &Path) -> Ended {
    set_sequence(image, "0x10");
    let ended = std::thread::scope(|scope| {
        let change = scope.spawn(|| mmptune(arguments, image));
        std::thread::sleep(Duration::from_secs(2));
        set_sequence(image, "0x11");
        change.join().expect("joined")
    });
    assert_eq!(ended.code, 1, "{arguments}: {ended:?}");
    assert_eq!(sequence(image), "00000011", "{arguments}");
    ended
}

/// Somebody who writes the block is named, and nothing is written.
fn a_block_that_advances_is_left_alone() {
    for arguments in ["-O ^mmp", "-f -E clear_mmp", "-E mmp_update_interval=9"] {
        let (_folder, image) = turned_on();
        let ended = while_it_advances(arguments, &image);
        assert!(ended.err.contains("in use") && ended.err.contains("node '"), "{ended:?}");
        let told = ["nothing was changed", "not cleared"].map(|what| ended.err.contains(what));
        assert!(told[0] != told[1] && !ended.err.contains("mount it here"), "{ended:?}");
    }
}

/// An unreplayed journal would overwrite the change.
fn a_crashed_server_leaves_a_journal_to_replay_first() {
    let (folder, image) = turned_on();
    let before = folder.path().join("before");
    let request = ["-w", "-c", "-R", "feature needs_recovery"].map(OsStr::new);
    must("debugfs", request.into_iter().chain([image.as_os_str()]));
    copy(&image, &before);
    let ended = mmptune("-f -O ^mmp", &image);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("the journal needs recovery"), "{ended:?}");
    assert_eq!(differences(&before, &image), []);
}

/// A file system mounted elsewhere has a journal to replay and is not clean: what is said is who
/// has it, not that e2fsck should be run.
fn a_device_mounted_elsewhere_is_in_use() {
    for (request, arguments) in [
        ("feature needs_recovery", "-O ^mmp"),
        ("feature needs_recovery", "-n -f -O ^mmp"),
        ("ssv state 0", "-E mmp_update_interval=9"),
    ] {
        let (_folder, image) = turned_on();
        let debugfs = ["-w", "-c", "-R", request].map(OsStr::new);
        must("debugfs", debugfs.into_iter().chain([image.as_os_str()]));
        let ended = while_it_advances(arguments, &image);
        assert!(ended.err.contains("in use by node '"), "{arguments}: {ended:?}");
        assert!(!ended.err.contains("e2fsck"), "{arguments}: {ended:?}");
        assert!(ended.err.contains("nothing was changed"), "{arguments}: {ended:?}");
    }
}
