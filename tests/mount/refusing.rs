//! What must not be mounted, is not, and soon.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use crate::common::disk::Disk;
use crate::common::image::Image;
use crate::common::suite::Suite;
use crate::stage::{Stage, staged, staged_on};
use crate::{GUARD, SLACK, assert_ended, assert_took};

/// One update interval and 2 s.
const SOON: Duration = Duration::from_secs(7);

pub(crate) fn cases(suite: &mut Suite) {
    for options in
        ["mmp.mode=guard", "mmp.mode=strict", "mmp.mode=check", "ro", "ro,mmp.mode=check"]
    {
        suite.case(format!("in use, {options}"), move || {
            staged(move |stage| in_use(stage, options));
        });
    }
    for (name, value, words) in [
        ("fsck", "0xe24d4d50", &["fsck", "clear_mmp", "renews that time", "mmpcheck -i"][..]),
        ("an unknown sequence", "0xe24d4d51", &["unknown", "0xe24d4d51"]),
    ] {
        for options in ["mmp.mode=guard", "mmp.mode=strict", "mmp.mode=check", "ro"] {
            suite.case(format!("{name}, {options}"), move || {
                staged(move |stage| {
                    stage.set_sequence(value);
                    let before = stage.image.content();
                    let ended = stage.mount(&stage.a, "a", options);
                    assert_ended(&ended, 32, words);
                    assert_took(&ended, Duration::ZERO, Duration::from_secs(1));
                    assert!(stage.image.content() == before);
                });
            });
        }
    }
    suite.case("of two at the same moment one mounts", || staged(race));
    suite.case("a page from before the other node's mount", || {
        let image = || Image::with(&["-b", "4096"], "64M");
        staged_on(image, &["-b", "4096"], stale_page);
    });
    suite.case("wrong usage", || staged(wrong_usage));
}

fn in_use(stage: &Stage, options: &str) {
    assert_ended(&stage.plain(&stage.a, "a"), 0, &[]);
    let ended = stage.mount(&stage.b, "b", options);
    let node = hostname::get().expect("host name");
    let node = format!("node '{}' device '{}'", node.display(), stage.a.kernel_name());
    assert_ended(&ended, 32, &["in use", &node, "mmp.wait="]);
    assert_took(&ended, Duration::ZERO, SOON);
    assert_eq!(stage.mounted("b"), "");
}

fn race(stage: &Stage) {
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| stage.mount(&stage.a, "a", ""));
        let b = scope.spawn(|| stage.mount(&stage.b, "b", ""));
        (a.join().expect("a"), b.join().expect("b"))
    });
    let (winner, loser, other) = match a.code {
        0 => (a, b, stage.a.kernel_name()),
        _ => (b, a, stage.b.kernel_name()),
    };
    assert_ended(&winner, 0, &[]);
    assert_ended(&loser, 32, &["in use", other]);
    assert_took(&winner, GUARD, GUARD + SLACK);
    assert_took(&loser, Duration::ZERO, GUARD + Duration::from_secs(2));
}

/// A process keeps the device open and has read it while it was clean. Then it is mounted over the
/// other path. A plain mount goes by the page; the helper must not.
fn stale_page(stage: &Stage) {
    let reader = File::open(stage.a.path()).expect("open");
    let offset = stage.image.area().offset.0;
    reader.read_exact_at(&mut [0; 4096], offset).expect("read");
    assert_ended(&stage.plain(&stage.b, "b"), 0, &[]);
    for options in ["mmp.mode=guard", "mmp.mode=strict", "mmp.mode=check", "ro"] {
        let ended = stage.mount(&stage.a, "a", options);
        assert_ended(&ended, 32, &["in use", stage.b.kernel_name()]);
        assert_took(&ended, Duration::ZERO, SOON);
    }
    // Something may have dropped the page by now: read it anew while it is clean.
    stage.umount("b");
    reader.read_exact_at(&mut [0; 4096], offset).expect("read");
    assert_ended(&stage.plain(&stage.b, "b"), 0, &[]);
    let ended = stage.plain(&stage.a, "a");
    assert_ended(&ended, 0, &[]);
    assert_took(&ended, Duration::ZERO, Duration::from_secs(1));
    stage.umount("a");
}

fn wrong_usage(stage: &Stage) {
    let before = Disk::open(stage.image.path()).mmp();
    for options in ["mmp.mode=strct", "mmp.wait=soon", "mmp.guard", "bind"] {
        let dir = stage.dir("a");
        let arguments = [stage.a.name(), dir.to_str().expect("UTF-8"), "-o", options];
        let ended = stage.helper(&arguments);
        assert_ended(&ended, 1, &[options]);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
    assert_ended(&stage.helper(&[stage.a.name()]), 1, &[]);
    let ended = stage.helper(&[stage.a.name(), "/nowhere"]);
    assert_ended(&ended, 32, &["/nowhere", "no directory"]);
    assert_ended(&stage.helper(&["/dev/nothing", "/mnt"]), 32, &["/dev/nothing"]);
    assert_eq!(Disk::open(stage.image.path()).mmp(), before);
}
