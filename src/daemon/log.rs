//! Messages, written by a thread of their own: whoever reads standard error, or the disk below it,
//! may be slow or hung, and a supervisor must not be.

use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use crate::report::Progress;

/// Messages that may wait to be written; more are dropped, and counted.
const WAITING: usize = 4096;
/// How long the end of the program waits for messages to be written.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A program's messages on standard error.
#[derive(Debug)]
pub struct Log {
    sender: Option<SyncSender<String>>,
    dropped: AtomicUsize,
    finished: Receiver<()>,
}

impl Log {
    /// Starts the thread; messages go out under the program's name, above its progress.
    pub fn start(program: &'static str, progress: Progress) -> io::Result<Self> {
        let (sender, messages) = sync_channel::<String>(WAITING);
        let (finish, finished) = channel();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for message in messages {
                progress.complain(program, message);
            }
            // Fails only when nobody waits any more.
            let _ = finish.send(());
        })?;
        Ok(Log { sender: Some(sender), dropped: AtomicUsize::new(0), finished })
    }

    /// Writes one line, some time soon.
    pub fn say(&self, message: impl Display) {
        let Some(sender) = &self.sender else { return };
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let told = sender.try_send(format!("{dropped} messages that nobody took were dropped"));
            if told.is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if let Err(TrySendError::Full(_)) = sender.try_send(message.to_string()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.sender = None;
        // A reader that takes nothing more does not keep the program.
        let _ = self.finished.recv_timeout(LAST_WAIT);
    }
}
