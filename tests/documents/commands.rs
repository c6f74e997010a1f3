//! Commands that the documents mention: the programs know them, and somebody runs them.

use std::ffi::OsString;

use clap::error::ErrorKind;

use super::common::document;
use super::common::suite::Suite;

/// The languages of code blocks. `console` and `sh` are run by tests/examples.
const LANGUAGES: [&str; 8] =
    ["console", "sh", "text", "fstab", "ini", "json", "rust", "haresources"];

pub(super) fn cases(suite: &mut Suite) {
    suite.case("commands/in_prose_are_understood", in_prose);
    suite.case("commands/in_blocks_are_understood", in_blocks);
    suite.case("commands/blocks_say_what_they_are", blocks);
}

fn blocks() {
    for document in document::all() {
        for block in document.blocks() {
            let language = block.info.split_whitespace().next().unwrap_or_default();
            let place = format!("{}:{}", document.name, block.line);
            assert!(LANGUAGES.contains(&language), "{place}: a block of '{}'", block.info);
            if let Some((_, why)) = block.info.split_once("not-run") {
                assert!(why.len() > ": why".len(), "{place}: not-run needs a reason");
            }
        }
    }
}

fn in_prose() {
    for document in document::all() {
        for (line, text) in document.code_spans() {
            understood(&text, &format!("{}:{line}", document.name));
        }
    }
}

fn in_blocks() {
    for document in document::all() {
        let blocks = document.blocks();
        for block in
            blocks.iter().filter(|b| b.info.starts_with("console") || b.info.starts_with("sh"))
        {
            let text = block.text.replace("\\\n", " ");
            for line in text.lines() {
                let command = line.strip_prefix("# ").unwrap_or(line);
                understood(command, &format!("{}:{}", document.name, block.line));
            }
        }
    }
}

/// Asserts that a program's command line, if this is one, has only options that there are. What is
/// left out (`mmptune -n`) does not matter.
fn understood(text: &str, place: &str) {
    let words = words(text);
    let commands = mmp::cli::commands();
    let Some(program) = words.first() else { return };
    let Some(command) = commands.iter().find(|c| program == c.get_name()) else { return };
    if words.len() == 1 {
        return;
    }
    if let Err(error) = command.clone().try_get_matches_from(&words) {
        let fine = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::DisplayHelp,
            ErrorKind::DisplayVersion,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ];
        assert!(fine.contains(&error.kind()), "{place}: {text}: {error}");
    }
}

/// The words of a shell's line, up to whatever ends its first command.
fn words(line: &str) -> Vec<OsString> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '|' | '&' | ';' | '>' | '#') => break,
            (None, c) if c.is_whitespace() => words.push(String::new()),
            (_, c) => words.last_mut().expect("begun").push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).map(OsString::from).collect()
}
