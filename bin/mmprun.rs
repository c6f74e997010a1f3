//! Holds devices while a command runs.
fn main() {}
