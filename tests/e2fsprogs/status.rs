//! e2mmpstatus and `mmpcheck` on the same images at the same time.

use std::fs;
use std::thread;
use std::time::Duration;

use mmp::layout::{Names, Sequence};

use super::common::beside::beside;
use super::common::image::Image;
use super::common::program::{Ended, run};
use super::common::suite::Suite;

pub(super) fn cases(suite: &mut Suite) {
    for (name, word, make) in STATES {
        suite.case(format!("status/{name}"), move || same_code(word, &make()));
    }
    suite.case("status/active", active);
    for (name, path) in [("missing", "/nonexistent/disk"), ("directory", "/")] {
        suite.case(format!("status/{name}"), move || cannot_open(path));
    }
    suite.case("status/not_ext4", || cannot_open(Image::bytes(&[0; 1 << 20]).name()));
    suite.case("status/short", || cannot_open(Image::bytes(&[0; 1500]).name()));
    suite.case("status/info_has_the_same_text", info);
    suite.case("status/a_damaged_block_is_called_so", called_so);
    suite.case("status/worst_of_several_devices_counts", worst_counts);
    suite.case("status/a_hundred_stale_devices_take_one_guard_interval", a_hundred);
}

/// A name, what `mmpcheck --json` calls the state, and an image in it.
type State = (&'static str, &'static str, fn() -> Image);

const STATES: [State; 9] = [
    ("clean", "clean", Image::new),
    ("stale", "stale", || state(Sequence::Active(0x1234))),
    ("largest_sequence", "stale", || state(Sequence::Active(0xE24D_4D4F))),
    ("fsck", "fsck", || state(Sequence::Fsck)),
    ("unknown", "unknown", || state(Sequence::Unknown(0xE24D_4D51))),
    ("bad_checksum", "bad checksum", || damaged(&[], 0x200)),
    ("checksum_not_kept", "clean", || damaged(&["-O", "^metadata_csum"], 0x3FC)),
    ("bad_magic", "bad magic", || damaged(&["-O", "^metadata_csum"], 0)),
    ("mmp_off", "error", || Image::with(&["-O", "^mmp"], "16M")),
];

fn state(sequence: Sequence) -> Image {
    let image = Image::new();
    image.put(&image.block().with_sequence(sequence));
    image
}

/// One byte of the block is another.
fn damaged(options: &[&str], at: u64) -> Image {
    let image = Image::with(options, "16M");
    image.patch(image.area().offset.0 + at, &[0xEE]);
    image
}

/// Both programs at once.
fn both(path: &str) -> (Ended, Ended) {
    thread::scope(|scope| {
        let theirs = scope.spawn(|| run("e2mmpstatus", &[path]));
        let ours = run("mmpcheck", &["--json", path]);
        (theirs.join().expect("e2mmpstatus"), ours)
    })
}

fn assert_word(ours: &Ended, word: &str) {
    let document: serde_json::Value = serde_json::from_str(&ours.out).expect("JSON");
    assert_eq!(document["devices"][0]["state"], word, "{}", ours.out);
}

fn same_code(word: &str, image: &Image) {
    let before = image.content();
    let (theirs, ours) = both(image.name());
    assert_eq!(ours.code, theirs.code, "{}{}", theirs.said(), ours.said());
    assert_word(&ours, word);
    let info = |program: &str| run(program, &["-i", image.name()]).code;
    assert_eq!(info("mmpcheck"), info("e2mmpstatus"));
    if word == "clean" {
        let ours = run("mmpcheck", &[image.name()]).out;
        assert_eq!(ours.replace("mmpcheck", "e2mmpstatus"), theirs.out);
    }
    assert!(image.content() == before, "written to");
}

fn active() {
    let image = Image::new();
    let mut block = image.block().with_names(&Names::new(b"other-node", b"sdz"));
    let heartbeat = || {
        block = block.clone().with_sequence(block.sequence().next());
        image.put(&block);
    };
    let (theirs, ours) = beside(Duration::from_millis(900), heartbeat, || {
        thread::sleep(Duration::from_millis(100));
        both(image.name())
    });
    assert_eq!((ours.code, theirs.code), (1, 1), "{}{}", theirs.said(), ours.said());
    assert_word(&ours, "in use");
    assert!(ours.out.contains("node 'other-node' device 'sdz'"), "{}", ours.out);
    assert!(ours.took < Duration::from_secs(2) && theirs.took > Duration::from_secs(10));
}

/// e2mmpstatus exits with whatever number the error has; ours is 2.
fn cannot_open(path: &str) {
    let (theirs, ours) = both(path);
    assert_eq!(ours.code, 2, "{}", ours.said());
    assert_ne!(theirs.code, 0, "{}", theirs.said());
    assert_word(&ours, "error");
}

fn info() {
    let image = Image::new();
    let names = Names::new(b"oss1.example.com", b"mapper/ost-0001");
    let sequences = [0, 1, 0x1234, 0x0123_4567, 0xE24D_4D4F, 0xFF4D_4D50, 0xE24D_4D50, !0];
    let times =
        [0, 1, 951_782_400, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x2_0000_0000, 0x700_0000_0000];
    for (index, raw) in sequences.into_iter().enumerate() {
        let time = times[index % times.len()];
        let block = image.block().with_sequence(Sequence::from_raw(raw)).with_time(time);
        let block = if index > 0 { block.with_names(&names) } else { block };
        image.put(&block.with_check_interval(u16::try_from(index * 9000).expect("small")));
        let theirs = run("e2mmpstatus", &["-i", image.name()]);
        let ours = run("mmpcheck", &["-i", image.name()]);
        assert_eq!((theirs.code, &theirs.err), (0, &String::new()));
        assert_eq!((ours.code, ours.out, ours.err), (0, theirs.out, String::new()));
    }
}

/// A block of zeros, and one with a byte that is wrong: the word that mmpcheck has, and nothing
/// that is made of garbage. e2mmpstatus -i says so too, and ends with 0; a script wants to be told.
fn called_so() {
    let zeroed = Image::new();
    zeroed.patch(zeroed.area().offset.0, &[0; 1024]);
    for (image, word) in [(zeroed, "bad magic"), (damaged(&[], 0x200), "bad checksum")] {
        for option in [&[][..], &["-i"], &["-h"]] {
            let ours = run("mmpdump", &[option, &[image.name()]].concat());
            assert_eq!(ours.code, 1, "{}", ours.said());
            let told = format!("mmpdump: {}: {word}: not safe to mount; ", image.name());
            assert!(ours.err.starts_with(&told) && ours.err.lines().count() == 1, "{}", ours.err);
            let state = ours.out.contains(&format!("\n    mmp_state: {word}\n"));
            assert_eq!(state, option != ["-h"], "{}", ours.out);
            for computed in ["mmp_age", "mmp_guard_interval", "active", "clean\n    mmp"] {
                assert!(!ours.out.contains(computed), "{computed}: {}", ours.out);
            }
        }
        let ours = run("mmpdump", &["--json", image.name()]);
        let document: serde_json::Value = serde_json::from_str(&ours.out).expect("JSON");
        let block = &document["devices"][0]["mmp"];
        assert_eq!((ours.code, &block["state"]), (1, &word.into()), "{}", ours.out);
        assert!(block["guard_interval_s"].is_null(), "{}", ours.out);
        let (theirs, ours) =
            (run("e2mmpstatus", &["-i", image.name()]), run("mmpcheck", &["-i", image.name()]));
        assert_eq!((theirs.code, ours.code), (0, 0));
        assert!(!theirs.err.is_empty() && ours.err.contains(word), "{}", ours.err);
    }
}

fn worst_counts() {
    let (clean, fsck) = (Image::new(), state(Sequence::Fsck));
    let (clean, fsck, missing) = (clean.name(), fsck.name(), "/nonexistent");
    for (code, devices) in [
        (0, &[clean, clean][..]),
        (1, &[clean, fsck, clean]),
        (2, &[missing, fsck]),
        (2, &[fsck, missing, clean]),
    ] {
        let ended = run("mmpcheck", devices);
        assert_eq!(ended.code, code, "{}", ended.said());
        assert_eq!(ended.said().lines().count(), devices.len(), "{}", ended.said());
        let quiet = run("mmpcheck", &[&["-q"], devices].concat());
        assert_eq!((quiet.code, quiet.out.contains("safe to mount '")), (code, false));
    }
}

fn a_hundred() {
    let stale = Image::with(&["-b", "1024", "-O", "^has_journal"], "1M");
    stale.put(&stale.block().with_sequence(Sequence::Active(7)));
    let copies: Vec<_> = (0..100).map(|n| stale.dir().join(format!("disk-{n}"))).collect();
    for copy in &copies {
        fs::copy(stale.path(), copy).expect("copy");
    }
    let ended = run("mmpcheck", &copies);
    assert_eq!(ended.code, 0, "{}", ended.said());
    assert_eq!(ended.out.matches("MMP is stale").count(), 100, "{}", ended.out);
    let bounds = Duration::from_secs(11)..Duration::from_secs(14);
    assert!(bounds.contains(&ended.took), "{:?}", ended.took);
}
