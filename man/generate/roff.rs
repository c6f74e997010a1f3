//! Markdown to man(7)'s language, as much of it as the pages use.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Text that means itself, also at the start of a line.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with(['.', '\'']) {
            escaped += "\\&";
        }
        for c in line.chars() {
            match c {
                '\\' => escaped += "\\e",
                '-' => escaped += "\\-",
                '\'' => escaped += "\\(aq",
                '`' => escaped += "\\(ga",
                '^' => escaped += "\\(ha",
                '~' => escaped += "\\(ti",
                other => escaped.push(other),
            }
        }
    }
    escaped
}

/// What is being written.
#[derive(Default)]
struct Writer {
    text: String,
    /// Whether a paragraph needs no macro to begin: after a heading, in a list's entry.
    begun: bool,
    code_block: bool,
    /// The column of a table's row, from 0, and of how many.
    column: usize,
    columns: usize,
    in_head: bool,
}

/// The body of a section, which begins with what is known already. Tables become lists: the first column is the tag, and of three columns
/// the second stands in brackets behind it.
pub(crate) fn from_markdown(markdown: &str, known: &str) -> String {
    let begun = known.is_empty();
    let mut writer = Writer { text: known.to_owned(), begun, ..Writer::default() };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        writer.event(event);
    }
    writer.text
}

impl Writer {
    /// A line of its own.
    fn line(&mut self, macro_line: &str) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text += macro_line;
        self.text.push('\n');
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(_) | Event::Code(_) if self.in_head => {}
            Event::Text(text) if self.code_block => self.text += &escape(&text),
            // In prose a hyphen may be one.
            Event::Text(text) => self.text += &escape(&text).replace("\\-", "-"),
            Event::Code(code) => self.text += &format!("\\fB{}\\fR", escape(&code)),
            Event::SoftBreak => self.text.push('\n'),
            Event::HardBreak => self.line(".br"),
            // Comments.
            Event::Html(_) | Event::InlineHtml(_) => {}
            other => panic!("the pages know no {other:?}"),
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph if self.begun => self.begun = false,
            Tag::Paragraph => self.line(".PP"),
            Tag::Heading { .. } => self.line(".SS "),
            Tag::CodeBlock(_) => {
                self.line(if self.begun { ".RS 4\n.EX" } else { ".PP\n.RS 4\n.EX" });
                self.code_block = true;
            }
            Tag::Item => {
                self.line(".IP \\(bu 2");
                self.begun = true;
            }
            Tag::Strong => self.text += "\\fB",
            Tag::Emphasis => self.text += "\\fI",
            Tag::TableHead => self.in_head = true,
            Tag::TableRow => {
                self.line(".TP");
                self.column = 0;
            }
            Tag::Table(columns) => self.columns = columns.len(),
            Tag::TableCell if !self.in_head && self.column > 0 => {
                let last = self.column + 1 == self.columns;
                self.text += if last { "\n" } else { " (" };
            }
            Tag::List(_) | Tag::TableCell | Tag::Link { .. } | Tag::HtmlBlock => {}
            other => panic!("the pages know no {other:?}"),
        }
        // A heading's text stands on the line of its macro.
        if matches!(tag, Tag::Heading { .. }) {
            self.text.pop();
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.text.push('\n');
                self.begun = true;
            }
            TagEnd::CodeBlock => {
                self.line(".EE\n.RE");
                (self.code_block, self.begun) = (false, false);
            }
            TagEnd::Strong | TagEnd::Emphasis => self.text += "\\fR",
            TagEnd::TableHead => self.in_head = false,
            TagEnd::TableCell => {
                if !self.in_head && self.column > 0 && self.column + 1 < self.columns {
                    match self.text.strip_suffix(" (") {
                        Some(empty) => self.text.truncate(empty.len()),
                        None => self.text.push(')'),
                    }
                }
                self.column += 1;
            }
            TagEnd::Paragraph | TagEnd::Item | TagEnd::TableRow => {
                if !self.text.ends_with('\n') {
                    self.text.push('\n');
                }
                self.begun = false;
            }
            TagEnd::Table | TagEnd::List(_) => self.begun = false,
            _ => {}
        }
    }
}
