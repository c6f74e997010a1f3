//! Shows devices that others hold, live.

fn main() -> std::process::ExitCode {
    mmp::cli::mmpwatch::main()
}
