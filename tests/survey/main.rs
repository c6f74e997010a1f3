//! `mmpcheck --all`: the findings on this machine's block devices, and the forms they are told in.
//!
//! Other tests make loop devices too: nothing here counts devices, each case looks for its own.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod forms;
mod hanging;
mod hostile;
mod mounted;

use common::suite::{Need, Suite};

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[Need::E2fsprogs, Need::PrometheusClient]);
    forms::cases(&mut suite);
    suite.need(&[Need::Root, Need::LoopDevices, Need::KernelExt4, Need::Fuse]);
    mounted::cases(&mut suite);
    hostile::cases(&mut suite);
    hanging::cases(&mut suite);
    suite.run(32)
}
