//! A manual page: the prose of a Markdown file, with what the parser knows put under the headings
//! SYNOPSIS, OPTIONS (for a program with commands: COMMANDS) and EXIT STATUS.

use std::path::{Path, PathBuf};

use clap::Command;

use super::roff::{self, escape};

/// A finished page.
pub(crate) struct Page {
    pub(crate) name: String,
    /// The manual's section, `8` for the programs.
    pub(crate) section: String,
    /// In man(7)'s language.
    pub(crate) text: String,
}

impl Page {
    /// Where it lies below share/.
    pub(crate) fn place(&self) -> PathBuf {
        format!("man/man{0}/{1}.{0}", self.section, self.name).into()
    }
}

/// All pages: one for every file of prose.
pub(crate) fn all() -> Vec<Page> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let files = std::fs::read_dir(&folder).expect("man/").map(|entry| entry.expect("entry").path());
    let mut prose: Vec<_> = files.filter(|path| path.extension() == Some("md".as_ref())).collect();
    prose.sort();
    let commands = mmp::cli::commands();
    let page = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("prose");
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        let name = name.split_once(['(', ')']).map_or(name, |(name, _)| name);
        let name = name.trim_end_matches(".md").rsplit_once('.').expect("NAME.SECTION.md").0;
        render(&text, commands.iter().find(|command| command.get_name() == name))
    };
    prose.iter().map(page).collect()
}

/// The date of the newest release in the changelog; so the same source makes the same pages.
fn date() -> &'static str {
    let headings = include_str!("../../CHANGELOG.md").lines().filter(|l| l.starts_with("## ["));
    let dates = headings.filter_map(|line| Some(line.split_once("] - ")?.1));
    dates.into_iter().next().expect("a release in the changelog")
}

/// Makes a page of prose, which begins with the line `# NAME(SECTION): PURPOSE`.
fn render(prose: &str, command: Option<&Command>) -> Page {
    let (title, rest) = prose.split_once('\n').expect("a title");
    let title = title.strip_prefix("# ").expect("a title");
    let (name, rest_of_title) = title.split_once('(').expect("NAME(SECTION)");
    let (section, purpose) = rest_of_title.split_once("): ").expect("NAME(SECTION): PURPOSE");
    let mut text = format!(
        ".\\\" Made from man/{name}.{section}.md and the program's options by man/generate.\n\
         .ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n\
         .TH {} {section} {} \"mmp-utils {}\" \"Multiple-mount protection\"\n.nh\n.ad l\n\
         .SH NAME\n{} \\- {}\n",
        escape(&name.to_uppercase()),
        date(),
        env!("CARGO_PKG_VERSION"),
        escape(name),
        escape(purpose),
    );
    for (heading, body) in sections(rest) {
        text += &format!(".SH {}\n", escape(heading));
        let known = command.map(|command| known(heading, command)).unwrap_or_default();
        text += &roff::from_markdown(body, &known);
    }
    Page { name: name.to_owned(), section: section.to_owned(), text: ascii(&text) }
}

/// The headings of the second level, each with what follows it.
fn sections(prose: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = prose.split("\n## ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap_or((part, "")))
}

/// What the parser knows that belongs under a heading.
fn known(heading: &str, command: &Command) -> String {
    match heading {
        "SYNOPSIS" => synopsis(command),
        "OPTIONS" => options(command),
        "COMMANDS" => command.get_subcommands().map(subcommand).collect(),
        "EXIT STATUS" => exit_status(command),
        _ => String::new(),
    }
}

/// The commands of a program, or itself where it has none.
fn forms(command: &Command) -> Vec<Command> {
    let name = command.get_name();
    let sub = |sub: &Command| sub.clone().bin_name(format!("{name} {}", sub.get_name()));
    let mut forms: Vec<_> = command.get_subcommands().map(sub).collect();
    if forms.is_empty() {
        forms.push(command.clone());
    }
    forms
}

fn synopsis(command: &Command) -> String {
    let line = |mut form: Command| {
        let usage = form.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        let name = form.get_bin_name().unwrap_or_else(|| form.get_name());
        let rest = usage.strip_prefix(name).expect("the usage begins with the name");
        let rest = escape(rest).replace('<', "\\fI").replace('>', "\\fR");
        format!("\\fB{}\\fR{rest}\n", escape(name))
    };
    forms(command).into_iter().map(line).collect::<Vec<_>>().join(".br\n")
}

fn options(command: &Command) -> String {
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_options_section(&mut text).expect("writes to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    // The heading is there already, and the preamble is that of the page.
    let (_, list) = text.split_once(".SH OPTIONS\n").expect("options");
    list.to_owned()
}

/// What the help says first. Of a single paragraph the parser takes the full stop away.
fn about(command: &Command) -> String {
    let whole = command.get_long_about().map(ToString::to_string);
    let only = || format!("{}.", command.get_about().map(ToString::to_string).unwrap_or_default());
    whole.unwrap_or_else(only)
}

fn subcommand(command: &Command) -> String {
    let about = about(command);
    let paragraphs: Vec<_> = about.split("\n\n").map(escape).collect();
    let [name, options] = [command.get_name().to_owned(), options(command)];
    format!(".SS {}\n{}\n{options}", escape(&name), paragraphs.join("\n.PP\n"))
}

/// The list that ends the help; one for each command whose codes differ.
fn exit_status(command: &Command) -> String {
    let mut lists: Vec<(String, String)> = Vec::new();
    for form in forms(command) {
        let Some(help) = form.get_after_long_help().map(ToString::to_string) else { continue };
        let list = exit_codes(&help);
        let name = form.get_bin_name().unwrap_or_else(|| form.get_name()).to_owned();
        match lists.iter_mut().find(|(_, known)| *known == list) {
            Some((names, _)) => *names += &format!(", {name}"),
            None => lists.push((name, list)),
        }
    }
    if let [(_, only)] = &lists[..] {
        return only.clone();
    }
    lists.iter().map(|(names, list)| format!(".SS {names}\n{list}")).collect()
}

/// `Exit status:`, a line `  CODE  meaning` for each, and what is to be said of all of them.
fn exit_codes(help: &str) -> String {
    let (codes, remarks): (Vec<_>, Vec<_>) =
        help.lines().skip(1).partition(|line| line.starts_with(' '));
    let entry = |line: &str| {
        let (code, meaning) = line.trim_start().split_once("  ").expect("a code and its meaning");
        format!(".TP\n\\fB{}\\fR\n{}\n", escape(code), escape(meaning.trim_start()))
    };
    let mut list: String = codes.into_iter().map(entry).collect();
    if !remarks.is_empty() {
        list += &format!(".PP\n{}\n", escape(&remarks.join("\n")));
    }
    list
}

/// Other characters than ASCII by their names, which every formatter knows.
fn ascii(text: &str) -> String {
    let name = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => format!("\\[u{:04X}]", u32::from(c)),
    };
    text.chars().map(name).collect()
}
