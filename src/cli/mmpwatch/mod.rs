//! `mmpwatch`: what `mmpd watch` sees, live on a terminal.

mod row;
mod screen;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::common::run;
use super::watched::Watched;
use crate::daemon::{Incident, Watcher, now};
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
    let mut due = now().instant;
    loop {
        // Whatever has happened shows in the devices; only a signal is for us.
        while now().instant < due {
            if let Incident::Signal(_) = watcher.next(Some(due)).context("cannot wait")? {
                return Ok(());
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
        let rows: Vec<Row> = watcher.devices().map(Row::of).collect();
        terminal.draw(|frame| screen.draw(frame, &rows)).context("cannot draw")?;
    }
}
