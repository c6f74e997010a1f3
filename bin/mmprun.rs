//! Holds devices while a command runs.

fn main() -> std::process::ExitCode {
    mmp::cli::mmprun::main()
}
