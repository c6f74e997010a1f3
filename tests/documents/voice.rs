//! One thing has one word: the glossary of mmp(7) says which, and which words are not used for it.

use super::common::document;
use super::common::suite::Suite;
use super::page;
use super::source;

/// Where a word that is not ours is right, because it is somebody else's.
const QUOTED: [(&str, &str); 2] = [
    ("src/report/header.rs", "dumpe2fs's labels"),
    ("src/cli/mmptune/options.rs", "tune2fs's messages"),
];

pub(super) fn cases(suite: &mut Suite) {
    suite.case("voice/documents", documents);
    suite.case("voice/pages", pages);
    suite.case("voice/messages", messages);
    suite.case("voice/finds_a_foreign_word", finds);
}

/// The words that are not used, each with the one that is.
fn foreign() -> Vec<(String, String)> {
    let glossary = include_str!("../../man/mmp.7.md");
    let (_, table) = glossary.split_once("\n## GLOSSARY\n").expect("a glossary");
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    let words = rows.flat_map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let word = cells[0].to_owned();
        let others = cells[1].split(", ").filter(|other| !other.is_empty());
        others.map(move |other| (other.to_owned(), word.clone())).collect::<Vec<_>>()
    });
    words.collect()
}

/// The first foreign word in a text, whole and in any case.
fn find(text: &str, foreign: &[(String, String)]) -> Option<String> {
    let text = text.to_lowercase();
    let words = foreign.iter().filter(|(other, _)| {
        let ends = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || "_-/.".contains(c));
        text.match_indices(other.as_str()).any(|(at, _)| {
            let after = text[at + other.len()..].trim_start_matches('.');
            ends(text[..at].chars().next_back()) && ends(after.chars().next())
        })
    });
    words.map(|(other, word)| format!("'{other}', which is called '{word}'")).next()
}

fn documents() {
    let foreign = foreign();
    for document in document::all().iter().filter(|document| document.name != "man/mmp.7.md") {
        for (line, text) in document.prose() {
            let found = find(&text, &foreign);
            assert_eq!(found, None, "{}:{line}: {text}", document.name);
        }
    }
}

/// In the pages, where the help texts are too.
fn pages() {
    let foreign = foreign();
    for page in page::all() {
        let text = page.text.split("\n.SH GLOSSARY\n").next().unwrap_or_default();
        for line in text.lines() {
            assert_eq!(find(line, &foreign), None, "{}: {line}", page.name);
        }
    }
}

fn messages() {
    let foreign = foreign();
    let quoted = |file: &str| QUOTED.iter().any(|(known, _)| *known == file);
    for literal in source::literals().iter().filter(|literal| !quoted(&literal.file)) {
        let (found, text) = (find(&literal.text, &foreign), &literal.text);
        assert_eq!(found, None, "{}:{}: {text}", literal.file, literal.line);
    }
}

fn finds() {
    let foreign = [("owner".to_owned(), "holder".to_owned())];
    for text in ["the owner", "Owner.", "an owner's", "(owner)"] {
        assert!(find(text, &foreign).is_some(), "{text}");
    }
    for text in ["owned", "downer", "mmp_owner", "co-owner", "owner.rs", ""] {
        assert_eq!(find(text, &foreign), None, "{text}");
    }
}
