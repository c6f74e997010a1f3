//! Shows a file system's superblock and its MMP block.
fn main() {}
