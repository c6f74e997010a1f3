//! Mounts what another server may want at the same moment.

fn main() -> std::process::ExitCode {
    mmp::cli::mount_mmp::main()
}
