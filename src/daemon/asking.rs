//! Many devices asked side by side, and none waited for that does not answer.
//!
//! A thread a device: one whose device hangs is left behind, and [`super::survive`] lets the program
//! end without it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::clock::now;
use super::drive::{BlockIo, read};
use super::limits::allow_devices;
use crate::device::{MmpDevice, Reader};
use crate::protocol::{Instant, IoFault, NeverWrites, POLL, ReadResult};

/// A disk that takes longer to answer is as good as gone.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// One that asks needs little stack, and there may be a thousand.
const STACK: usize = 256 * 1024;
/// Instead of a time: no answer is due.
const NONE: u64 = u64::MAX;

/// Since when an answer of a device is due; from the beginning, until told otherwise.
#[derive(Clone, Debug)]
pub struct Due(Arc<AtomicU64>);

impl Due {
    fn new() -> Self {
        Due(Arc::new(AtomicU64::new(now().instant.0)))
    }

    /// Asks the device: an answer is due until `ask` returns, and then no longer.
    pub fn while_asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.0.store(now().instant.0, Ordering::SeqCst);
        let answer = ask();
        self.answered();
        answer
    }

    /// The device has answered.
    pub fn answered(&self) {
        self.0.store(NONE, Ordering::SeqCst);
    }

    fn is_over(&self, at: Instant) -> bool {
        let asked = self.0.load(Ordering::SeqCst);
        asked != NONE && at.since(Instant(asked)) >= PATIENCE
    }
}

/// A device that is read only, of which `due` tells when it is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The device.
    pub device: MmpDevice<Reader>,
    /// Told.
    pub due: &'a Due,
}

impl BlockIo<NeverWrites> for Asked<'_> {
    fn read(&mut self) -> ReadResult {
        self.due.while_asking(|| read(&mut self.device))
    }

    fn write(&mut self, write: NeverWrites) -> Result<(), IoFault> {
        match write {}
    }
}

/// What came of a device.
#[derive(Debug)]
pub enum Answer<T> {
    /// The result.
    Is(T),
    /// The device has not answered for [`PATIENCE`].
    Hung,
    /// The time was over before there was a result.
    Late,
}

/// Results with the index of the device, as they come; one for each device.
#[derive(Debug)]
pub struct Answers<T> {
    results: Receiver<(usize, thread::Result<T>)>,
    /// Of the devices that are still waited for.
    due: Vec<Option<Due>>,
    until: Option<Instant>,
}

/// Has `ask` done for each of `count` devices, side by side; nothing is waited for after `until`.
pub fn ask_all<T: Send + 'static>(
    count: usize,
    until: Option<Instant>,
    ask: impl Fn(usize, &Due) -> T + Send + Sync + 'static,
) -> io::Result<Answers<T>> {
    allow_devices(count);
    let ask = Arc::new(ask);
    let (sender, results) = channel();
    let mut answers = Answers { results, due: Vec::with_capacity(count), until };
    for index in 0..count {
        let (ask, sender, due) = (Arc::clone(&ask), sender.clone(), Due::new());
        answers.due.push(Some(due.clone()));
        thread::Builder::new().stack_size(STACK).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| ask(index, &due)));
            // Fails only when nobody waits any more.
            let _ = sender.send((index, result));
        })?;
    }
    Ok(answers)
}

impl<T> Iterator for Answers<T> {
    type Item = (usize, Answer<T>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut wait = Duration::ZERO;
        while self.due.iter().any(Option::is_some) {
            if let Ok((index, result)) = self.results.recv_timeout(wait) {
                // One that was called hung may answer after all.
                if self.due[index].take().is_some() {
                    return Some((
                        index,
                        Answer::Is(result.unwrap_or_else(|why| resume_unwind(why))),
                    ));
                }
                continue;
            }
            let instant = now().instant;
            let late = self.until.is_some_and(|until| until <= instant);
            let is_over = |due: &Due| due.is_over(instant);
            if let Some(index) = self.due.iter().position(|due| due.as_ref().is_some_and(is_over)) {
                self.due[index] = None;
                return Some((index, Answer::Hung));
            }
            if late && let Some(index) = self.due.iter().position(Option::is_some) {
                self.due[index] = None;
                return Some((index, Answer::Late));
            }
            wait = POLL;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answers_once_and_whoever_does_not_holds_up_nobody() {
        let (hang, hung) = channel::<()>();
        let hung = std::sync::Mutex::new(hung);
        let until = now().instant + Duration::from_millis(500);
        let answers = ask_all(3, Some(until), move |index, due| match index {
            0 => due.while_asking(|| hung.lock().map(|hung| hung.recv().is_ok()).is_ok()),
            1 => {
                due.answered();
                thread::park();
                true
            }
            _ => false,
        });
        let answers: Vec<_> = answers.expect("threads").collect();
        drop(hang);
        assert!(now().instant >= until);
        assert!(matches!(
            answers[..],
            [(2, Answer::Is(false)), (0, Answer::Late), (1, Answer::Late)]
        ));
    }

    #[test]
    fn an_answer_is_due_while_the_device_is_asked() {
        let (due, later) = (Due::new(), now().instant + PATIENCE);
        assert!(due.is_over(later));
        due.answered();
        assert!(!due.is_over(later));
        due.while_asking(|| assert!(due.is_over(now().instant + PATIENCE)));
        assert!(!due.is_over(now().instant + PATIENCE));
    }
}
