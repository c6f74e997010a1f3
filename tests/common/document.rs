//! The documents: README, docs/, the manual pages' prose.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A document in Markdown.
pub(crate) struct Document {
    /// Its path from the root of the tree.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A code block.
pub(crate) struct Block {
    pub(crate) line: usize,
    /// What stands behind the opening fence; empty for an indented block.
    pub(crate) info: String,
    pub(crate) text: String,
}

/// Every document of the tree.
pub(crate) fn all() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).expect("folder");
        entries.map(|entry| entry.expect("entry").path()).collect::<Vec<_>>()
    };
    let mut paths: Vec<PathBuf> = ["", "docs", "man"].into_iter().flat_map(list).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let document = |path: &PathBuf| Document {
        name: path.strip_prefix(root).expect("below the root").display().to_string(),
        text: fs::read_to_string(path).expect("UTF-8"),
    };
    paths.iter().map(document).collect()
}

impl Document {
    fn events(&self) -> impl Iterator<Item = (Event<'_>, usize)> {
        let line = |offset| self.text[..offset].lines().count() + 1;
        let parser = Parser::new_ext(&self.text, Options::ENABLE_TABLES).into_offset_iter();
        parser.map(move |(event, range)| (event, line(range.start)))
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut inside = false;
        for (event, line) in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    blocks.push(Block { line, info, text: String::new() });
                    inside = true;
                }
                Event::End(TagEnd::CodeBlock) => inside = false,
                Event::Text(text) if inside => {
                    blocks.last_mut().expect("begun").text += &text;
                }
                _ => {}
            }
        }
        blocks
    }

    /// What stands in backquotes within the prose.
    pub(crate) fn code_spans(&self) -> Vec<(usize, String)> {
        let span = |(event, line)| match event {
            Event::Code(text) => Some((line, text.to_string())),
            _ => None,
        };
        self.events().filter_map(span).collect()
    }

    /// The prose: neither code nor where links lead, a piece at a time.
    pub(crate) fn prose(&self) -> Vec<(usize, String)> {
        let mut code = false;
        let mut pieces = Vec::new();
        for (event, line) in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(_)) => code = true,
                Event::End(TagEnd::CodeBlock) => code = false,
                Event::Text(text) if !code => pieces.push((line, text.to_string())),
                _ => {}
            }
        }
        pieces
    }

    /// Where its links lead.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let link = |(event, line)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some((line, dest_url.to_string()))
            }
            _ => None,
        };
        self.events().filter_map(link).collect()
    }
}
