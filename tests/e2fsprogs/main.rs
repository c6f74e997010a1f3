//! Beside e2fsprogs: images made by mke2fs, judged by e2mmpstatus, dumpe2fs and e2fsck.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod header;
mod layouts;
mod status;

use common::suite::{Need, Suite};

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[Need::E2fsprogs]);
    status::cases(&mut suite);
    header::cases(&mut suite);
    layouts::cases(&mut suite);
    suite.run(32)
}
