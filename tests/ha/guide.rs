//! docs/failover.md: its settings and commands, for the tests to use as they stand there.

use std::fs;
use std::path::Path;

use crate::cluster::host;
use crate::common::document::{self, Block};
use crate::common::suite::Suite;
use crate::pair::Pair;

const CHAPTER: &str = "docs/failover.md";
/// Commands of cluster managers that the prose tells to type.
const TOOLS: [&str; 4] = ["crm", "hb_standby", "hb_takeover", "fsfreeze"];

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("guide: what docs/failover.md tells to type is typed here", complete);
}

fn blocks() -> Vec<Block> {
    let chapter = document::all().into_iter().find(|document| document.name == CHAPTER);
    chapter.expect(CHAPTER).blocks()
}

/// The chapter's one block that contains `part`, with the pair's devices and folders in it.
pub(crate) fn block(part: &str, pair: &Pair) -> String {
    let blocks = blocks();
    let mut found = blocks.iter().filter(|block| block.text.contains(part));
    let block = found.next().unwrap_or_else(|| panic!("{CHAPTER} has no {part}"));
    assert!(found.next().is_none(), "{CHAPTER} has more than one {part}");
    on(pair, &block.text)
}

/// This command, which must be among those that the chapter tells to type.
pub(crate) fn command(line: &str, pair: &Pair) -> String {
    let blocks = blocks();
    let mut lines = blocks.iter().filter(|block| is_ours(block)).flat_map(commands);
    assert!(lines.any(|told| told == line), "{CHAPTER} does not tell to type {line}");
    on(pair, line)
}

/// What differs here from what an administrator has: where things are, ext4 for Lustre, and that
/// the kernel has another name than the node.
fn on(pair: &Pair, text: &str) -> String {
    let mut text = text.to_owned();
    for target in 0..pair.targets() {
        for (theirs, ours) in
            [("/dev/mapper", pair.device(target)), ("/srv/lustre", pair.dir(target))]
        {
            text = text.replace(&format!("{theirs}/ost000{}", target + 1), &ours);
        }
    }
    text.replace("fstype=lustre", &format!("fstype=ext4 node={}", host()))
        .replace("::lustre", "::ext4")
}

/// Whether tests/examples leaves a block to us.
fn is_ours(block: &Block) -> bool {
    block.info.starts_with("haresources") || block.info.contains("not-run: needs a cluster")
}

fn commands(block: &Block) -> impl Iterator<Item = &str> {
    let lines = block.text.lines().map(|line| line.split("  #").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty())
}

/// Every such block is asked for by a test, as a whole or line by line, and so is what the prose
/// tells to type.
fn complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ha");
    let paths = fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    let tests: String = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).expect("UTF-8"))
        .collect();
    let asked = |call: &str| {
        let begins = format!("guide::{call}(\"");
        let parts = tests.split(&begins).skip(1).map(|rest| rest.split('"').next());
        parts.map(|part| part.expect("a piece").to_owned()).collect::<Vec<_>>()
    };
    let (whole, lines) = (asked("block"), asked("command"));
    let blocks = blocks();
    for block in blocks.iter().filter(|block| is_ours(block)) {
        let missing = commands(block).find(|line| !lines.iter().any(|asked| asked == line));
        let asked = whole.iter().any(|part| block.text.contains(part));
        if let (false, Some(line)) = (asked, missing) {
            panic!("{CHAPTER}:{}: no test asks for: {line}", block.line);
        }
    }
    let typed: String = blocks.iter().filter(|b| is_ours(b)).map(|b| b.text.as_str()).collect();
    let chapter = document::all().into_iter().find(|document| document.name == CHAPTER);
    for (line, span) in chapter.expect(CHAPTER).code_spans() {
        let told = TOOLS.contains(&span.split(' ').next().unwrap_or_default());
        assert!(
            !told || typed.contains(&span) || tests.contains(&span),
            "{CHAPTER}:{line}: no test does: {span}"
        );
    }
}
