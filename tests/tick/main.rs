//! A heartbeat allocates nothing: the production ticks, under an allocator that counts.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::image::Image;
use common::suite::{Need, Suite};
use mmp::daemon::{Happening, HolderOptions, News, Realtime, Supervisor, now};
use mmp::report::Progress;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Four devices, fifty heartbeats a second each. While the supervisor waits, nothing but ticks
/// happens in this process.
fn ticks() {
    let images = [(); 4].map(|()| Image::new());
    let paths: Vec<PathBuf> = images.iter().map(|image| image.path().to_owned()).collect();
    let options = HolderOptions { interval: Duration::from_millis(20), wait: Duration::ZERO };
    let progress = Progress::new(false);
    let realtime = Realtime::new(false);
    let supervisor = Supervisor::start(&paths, options, &[], &progress, realtime, None);
    let mut supervisor = supervisor.expect("start");
    let mut held = 0;
    while held < images.len() {
        match supervisor.next(None).expect("next") {
            Happening::News(_, News::Held) => held += 1,
            Happening::News(_, News::Remark(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let sequences = |supervisor: &Supervisor| -> Vec<u32> {
        supervisor.vitals().iter().map(|vital| vital.sequence()).collect()
    };
    let before = sequences(&supervisor);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst);
    let over = supervisor.next(Some(now().instant + Duration::from_secs(5))).expect("next");
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - allocations;
    assert!(matches!(over, Happening::Timer), "{over:?}");
    for (before, after) in before.into_iter().zip(sequences(&supervisor)) {
        assert!(after >= before + 20, "{before} to {after} in 5 s");
    }
    assert_eq!(allocations, 0);
    supervisor.stop();
    while supervisor.running() > 0 {
        supervisor.next(None).expect("next");
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new(&[Need::E2fsprogs]);
    suite.case("a_heartbeat_allocates_nothing", ticks);
    suite.run(1)
}
