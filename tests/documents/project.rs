//! The project's own papers.

use std::path::Path;

use super::common::document;
use super::common::suite::Suite;
use super::source;

pub(super) fn cases(suite: &mut Suite) {
    suite.case("project/changelog_begins_with_this_version", changelog);
    suite.case("project/links_lead_somewhere", links);
    suite.case("project/every_dependency_has_a_reason", dependencies);
    suite.case("project/literals_are_read", source::reads_literals);
}

fn changelog() {
    let text = include_str!("../../CHANGELOG.md");
    let newest = text.lines().find(|line| line.starts_with("## [")).expect("a release");
    let version = concat!("## [", env!("CARGO_PKG_VERSION"), "] - ");
    let date = newest.strip_prefix(version).unwrap_or_else(|| panic!("{newest} is not {version}"));
    let digits = date.split('-').map(|part| part.parse::<u32>().map_or(0, |_| part.len()));
    assert_eq!(digits.collect::<Vec<_>>(), [4, 2, 2], "{newest} has no date");
}

/// Links within the tree.
fn links() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in document::all() {
        let folder = root.join(&document.name);
        let folder = folder.parent().expect("a folder");
        for (line, link) in document.links().iter().filter(|(_, link)| !link.contains("://")) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(folder.join(file).exists(), "{}:{line}: {link}", document.name);
        }
    }
}

/// Each crate of Cargo.toml stands in CONTRIBUTING's table of dependencies, and no other does.
fn dependencies() {
    let table = include_str!("../../Cargo.toml").split("dependencies]\n").skip(1);
    let lines = table.flat_map(|part| part.split("\n\n").next().unwrap_or_default().lines());
    let mut used: Vec<_> = lines.filter_map(|line| line.split_once(" = ")).map(|l| l.0).collect();
    used.sort_unstable();
    used.dedup();
    let text = include_str!("../../CONTRIBUTING.md");
    let (_, section) = text.split_once("\n## Dependencies\n").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed: Vec<_> = names.collect();
    listed.sort_unstable();
    assert_eq!(used, listed, "Cargo.toml, and CONTRIBUTING.md");
}
