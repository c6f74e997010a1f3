//! What is refused, with which words and code, and that nothing is written then.

use std::ffi::OsStr;
use std::path::Path;

use crate::common::{
    assert_clean, copy, differences, folder, header, mke2fs, mke2fs_filled, mmptune, must, run,
    tune2fs,
};

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

#[test]
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

#[test]
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

#[test]
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

#[test]
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
        [("ssv state 0", "not cleanly unmounted"), ("ssv state 3", "contains errors")]
    {
        made();
        set(request);
        refused(&image, "-O mmp", 1, words);
        let ended = mmptune("-f -O mmp", &image);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.err.contains("-f: going on") && ended.err.contains(words), "{ended:?}");
    }
    must("mke2fs", ["-qF", "-O", "journal_dev", &image.to_string_lossy(), "4M"]);
    refused(&image, "-O mmp", 1, "Cannot modify a journal device.");
    made();
    refused(&image, "-f -E clear_mmp", 1, "MMP is not enabled");
    refused(&image, "-f -f -E clear_mmp", 1, "MMP is not enabled");
    must("chmod", ["400", &image.to_string_lossy()]);
}

#[test]
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

#[test]
fn damage_is_left_to_e2fsck() {
    let folder = folder();
    let image = folder.path().join("image");
    let made = || mke2fs(&image, "-t ext4 -b 1024", "16M").expect("mke2fs");
    let poke = |offset: u64, byte: u8| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&image).expect("open");
        file.write_all_at(&[byte], offset).expect("write");
    };
    made();
    let bitmap = {
        let text = must("dumpe2fs", [&image]);
        let rest = text.split("Block bitmap at ").nth(1).expect("a bitmap").to_owned();
        rest.split([' ', ',']).next().and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    poke(bitmap * 1024 + 1023, 0x55);
    refused(&image, "-O mmp", 1, "wrong checksum");
    made();
    poke(2 * 1024 + 0x0C, 0x55);
    refused(&image, "-O mmp", 1, "the descriptor of group 0 has a wrong checksum");
    made();
    poke(1024 + 0x20, 0x55);
    refused(&image, "-O mmp", 2, "superblock checksum does not match");
    // Without checksums the numbers must fit together.
    mke2fs(&image, "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "16M").expect("mke2fs");
    poke(2 * 1024 + 0x0C, 0x55);
    refused(&image, "-O mmp", 1, "free clusters");
}

/// An MMP block that is none any more is freed all the same, unless something contradicts.
#[test]
fn a_lost_mmp_block_does_not_leak() {
    let folder = folder();
    let image = folder.path().join("image");
    let scribble = |block: u64, size: u64| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&image).expect("open");
        file.write_all_at(&[0x77; 1024], block * size).expect("write");
    };
    mke2fs(&image, "-t ext4 -b 1024", "32M").expect("mke2fs");
    let free = header(&image, "Free blocks");
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    scribble(header(&image, "MMP block number"), 1024);
    refused(&image, "-O ^mmp", 1, "--no-guard goes on");
    let ended = mmptune("--no-guard -O ^mmp", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(header(&image, "Free blocks"), free);
    assert_clean(&image, "freed");

    // tune2fs lets it leak.
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    scribble(header(&image, "MMP block number"), 1024);
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
    {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&image).expect("open");
        file.write_all_at(&other.to_le_bytes(), 1024 + 0x168).expect("write");
    }
    for arguments in ["--no-guard -O ^mmp", "--no-guard -f -E clear_mmp"] {
        let before = folder.path().join("before");
        copy(&image, &before);
        let ended = mmptune(arguments, &image);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("backup superblock in group 1 says"), "{ended:?}");
        assert_eq!(differences(&before, &image), []);
    }
}
