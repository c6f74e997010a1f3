//! What a waiting user sees.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{complain, is_listened_to};
use super::words::{Holder, seconds_text, state_word};
use crate::device::shown;
use crate::protocol::{Instant, Phase};

/// More lines than this would scroll the terminal.
const MAX_LINES: usize = 10;

/// Turns phases into a sentence each time a new one begins.
#[derive(Debug, Default)]
pub struct Narrator {
    last: Option<(u8, Instant)>,
}

impl Narrator {
    /// The sentence for a phase, the first time it is seen.
    pub fn line(&mut self, phase: Phase<'_>, now: Instant) -> Option<String> {
        let (kind, until) = match phase {
            Phase::Reading => (0, Instant(0)),
            Phase::Watching { until, in_use, .. } => (1 + u8::from(in_use), until),
            Phase::Verifying { until } => (3, until),
            Phase::Holding { .. } => (4, Instant(0)),
            Phase::Leaving => (5, Instant(0)),
        };
        let known = self.last.replace((kind, until));
        // A device in use renews its watch at every change; that is told once.
        let is_new = known.is_none_or(|(last, end)| last != kind || (end != until && kind != 2));
        is_new.then(|| sentence(phase, now)).flatten()
    }
}

fn sentence(phase: Phase<'_>, now: Instant) -> Option<String> {
    match phase {
        Phase::Reading | Phase::Holding { .. } => None,
        Phase::Watching { seen, in_use: true, .. } => {
            Some(format!("in use by {}; waiting until it is released", Holder(seen)))
        }
        Phase::Watching { until, seen, in_use: false } => Some(format!(
            "MMP is {}, last written by {}; watching for {} whether it changes",
            state_word(seen.sequence()),
            Holder(seen),
            seconds_text(until.since(now)),
        )),
        Phase::Verifying { until } => {
            let left = seconds_text(until.since(now));
            Some(format!("claim written; watching for {left} that it stays"))
        }
        Phase::Leaving => Some("giving it back".to_owned()),
    }
}

/// Progress on a terminal; nothing where standard error is none.
#[derive(Clone, Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Shows progress if standard error is a terminal and `wanted`.
    pub fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        Progress { bars: shown.then(MultiProgress::new) }
    }

    /// Writes one line to standard error, under the program's name, above the progress. It is
    /// dropped if it would have to wait: a device to hold cannot.
    pub fn complain(&self, program: &str, message: impl std::fmt::Display) {
        if !is_listened_to() {
            return;
        }
        self.aside(|| complain(program, message));
    }

    /// Has something printed that is to stand above the progress.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Takes it off the terminal, also the lines of devices that hang.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            // Fails where there is no terminal any more.
            let _ = bars.clear();
        }
    }

    /// A line for one of `count` devices; of very many, only the first ones get one.
    pub fn line(&self, path: &Path, index: usize) -> ProgressLine {
        let bars = self.bars.as_ref().filter(|_| index < MAX_LINES);
        let bar = bars.map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{prefix}: {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(shown(path).to_string());
            bar
        });
        ProgressLine { bar }
    }
}

/// One device's line.
#[derive(Debug)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
}

impl ProgressLine {
    /// Shows the time left and who was last seen.
    pub fn show(&self, phase: Phase<'_>, now: Instant) {
        let Some(bar) = &self.bar else { return };
        let left = |until: Instant| {
            let left = until.since(now).saturating_add(Duration::from_millis(999));
            format!("{} s left", left.as_secs())
        };
        bar.set_message(match phase {
            Phase::Reading => "reading".to_owned(),
            Phase::Watching { seen, in_use: true, .. } => {
                format!("in use by {}, waiting", Holder(seen))
            }
            Phase::Watching { until, seen, in_use: false } => {
                format!("{}, last written by {}", left(until), Holder(seen))
            }
            Phase::Verifying { until } => format!("{}, claim written", left(until)),
            Phase::Holding { block, .. } => format!("holding, sequence {}", block.sequence()),
            Phase::Leaving => "giving it back".to_owned(),
        });
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
