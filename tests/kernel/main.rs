//! Against the running kernel: loop devices, real mounts, its own kmmpd, and real time.
//!
//! Two loop devices over one file with direct I/O are two paths to one disk. Guard intervals are
//! real, so every case waits; they run side by side, each on an image of its own.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod guarding;
mod holding;
mod isolation;
mod losing;
mod racing;
mod several;

use std::fs::OpenOptions;
use std::time::Duration;

use common::GUARD;
use common::image::Image;
use common::loops::Loop;
use common::program::held;
use common::suite::{Need, Suite};

/// How late a step may be on a machine that also compiles.
const SLACK: Duration = Duration::from_secs(2);

/// A disk with two paths to it.
struct Shared {
    image: Image,
    a: Loop,
    b: Loop,
}

impl Shared {
    fn new() -> Self {
        let image = Image::new();
        let (a, b) = (Loop::new(image.path()), Loop::new(image.path()));
        Shared { image, a, b }
    }
}

/// The disk below a device goes away: every read and write of it fails from here on.
fn vanish(image: &Image, device: &Loop) {
    let file = OpenOptions::new().write(true).open(image.path()).expect("open");
    file.set_len(0).expect("truncate");
    device.resize();
}

fn main() -> std::process::ExitCode {
    let needs = [Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4, Need::Fuse];
    let mut suite = Suite::new(&needs);
    // The longest begins first.
    isolation::cases(&mut suite);
    holding::cases(&mut suite);
    racing::cases(&mut suite);
    losing::cases(&mut suite);
    several::cases(&mut suite);
    guarding::cases(&mut suite);
    suite.run(32)
}
