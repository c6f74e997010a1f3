//! The fuzzed targets over the inputs kept in `fuzz/corpus`, and over mutations of them; and what
//! e2fsck says of mutated images after `mmptune`. `make fuzz` runs the same targets at length.
//!
//! `MMP_FUZZ_SEEDS=FOLDER` writes the inputs that fuzzing starts from, anew, and runs nothing.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod corpus;
mod fsck;
mod seeds;
mod targets;

use std::process::ExitCode;

use common::suite::{Need, Suite};

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os("MMP_FUZZ_SEEDS") {
        seeds::write(folder.as_ref());
        return ExitCode::SUCCESS;
    }
    let mut suite = Suite::new(&[Need::E2fsprogs]);
    corpus::cases(&mut suite);
    seeds::cases(&mut suite);
    fsck::cases(&mut suite);
    suite.run(4)
}
