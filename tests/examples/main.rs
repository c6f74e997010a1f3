//! Every command that README, docs/ and the manual pages tell to type, typed.
//!
//! A block marked `sh` must succeed. In one marked `console`, what follows a line with the prompt
//! `# ` must be what that command says, but for numbers, names, times and line breaks. Each block
//! runs in a mount namespace of its own, where the programs are installed and two file systems with
//! MMP are `/dev/mapper/ost0001` and `ost0002`; words after the language change the first one's
//! state. `not-run` says why a block cannot be run.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod stage;
mod transcript;

use common::document::{self, Block};
use common::suite::{Need, Suite};

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[]);
    suite.case("transcripts_that_differ_are_told", transcript::tells);
    suite.need(&[Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4, Need::Jq]);
    for document in document::all() {
        for block in document.blocks() {
            let mut words = block.info.split_whitespace();
            let console = match words.next() {
                Some("console") => true,
                Some("sh") => false,
                _ => continue,
            };
            let state = words.next().unwrap_or("clean").to_owned();
            if !state.starts_with("not-run") {
                let name = format!("{}:{}", document.name, block.line);
                suite.case(name, move || run(&block, console, &state));
            }
        }
    }
    // They wait, for guard intervals and for e2fsck's minute.
    suite.run(16)
}

fn run(block: &Block, console: bool, state: &str) {
    let (text, state) = (block.text.clone(), state.to_owned());
    stage::on(&state, move || {
        if console {
            let said = stage::shell(&transcript::script(&text));
            transcript::assert_like(&said.out, &text);
        } else {
            let said = stage::shell(&format!("set -eu\n{text}"));
            assert_eq!(said.code, 0, "{text}\n{}", said.said());
        }
    });
}
