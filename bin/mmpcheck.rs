//! Tells whether a device may be mounted.

fn main() -> std::process::ExitCode {
    mmp::cli::mmpcheck::main()
}
