//! `mmptune` beside e2fsprogs.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of the shared helpers")]
mod common;

mod faults;
mod hostile;
mod images;
mod input;
mod lustre;
mod matrix;
mod peers;
mod power;

use common::suite::{Need, Suite};

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new(&[Need::E2fsprogs]);
    // Those that wait longest begin first, beside those that compute.
    peers::cases(&mut suite);
    faults::cases(&mut suite);
    power::cases(&mut suite);
    matrix::cases(&mut suite);
    input::cases(&mut suite);
    lustre::cases(&mut suite);
    hostile::cases(&mut suite);
    suite.need(&[Need::Root, Need::E2fsprogs, Need::LoopDevices, Need::KernelExt4]);
    power::cases_of_the_kernel(&mut suite);
    input::cases_of_the_kernel(&mut suite);
    suite.run(12)
}
