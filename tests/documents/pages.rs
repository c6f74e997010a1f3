//! The manual pages and the completions.

use std::collections::BTreeSet;
use std::path::Path;

use super::common::program::{run, tool};
use super::common::suite::Suite;
use super::page::{self, Page};
use super::{completion, roff};

/// The sections of a program's page; OPTIONS are COMMANDS for a program that has some.
const SECTIONS: [&str; 7] =
    ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"];

pub(super) fn cases(suite: &mut Suite) {
    suite.case("pages/one_a_program", one_a_program);
    suite.case("pages/sections", sections);
    suite.case("pages/every_option", every_option);
    suite.case("pages/exit_status", exit_status);
    suite.case("pages/see_also", see_also);
    suite.case("pages/completions_know_every_option", completions);
    suite.case("pages/completions_in_bash", completions_in_bash);
    suite.case("pages/completions_offer_what_is_taken", offered_is_taken);
    suite.case("pages/markdown", markdown);
}

pub(super) fn formatted(suite: &mut Suite) {
    suite.case("pages/lint", lint);
    suite.case("pages/eighty_columns", eighty_columns);
}

/// The programs that cargo builds, by the names they are installed under.
fn programs() -> BTreeSet<String> {
    let table = include_str!("../../Cargo.toml").split("[[bin]]\n").skip(1);
    let name =
        |entry: &'static str| entry.lines().next()?.strip_prefix("name = \"")?.strip_suffix('"');
    let names = table.map(|entry| name(entry).expect("a name"));
    names.map(|name| name.replace("mount-", "mount.")).collect()
}

fn one_a_program() {
    let commands = mmp::cli::commands().iter().map(|c| c.get_name().to_owned()).collect();
    assert_eq!(programs(), commands, "programs in Cargo.toml, and cli::commands()");
    let pages = page::all().into_iter().filter(|p| p.section == "8").map(|p| p.name).collect();
    assert_eq!(programs(), pages, "programs, and pages in man/");
}

/// A section's text.
fn section<'a>(page: &'a Page, heading: &str) -> &'a str {
    let start = format!("\n.SH {heading}\n");
    let (_, rest) =
        page.text.split_once(&start).unwrap_or_else(|| panic!("{heading}: {}", page.name));
    rest.split("\n.SH ").next().unwrap_or_default()
}

fn sections() {
    for page in page::all().iter().filter(|page| page.section == "8") {
        let headings = page.text.lines().filter_map(|line| line.strip_prefix(".SH "));
        let known: Vec<_> = headings
            .map(|heading| if heading == "COMMANDS" { "OPTIONS" } else { heading })
            .filter(|heading| SECTIONS.contains(heading))
            .collect();
        assert_eq!(known, SECTIONS, "{}", page.name);
    }
}

fn every_option() {
    for command in mmp::cli::commands() {
        let pages = page::all();
        let page = pages.iter().find(|page| page.name == command.get_name()).expect("a page");
        let text = |heading| section(page, heading);
        let subcommands: Vec<_> = command.get_subcommands().collect();
        let place = text(if subcommands.is_empty() { "OPTIONS" } else { "COMMANDS" });
        let forms = if subcommands.is_empty() { vec![&command] } else { subcommands };
        for argument in forms.iter().flat_map(|form| form.get_arguments()) {
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            for option in long.into_iter().chain(short) {
                let escaped = roff::escape(&option);
                assert!(place.contains(&format!("{escaped}\\fR")), "{}: {option}", page.name);
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let first = help.split([' ', '\n']).next().unwrap_or_default();
            assert!(!first.is_empty(), "{}: {} has no help", page.name, argument.get_id());
            assert!(place.contains(first), "{}: '{first}'", page.name);
        }
    }
}

/// The codes of src/report/exit.rs: name and number.
fn codes() -> Vec<(&'static str, u8)> {
    let lines = include_str!("../../src/report/exit.rs").lines();
    let code = |line: &'static str| {
        let (name, number) = line.strip_prefix("pub const ")?.split_once(": u8 = ")?;
        Some((name, number.trim_end_matches(';').parse().expect("a number")))
    };
    lines.filter_map(code).collect()
}

/// One list for each program or command, with each code once, and a meaning that is one thing.
fn lists(page: &Page) {
    for list in section(page, "EXIT STATUS").split(".SS ") {
        let lines: Vec<_> = list.lines().collect();
        let entries = lines.windows(3).filter(|lines| lines[0] == ".TP");
        let mut tags = BTreeSet::new();
        for entry in entries {
            let tag = entry[1].strip_prefix("\\fB").and_then(|tag| tag.strip_suffix("\\fR"));
            let tag = tag.unwrap_or_else(|| panic!("{}: {entry:?}", page.name));
            assert!(tags.insert(tag), "{}: {tag} twice: {list}", page.name);
            assert!(!entry[2].contains(". "), "{}: {entry:?}", page.name);
        }
    }
}

/// The tables name exactly the codes that the source has for the program.
fn exit_status() {
    let all = codes();
    let known = |prefix: &str| -> BTreeSet<u8> {
        let own = all.iter().filter(|(name, _)| match prefix {
            "" => !name.contains('_'),
            prefix => name.starts_with(prefix),
        });
        own.map(|(_, code)| *code).collect()
    };
    assert_eq!(known(""), BTreeSet::from([0, 1, 2]));
    for page in page::all().iter().filter(|page| page.section == "8") {
        lists(page);
        let tags = section(page, "EXIT STATUS")
            .lines()
            .filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("\\fR")?.parse::<u8>().ok());
        let listed: BTreeSet<u8> = tags.collect();
        match page.name.as_str() {
            "mmprun" => assert_eq!(listed, known("RUN_")),
            "mount.mmp" => assert_eq!(listed, &known("MOUNT_") | &BTreeSet::from([0])),
            // It judges nothing.
            "mmpwatch" => assert_eq!(listed, BTreeSet::from([0, 2])),
            name => assert!(known("").is_subset(&listed), "{name}: {listed:?}"),
        }
    }
}

/// Pages of ours that are referred to are there.
fn see_also() {
    let pages = page::all();
    let known: BTreeSet<_> = pages.iter().map(|p| format!("{}({})", p.name, p.section)).collect();
    for page in &pages {
        let text = page.text.replace("\\-", "-");
        for (at, _) in text.match_indices('(') {
            let name = text[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
            let name = name.into_iter().next().unwrap_or_default();
            let section = text[at + 1..].split(')').next().unwrap_or_default();
            let ours = name.starts_with("mmp") || name == "mount.mmp";
            if ours && section.len() == 1 {
                let reference = format!("{name}({section})");
                assert!(known.contains(&reference), "{}: {reference}", page.name);
            }
        }
        let own = format!("{}({})", page.name, page.section).replace('-', "\\-");
        assert!(!section(page, "SEE ALSO").contains(&own), "{} refers to itself", page.name);
    }
}

fn completions() {
    let files = completion::all();
    for command in mmp::cli::commands().iter().filter(|c| c.get_name() != "mount.mmp") {
        let name = command.get_name();
        let of_program = files.iter().filter(|(place, _)| {
            let file = place.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            [name.to_owned(), format!("_{name}"), format!("{name}.fish")].contains(&file.to_owned())
        });
        let texts: Vec<_> = of_program.map(|(_, text)| String::from_utf8_lossy(text)).collect();
        assert_eq!(texts.len(), 3, "{name}: bash, zsh, fish");
        let forms = std::iter::once(command).chain(command.get_subcommands());
        for long in forms.flat_map(|f| f.get_arguments()).filter_map(|a| a.get_long()) {
            assert!(texts.iter().all(|text| text.contains(long)), "{name}: --{long}");
        }
    }
}

/// What bash offers after a command line that ends where the cursor is.
fn offered(line: &str) -> Vec<String> {
    let (before, _) = line.split_once(' ').expect("a program");
    let place = format!("bash-completion/completions/{before}");
    let (_, text) =
        completion::all().into_iter().find(|(at, _)| *at == place.as_ref() as &Path).expect(line);
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(&file, text).expect("write");
    // What the shell does on TAB, but for what the cursor does then.
    let script = r#"
        source "$1"
        compopt() { :; }
        function=$(complete -p "$2"); function=${function##*-F }; function=${function%% *}
        shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let file = file.path().to_str().expect("UTF-8");
    let words: Vec<_> = ["-c", script, "bash", file].into_iter().chain(line.split(' ')).collect();
    tool("bash", &words).lines().map(str::to_owned).collect()
}

fn completions_in_bash() {
    for (line, words) in [
        ("mmptune -O ", &["mmp", "^mmp"][..]),
        ("mmptune -O ^", &["^mmp"]),
        ("mmptune -E ", &["mmp_update_interval=", "clear_mmp"]),
        ("mmptune -E c", &["clear_mmp"]),
        ("mmprun --fence ", &["watchdog", "sysrq"]),
        ("mmpd hold --fence ", &["watchdog", "sysrq"]),
        ("mmpd hold --on-loss ", &["exit", "report"]),
        ("mmpd h", &["hold", "help"]),
        ("mmpcheck --mou", &["--mounted"]),
        // Where it offers nothing of its own, the shell offers files.
        ("mmpcheck /dev/", &[]),
        ("mmprun /dev/", &[]),
    ] {
        assert_eq!(offered(line), words, "{line}");
    }
}

/// Each value that is offered is one that the program knows, and others are taken as before.
fn offered_is_taken() {
    for (program, form, option, values) in completion::VALUES {
        let commands = mmp::cli::commands();
        let command = commands.iter().find(|c| c.get_name() == program).expect(program);
        let found = form.map_or(command, |form| command.find_subcommand(form).expect(form));
        let found = found.get_arguments().find(|argument| argument.get_id() == option);
        let found = found.expect(option);
        let long = found.get_long().map(|long| format!("--{long}"));
        let flag = long.or(found.get_short().map(|short| format!("-{short}"))).expect(option);
        assert!(found.get_possible_values().is_empty(), "{program} {flag} takes others too");
        for value in values {
            let value = value.replace('=', "=5");
            let mut line = vec![program];
            line.extend(form);
            line.extend([&flag, &value, "/nonexistent"]);
            if program == "mmprun" {
                line.extend(["--", "true"]);
            }
            let parsed = command.clone().try_get_matches_from(&line);
            parsed.unwrap_or_else(|error| panic!("{line:?}: {error}"));
            // What mmptune knows shows later, when it has come to the device.
            if program == "mmptune" {
                let ended = run(program, &[&["-f"], &line[1..]].concat());
                assert_eq!(ended.code, 2, "{line:?}: {}", ended.said());
                assert!(ended.err.contains("No such file"), "{line:?}: {}", ended.err);
            }
        }
    }
}

/// What the pages are written in comes out as what it means.
fn markdown() {
    for (markdown, roff) in [
        ("one\ntwo\n\nthree", "one\ntwo\n.PP\nthree\n"),
        ("a `-b` *c* **d**", "a \\fB\\-b\\fR \\fIc\\fR \\fBd\\fR\n"),
        (".dot and 'quote' \\\\ x-y", "\\&.dot and \\(aqquote\\(aq \\e x-y\n"),
        ("- one\n- two\n\nx", ".IP \\(bu 2\none\n.IP \\(bu 2\ntwo\n.PP\nx\n"),
        ("| a | b |\n| - | - |\n| `1` | 2 |\n\nx", ".TP\n\\fB1\\fR\n2\n.PP\nx\n"),
        ("| a | b | c |\n| - | - | - |\n| 1 | 2 | 3 |", ".TP\n1 (2)\n3\n"),
        ("| a | b | c |\n| - | - | - |\n| 1 | | 3 |", ".TP\n1\n3\n"),
        ("```\n.a\n```\n\nx", ".RS 4\n.EX\n\\&.a\n.EE\n.RE\n.PP\nx\n"),
        ("### A b\n\nc <!-- no -->", ".SS A b\nc \n"),
    ] {
        assert_eq!(roff::from_markdown(markdown, ""), roff, "{markdown}");
    }
}

/// Every page as a file.
fn written() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::TempDir::new().expect("folder");
    let write = |page: Page| {
        let path = folder.path().join(page.place().file_name().expect("a name"));
        std::fs::write(&path, page.text).expect("write");
        path.to_str().expect("UTF-8").to_owned()
    };
    let files = page::all().into_iter().map(write).collect();
    (folder, files)
}

fn lint() {
    let (_folder, files) = written();
    for file in &files {
        let ended = run("mandoc", &["-T", "lint", "-W", "warning", file]);
        assert_eq!((ended.code, ended.said().as_str()), (0, ""), "{file}");
    }
}

fn eighty_columns() {
    let (_folder, files) = written();
    for file in &files {
        let text = tool("mandoc", &["-T", "utf8", "-O", "width=78", file]);
        // Overstruck letters are bold or underlined.
        for line in text.lines() {
            let shown = line.chars().count() - 2 * line.matches('\u{8}').count();
            assert!(shown <= 80, "{file}: {shown}: {line}");
        }
    }
}
