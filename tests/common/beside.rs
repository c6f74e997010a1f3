//! Something that goes on beside a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Runs `body` while `act` is done over and over, `pause` apart. That has ended when this returns,
/// also when `body` panics.
pub(crate) fn beside<T>(
    pause: Duration,
    mut act: impl FnMut() + Send,
    body: impl FnOnce() -> T,
) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                act();
                thread::sleep(pause);
            }
        });
        let _over = Over(&over);
        body()
    })
}
