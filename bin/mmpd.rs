//! Holds devices: a heartbeat from user space.
fn main() {}
