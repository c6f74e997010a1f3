//! What is refused, with which words and code, and that nothing is written then.

use std::ffi::OsStr;
use std::path::Path;

use crate::common::suite::Suite;
use crate::images::{
    assert_clean, copy, differences, folder, header, mke2fs, mke2fs_filled, mmptune, must, patch,
    run, tune2fs,
};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "input/bad_values_have_the_words_and_code_of_tune2fs",
        bad_values_have_the_words_and_code_of_tune2fs,
    );
    suite.case("input/the_bounds_of_the_interval", the_bounds_of_the_interval);
    suite.case("input/twice_is_once", twice_is_once);
    suite.case("input/states_that_forbid_a_change", states_that_forbid_a_change);
    suite.case("input/a_full_file_system", a_full_file_system);
    suite.case("input/damage_is_left_to_e2fsck", damage_is_left_to_e2fsck);
    suite.case("input/a_lost_mmp_block_does_not_leak", a_lost_mmp_block_does_not_leak);
    suite.case("input/an_image_cut_short", an_image_cut_short);
    suite.case("input/an_interval_left_too_big_by_others", an_interval_left_too_big_by_others);
    suite.case("input/a_dry_run_changes_nothing", a_dry_run_changes_nothing);
    suite.case("input/an_mmp_block_where_none_can_be", an_mmp_block_where_none_can_be);
    suite.case("input/a_result_that_cannot_be_written", a_result_that_cannot_be_written);
}

pub(crate) fn cases_of_the_kernel(suite: &mut Suite) {
    suite.case("input/a_device_in_use_here", a_device_in_use_here);
}

/// Runs mmptune, which must end with `code`, say `words` and change nothing.
fn refused(image: &Path, arguments: &str, code: i32, words: &str) {
    let before = image.with_extension("before");
    copy(image, &before);
    let ended = mmptune(arguments, image);
    assert_eq!(ended.code, code, "{arguments}: {ended:?}");
    assert!(ended.err.contains(words), "{arguments}: {ended:?}");
    assert!(ended.err.trim_end().lines().count() == 1 || code == 2, "{arguments}: {ended:?}");
    assert_eq!(differences(&before, image), [], "{arguments}");
}

fn bad_values_have_the_words_and_code_of_tune2fs() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    for (arguments, words) in [
        ("-E mmp_update_interval=301", "mmp_update_interval too big: 301"),
        ("-E mmp_update_interval=65536", "mmp_update_interval too big: 65536"),
        ("-E mmp_update_interval=-1", "mmp_update_interval too big: 18446744073709551615"),
        ("-E mmp_update_interval=five", "Invalid mmp_update_interval: five"),
        ("-E mmp_update_interval=5s", "Invalid mmp_update_interval: 5s"),
        ("-O foo", "Invalid filesystem option set: foo"),
        ("-E clear_mmp", "Error in using clear_mmp. It must be used with -f"),
        ("-E clear-mmp", "Error in using clear_mmp. It must be used with -f"),
    ] {
        let measure = tune2fs(arguments, &image);
        assert_eq!(measure.code, 1, "{measure:?}");
        let said = format!("{}{}", measure.out, measure.err).replace(".\n", ". ");
        assert!(said.replace('\n', " ").contains(words), "{arguments}: {measure:?}");
        refused(&image, arguments, 1, words);
    }
    for (arguments, words) in [
        ("-E mmp_update_interval", "Bad options specified: mmp_update_interval"),
        ("-E mmp_update_interval=", "Invalid mmp_update_interval: "),
        ("-E stride=4", "Bad options specified: stride=4"),
        ("-O ^mmp -f -E clear_mmp", "contradict"),
    ] {
        refused(&image, arguments, 1, words);
    }
    for arguments in ["--bogus", "-n", "-f", "-O"] {
        refused(&image, arguments, 2, "");
    }
    assert_eq!(mmptune("-O mmp", &folder.path().join("none")).code, 2);
}

fn the_bounds_of_the_interval() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    for (given, kept) in [("0", 5), ("1", 1), ("300", 300)] {
        let ended = mmptune(&format!("-E mmp_update_interval={given}"), &image);
        assert_eq!(ended.code, 0, "{ended:?}");
        let plural = if kept == 1 { "" } else { "s" };
        let said = format!("update interval to {kept} second{plural}\n");
        assert!(ended.out.ends_with(&said), "{ended:?}");
    }
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    assert_eq!(header(&image, "MMP update interval"), 300);
}

fn twice_is_once() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    for (arguments, state) in [("-O ^mmp", "off"), ("-O mmp", "on")] {
        mmptune("-O mmp", &image);
        if state == "off" {
            mmptune("--no-guard -O ^mmp", &image);
        }
        let before = folder.path().join("before");
        copy(&image, &before);
        let ended = mmptune(arguments, &image);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
        assert_eq!(ended.out, format!("MMP is {state} already; nothing changed.\n"));
        assert_eq!(differences(&before, &image), []);
    }
}

fn states_that_forbid_a_change() {
    let folder = folder();
    let image = folder.path().join("image");
    let made = || mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    let set = |request: &str| {
        must(
            "debugfs",
            [OsStr::new("-w"), OsStr::new("-R"), OsStr::new(request), image.as_os_str()],
        )
    };
    made();
    set("feature needs_recovery");
    refused(&image, "-O mmp", 1, "another server has it mounted");
    refused(&image, "-f -O mmp", 1, "e2fsck -p");
    for (request, words) in
        [("ssv state 0", "was not cleanly unmounted"), ("ssv state 3", "contains errors")]
    {
        made();
        set(request);
        refused(&image, "-O mmp", 1, words);
        let ended = mmptune("-f -O mmp", &image);
        assert_eq!(ended.code, 0, "{ended:?}");
        let fact = format!("-f: going on, although it {words}\n");
        assert!(ended.err.ends_with(&fact), "{ended:?}");
    }
    must("mke2fs", ["-qF", "-O", "journal_dev", &image.to_string_lossy(), "4M"]);
    refused(&image, "-O mmp", 1, "Cannot modify a journal device.");
    made();
    refused(&image, "-f -E clear_mmp", 1, "MMP is not enabled");
    refused(&image, "-f -f -E clear_mmp", 1, "MMP is not enabled");
}

fn a_full_file_system() {
    let folder = folder();
    let image = folder.path().join("image");
    for options in ["-t ext4 -m 0 -N 64", "-t ext4 -m 0 -N 64 -b 1024 -O ^metadata_csum,^uninit_bg"]
    {
        // Index blocks take from what is left until nothing is.
        let full = (0..40).any(|spare| {
            mke2fs_filled(&image, options, "12M", |_| spare).is_ok()
                && header(&image, "Free blocks") == 0
        });
        assert!(full, "{options}");
        assert_eq!(tune2fs("-f -O mmp", &image).code, 1);
        mke2fs_filled(&image, options, "12M", |_| 0).ok();
        refused(&image, "-O mmp", 1, "no free block");
    }
}

fn damage_is_left_to_e2fsck() {
    let folder = folder();
    let image = folder.path().join("image");
    let made = || mke2fs(&image, "-t ext4 -b 1024", "16M").expect("mke2fs");
    let poke = |offset: u64| patch(&image, offset, &[0x55]);
    made();
    let bitmap = {
        let text = must("dumpe2fs", [&image]);
        let rest = text.split("Block bitmap at ").nth(1).expect("a bitmap").to_owned();
        rest.split([' ', ',']).next().and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    poke(bitmap * 1024 + 1023);
    refused(&image, "-O mmp", 1, "wrong checksum");
    made();
    poke(2 * 1024 + 0x0C);
    refused(&image, "-O mmp", 1, "the descriptor of group 0 has a wrong checksum");
    made();
    poke(1024 + 0x20);
    refused(&image, "-O mmp", 2, "superblock checksum does not match");
    // Without checksums the numbers must fit together.
    mke2fs(&image, "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "16M").expect("mke2fs");
    poke(2 * 1024 + 0x0C);
    refused(&image, "-O mmp", 1, "free clusters");
}

/// An MMP block that is none any more is freed all the same, unless something contradicts.
fn a_lost_mmp_block_does_not_leak() {
    let folder = folder();
    let image = folder.path().join("image");
    let scribble = || patch(&image, header(&image, "MMP block number") * 1024, &[0x77; 1024]);
    mke2fs(&image, "-t ext4 -b 1024", "32M").expect("mke2fs");
    let free = header(&image, "Free blocks");
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    scribble();
    refused(&image, "-O ^mmp", 1, "--no-guard goes on");
    let ended = mmptune("--no-guard -O ^mmp", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(header(&image, "Free blocks"), free);
    assert_clean(&image, "freed");

    // tune2fs lets it leak.
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    scribble();
    tune2fs("-f -O ^mmp", &image);
    assert_ne!(
        run("e2fsck", [OsStr::new("-fn"), image.as_os_str()]).code,
        0,
        "tune2fs leaks no more"
    );

    // A superblock that names a block of somebody else's contradicts its backup.
    mke2fs(&image, "-t ext4 -b 1024 -O ^metadata_csum", "32M").expect("mke2fs");
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    let other = header(&image, "MMP block number") - 1;
    patch(&image, 1024 + 0x168, &other.to_le_bytes());
    for arguments in ["--no-guard -O ^mmp", "--no-guard -f -E clear_mmp"] {
        let before = folder.path().join("before");
        copy(&image, &before);
        let ended = mmptune(arguments, &image);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("backup superblock in group 1 says"), "{ended:?}");
        assert_eq!(differences(&before, &image), []);
    }
}

/// A device in use here is refused whatever is asked for, and says who has it; where sysfs is hidden,
/// as in a chroot, too.
fn a_device_in_use_here() {
    let folder = folder();
    let (image, dir) = (folder.path().join("image"), folder.path().join("dir"));
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    std::fs::create_dir(&dir).expect("mkdir");
    // In a mount namespace of its own, so that nobody else's can keep it mounted.
    let script = "mount -o loop \"$1\" \"$2\" || exit 99; d=$(findmnt -no SOURCE \"$2\"); \
                  for s in shown hidden; do [ $s = shown ] || mount -t tmpfs none /sys; \
                  for o in -Ommp -O^mmp; do for i in $d \"$1\"; do \
                  \"$0\" -f $o $i; echo $?; done; done; done 2>&1; umount \"$2\"";
    let program = OsStr::new(env!("CARGO_BIN_EXE_mmptune"));
    let arguments = ["-m", "sh", "-c", script].map(OsStr::new).into_iter();
    let ended = run("unshare", arguments.chain([program, image.as_os_str(), dir.as_os_str()]));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.out.lines().filter(|line| *line == "1").count(), 8, "{ended:?}");
    assert_eq!(ended.out.matches("is in use on this machine").count(), 8, "{ended:?}");
    assert_eq!(ended.out.matches("mounted on").count(), 8, "{ended:?}");
}

fn an_image_cut_short() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    must("truncate", ["-s", "12M", &image.to_string_lossy()]);
    refused(&image, "-O mmp", 1, "ends beyond the device");
}

fn an_interval_left_too_big_by_others() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    must("debugfs", ["-w", "-R", "ssv mmp_interval 400", &image.to_string_lossy()]);
    assert_eq!(tune2fs("-f -O mmp", &image).code, 1);
    refused(&image, "-O mmp", 1, "mmp_update_interval too big");
    assert_eq!(mmptune("-O mmp -E mmp_update_interval=7", &image).code, 0);
    assert_eq!(header(&image, "MMP update interval"), 7);
}

/// The plan is shown, as text and as JSON, and nothing is done.
fn a_dry_run_changes_nothing() {
    let folder = folder();
    let (image, before) = (folder.path().join("image"), folder.path().join("before"));
    mke2fs(&image, "-t ext4 -b 1024", "16M").expect("mke2fs");
    copy(&image, &before);
    let text = mmptune("-n -O mmp", &image);
    let json = mmptune("-n --json -O mmp", &image);
    assert_eq!((text.code, json.code), (0, 0), "{text:?} {json:?}");
    assert_eq!(differences(&before, &image), []);
    assert!(
        text.out.contains("block 8193, backup superblock in group 1: say the same"),
        "{text:?}"
    );
    let document: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    let device = &document["devices"][0];
    let steps = device["plan"].as_array().expect("a plan").len();
    assert_eq!(steps, text.out.lines().count());
    assert_eq!(device["mmp_enabled"], true);
    assert_eq!(device["plan"][0]["what"], "superblock");
    let done = mmptune("--json -O mmp", &image);
    let document: serde_json::Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(document["devices"][0]["block_number"], header(&image, "MMP block number"));
    let again = mmptune("--json -E mmp_update_interval=999", &image);
    let document: serde_json::Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!((again.code, &document["devices"][0]["exit_code"]), (1, &1.into()), "{again:?}");
}

/// An MMP block that cannot be one is refused alike by a dry run and in earnest, and e2fsck, which
/// the message names, puts it right.
fn an_mmp_block_where_none_can_be() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4 -b 1024 -O ^metadata_csum", "16M").expect("mke2fs");
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    for number in [0u64, u64::MAX, 1, 16384] {
        patch(&image, 1024 + 0x168, &number.to_le_bytes());
        let words = format!("MMP block number {number} is none of 2 to 16383; repair it from a");
        for arguments in ["-n -O ^mmp", "-O ^mmp", "--no-guard -O ^mmp", "-f -E clear_mmp"] {
            refused(&image, arguments, 1, &words);
        }
    }
    // Plain e2fsck gives up on it.
    let fixed = run("e2fsck", ["-fy", "-b", "8193", "-B", "1024", &image.to_string_lossy()]);
    assert!(fixed.code <= 1, "{fixed:?}");
    assert_clean(&image, "repaired from a backup");
    assert_ne!(header(&image, "MMP block number"), 16384);
}

/// Who cannot be told of a result is told whether the change was made.
fn a_result_that_cannot_be_written() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    for (arguments, words) in [
        ("-n -O mmp", "nothing changed; cannot write the result"),
        ("-O mmp", "the change was made, but cannot write the result"),
        ("-O mmp", "nothing changed; cannot write the result"),
        ("--no-guard --json -O ^mmp", "the change was made, but cannot write the result"),
        ("--json -E mmp_update_interval=999", "too big: 999; cannot write the result"),
    ] {
        let script = format!("\"$0\" {arguments} \"$1\" >/dev/full");
        let program = OsStr::new(env!("CARGO_BIN_EXE_mmptune"));
        let ended = run("sh", [OsStr::new("-c"), OsStr::new(&script), program, image.as_os_str()]);
        assert_eq!(ended.code, 2, "{arguments}: {ended:?}");
        assert!(ended.err.contains(words), "{arguments}: {ended:?}");
    }
    assert!(crate::power::is_off(&image));
}
