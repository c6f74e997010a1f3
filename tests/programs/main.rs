//! What all programs share: bad input, outputs that fail, help, exit codes. Needs no root.
//!
//! Everything here runs over the table of programs; a new program joins with its row.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod input;
mod output;
mod table;
mod usage;

use common::suite::{Need, Suite};

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[Need::E2fsprogs]);
    input::cases(&mut suite);
    output::cases(&mut suite);
    usage::cases(&mut suite);
    suite.run(16)
}
