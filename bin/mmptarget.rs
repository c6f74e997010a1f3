//! A target as a cluster's resource.

fn main() -> std::process::ExitCode {
    mmp::cli::mmptarget::main()
}
