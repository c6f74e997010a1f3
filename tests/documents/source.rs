//! What the sources say: their string literals.

use std::fs;
use std::path::{Path, PathBuf};

/// A string literal, with its escapes resolved.
pub(super) struct Literal {
    /// From the root of the tree.
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) text: String,
}

/// All string literals of the programs and the library, without those of their tests.
pub(super) fn literals() -> Vec<Literal> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    let mut literals = Vec::new();
    for path in files {
        let file = path.strip_prefix(root).expect("below the root").display().to_string();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let named = |(line, text)| Literal { file: file.clone(), line, text };
        literals.extend(strings(text).into_iter().map(named));
    }
    literals
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            files.push(path);
        }
    }
}

/// The string literals of a source text, each with its line.
fn strings(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            'r' if rest.starts_with("r\"") => {
                let end = rest[2..].find('"').expect("closed");
                found.push((line, rest[2..2 + end].to_owned()));
                end + 3
            }
            // A character, not a lifetime.
            '\'' if rest.starts_with("'\\") => 3 + rest[3..].find('\'').expect("closed"),
            '\'' if rest.chars().nth(2) == Some('\'') => {
                rest.char_indices().nth(3).map_or(rest.len(), |(index, _)| index)
            }
            '"' => {
                let (value, length) = string(&rest[1..]);
                found.push((line, value));
                length + 1
            }
            _ => c.len_utf8(),
        };
        line += rest[..skip].matches('\n').count();
        rest = &rest[skip..];
    }
    found
}

/// The value of a literal whose opening quote is behind us, and its length with the closing one.
fn string(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((index, c)) = characters.next() {
        match c {
            '"' => return (value, index + 1),
            '\\' => match characters.next().expect("an escape").1 {
                'n' => value.push('\n'),
                '\n' => while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("a literal does not end: {text}");
}

/// What the reader of literals makes of all that may stand in a source.
pub(super) fn reads_literals() {
    let text =
        "a(\"one\"); // \"no\"\nlet c = '\"'; b(\"t\\\"w\\\n   o\", r\"\\d\", '\\'', \"'a\");";
    let expected = [(1, "one"), (2, "t\"wo"), (3, "\\d"), (3, "'a")];
    assert_eq!(strings(text), expected.map(|(line, text)| (line, text.to_owned())));
}
