//! Tells whether a device may be mounted.
fn main() {}
