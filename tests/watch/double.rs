//! Two kernels' worth of writers: two loop devices over one image, both mounted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use super::common::image::Image;
use super::common::loops::{Loop, Mount};
use super::common::program::tool;
use super::common::suite::Suite;
use super::{UPDATE, alarms, told, watch};

pub(super) fn cases(suite: &mut Suite) {
    suite.case("double/mounted_by_an_old_page", old_page);
    suite.case("double/thawed_after_another_has_taken_over", thawed);
}

/// A process has read the block through the page cache while it was clean, and the mount goes by
/// that page.
fn old_page() {
    let image = Image::with(&["-b", "4096"], "64M");
    let sectors: &[&str] = &["-b", "4096"];
    let (a, b) = (Loop::with(image.path(), sectors), Loop::with(image.path(), sectors));
    let (mut by_a, mut by_b) = (watch(a.path()), watch(b.path()));
    let reader = File::open(a.path()).expect("open");
    reader.read_exact_at(&mut [0; 4096], image.area().offset.0).expect("read");
    let _first = Mount::new(b.path()).expect("mount");
    thread::sleep(UPDATE + Duration::from_secs(1));
    assert_eq!(alarms(&by_a.err()), [""; 0]);
    let second = Mount::new(a.path()).expect("this kernel no longer goes by the old page");
    let event = Instant::now();
    told(&mut by_a, "second-writer", event, 2 * UPDATE);
    told(&mut by_b, "second-writer", event, 2 * UPDATE);
    for name in [a.kernel_name(), b.kernel_name()] {
        assert!(by_a.err().contains(&format!("device '{name}'")), "{}", by_a.err());
    }
    // One is gone; the other's block says clean until its kernel writes it anew.
    drop(second);
    let event = Instant::now();
    told(&mut by_b, "clean-while-mounted", event, 2 * UPDATE);
}

/// FACTS: a frozen file system does not write its block, a partner takes over, both write.
fn thawed() {
    let image = Image::with(&[], "64M");
    let (a, b) = (Loop::new(image.path()), Loop::new(image.path()));
    let first = Mount::new(a.path()).expect("mount");
    let mut by_b = watch(b.path());
    thread::sleep(UPDATE + Duration::from_secs(1));
    tool("fsfreeze", &["--freeze".as_ref(), first.dir().as_os_str()]);
    let second = Mount::new(b.path()).expect("mount");
    tool("fsfreeze", &["--unfreeze".as_ref(), first.dir().as_os_str()]);
    let event = Instant::now();
    told(&mut by_b, "second-writer", event, 2 * UPDATE);
    assert_eq!(alarms(&by_b.err()), ["stalled", "stalled", "stalled", "second-writer"]);
    // A's late unmount.
    drop(first);
    let event = Instant::now();
    told(&mut by_b, "clean-while-mounted", event, 2 * UPDATE);
    drop(second);
}
