//! docs/messages.md and the source have the same messages.

use std::collections::BTreeSet;

use super::common::document;
use super::common::suite::Suite;
use super::source;

/// Where every message must have its line on the page.
const EXPLAINED: [&str; 11] = [
    "src/daemon/guardian/server.rs",
    "src/daemon/hold/holder.rs",
    "src/daemon/hold/news.rs",
    "src/device/error.rs",
    "src/device/name.rs",
    "src/device/users.rs",
    "src/device/writer.rs",
    "src/layout/superblock.rs",
    "src/mount/error.rs",
    "src/report/words.rs",
    "src/tune/obstacle.rs",
];
/// Shorter ones are parts of others, or need no explanation.
const WORDS: usize = 5;
/// Pieces that are not messages of their own.
const PIECES: [&str; 6] = [
    "MMP_block:",
    "node '…' device '…' at",
    "%a %b",
    "second … of the epoch",
    "released, MMP is clean",
    "stopped before it was claimed",
];

pub(super) fn cases(suite: &mut Suite) {
    suite.case("messages/all_are_explained", all_are_explained);
    suite.case("messages/all_that_are_explained_exist", all_exist);
}

/// A message with `…` for what differs, without the device before it and the joint to its neighbours.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        plain += before;
        plain.push('…');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    plain += rest;
    let plain = plain.trim().trim_start_matches("…: ");
    plain.trim_matches([' ', ';', ',', '.', '\n']).to_owned()
}

fn explained() -> BTreeSet<String> {
    let documents = document::all();
    let page = documents.iter().find(|d| d.name == "docs/messages.md").expect("docs/messages.md");
    let rows = page.text.lines().filter(|line| line.starts_with("| `"));
    let message = |row: &str| plain(row[3..].split('`').next().unwrap_or_default());
    rows.map(message).collect()
}

fn all_are_explained() {
    let explained = explained();
    let mut missing = BTreeSet::new();
    for literal in source::literals().iter().filter(|l| EXPLAINED.contains(&l.file.as_str())) {
        let message = plain(&literal.text);
        let piece = PIECES.iter().any(|piece| message.starts_with(piece));
        let long = message.split_whitespace().count() >= WORDS;
        if long && !piece && !explained.contains(&message) {
            missing.insert(format!("| `{message}` | |   ({}:{})", literal.file, literal.line));
        }
    }
    assert!(missing.is_empty(), "not in docs/messages.md: {missing:#?}");
}

fn all_exist() {
    let known: BTreeSet<_> =
        source::literals().iter().map(|literal| plain(&literal.text)).collect();
    let gone: Vec<_> = explained().into_iter().filter(|message| !known.contains(message)).collect();
    assert!(gone.is_empty(), "in docs/messages.md, but said nowhere: {gone:#?}");
}
