//! Holds devices: a heartbeat from user space.

fn main() -> std::process::ExitCode {
    mmp::cli::mmpd::main()
}
