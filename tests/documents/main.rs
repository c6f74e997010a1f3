//! README, docs/, the manual pages and the programs say the same, in the same words.
//!
//! Nothing is run here but formatters; tests/examples runs what the documents tell to type.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;
#[path = "../../man/generate/completion.rs"]
mod completion;
#[path = "../../man/generate/page.rs"]
mod page;
#[path = "../../man/generate/roff.rs"]
mod roff;

mod commands;
mod messages;
mod pages;
mod project;
mod source;
mod voice;

use common::suite::{Need, Suite};

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[]);
    commands::cases(&mut suite);
    messages::cases(&mut suite);
    pages::cases(&mut suite);
    project::cases(&mut suite);
    voice::cases(&mut suite);
    suite.need(&[Need::Mandoc]);
    pages::formatted(&mut suite);
    suite.run(8)
}
