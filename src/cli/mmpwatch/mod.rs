//! `mmpwatch`: what `mmpd watch` sees, live on a terminal.

mod columns;
mod row;
mod screen;

use std::collections::HashMap;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::common::run;
use super::watched::{Watched, refuse_blind};
use crate::daemon::{Incident, Watcher, now};
use crate::device::{DeviceError, Plain};
use crate::report::exit::{DONE, TROUBLE};
use row::Row;
use screen::{Screen, Style};

const NAME: &str = "mmpwatch";
/// How often the terminal is drawn, and keys are looked for.
const FRAME: Duration = Duration::from_millis(200);

const EXIT_STATUS: &str = "\
Exit status:
  0  left
  2  wrong usage, or it could not be carried out";

/// Shows devices that others hold, live: state, holder, sequence, how long ago the block was
/// written, the time between updates, and alarms.
///
/// Only reads. Keys: arrows, page up and down to scroll; q to leave.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_long_help = EXIT_STATUS)]
pub struct Arguments {
    #[command(flatten)]
    watched: Watched,
}

/// The program.
pub fn main() -> ExitCode {
    run(NAME, TROUBLE, |arguments: Arguments| {
        let mut watcher = arguments.watched.start()?;
        // What was named and is no device is told before the screen is taken over.
        while !watcher.is_ready() {
            match watcher.next(Some(now().instant + FRAME)).context("cannot wait")? {
                Incident::Nothing(_, error) => bail!(error),
                Incident::Signal(_) => return Ok(DONE),
                _ => {}
            }
        }
        refuse_blind(&watcher)?;
        if !stdout().is_terminal() {
            bail!("standard output is no terminal; 'mmpd watch' is for logs and programs");
        }
        let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
        let ended = show(&mut terminal, &mut watcher);
        ratatui::restore();
        ended.map(|()| DONE)
    })
}

fn show(terminal: &mut DefaultTerminal, watcher: &mut Watcher) -> anyhow::Result<()> {
    let mut screen = Screen::new(Style::of_environment());
    let mut nothing: HashMap<PathBuf, DeviceError> = HashMap::new();
    let mut due = now().instant;
    loop {
        // Whatever else has happened shows in the devices.
        while now().instant < due {
            match watcher.next(Some(due)).context("cannot wait")? {
                Incident::Signal(_) => return Ok(()),
                Incident::Nothing(path, error) => {
                    nothing.insert(path, error);
                }
                Incident::Watched(path) | Incident::Gone(path) => {
                    nothing.remove(&path);
                }
                _ => {}
            }
        }
        due = now().instant + FRAME;
        while event::poll(Duration::ZERO).context("cannot read the terminal")? {
            match event::read().context("cannot read the terminal")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        return Ok(());
                    }
                    KeyCode::Up | KeyCode::Char('k') => screen.scroll(-1),
                    KeyCode::Down | KeyCode::Char('j') => screen.scroll(1),
                    KeyCode::PageUp => screen.scroll(-10),
                    KeyCode::PageDown => screen.scroll(10),
                    KeyCode::Home => screen.scroll(isize::MIN),
                    KeyCode::End => screen.scroll(isize::MAX),
                    _ => {}
                },
                _ => {}
            }
        }
        let rows: Vec<Row> =
            watcher.devices().map(|device| Row::of(device, nothing.get(device.path()))).collect();
        let others = unopened(&watcher.unopened().0);
        terminal.draw(|frame| screen.draw(frame, &rows, &others)).context("cannot draw")?;
    }
}

/// Why devices cannot be opened: a line each reason, with the device if it is only one.
fn unopened(errors: &[&DeviceError]) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<&DeviceError>)> = Vec::new();
    for error in errors {
        let reason = match error {
            DeviceError::Open { source, .. } => Plain(source).to_string(),
            other => other.to_string(),
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, devices)) => devices.push(error),
            None => reasons.push((reason, vec![error])),
        }
    }
    let line = |(reason, devices): (String, Vec<&DeviceError>)| match devices[..] {
        [device] => device.to_string(),
        _ => format!("{} devices cannot be opened: {reason}", devices.len()),
    };
    reasons.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn what_cannot_be_opened_is_told_by_its_reason() {
        let error = |path: &str, code| DeviceError::Open {
            path: path.into(),
            writing: false,
            source: Error::from_raw_os_error(code),
        };
        let (denied, medium) = (nix::libc::EACCES, nix::libc::ENOMEDIUM);
        let errors =
            [error("/dev/sda", denied), error("/dev/sr0", medium), error("/dev/sdb", denied)];
        let told = unopened(&errors.iter().collect::<Vec<_>>());
        let expected = [
            "2 devices cannot be opened: Permission denied",
            "/dev/sr0: cannot open: No medium found",
        ];
        assert_eq!(told, expected);
    }
}
