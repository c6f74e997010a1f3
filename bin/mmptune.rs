//! Turns MMP on or off, sets its interval, clears its block.

fn main() -> std::process::ExitCode {
    mmp::cli::mmptune::main()
}
