//! Shows a file system's superblock and its MMP block.

fn main() -> std::process::ExitCode {
    mmp::cli::mmpdump::main()
}
