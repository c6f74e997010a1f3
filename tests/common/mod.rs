//! What the test programs share: what a test needs, images, devices, running programs, and an
//! outside view of a disk.

pub(crate) mod disk;
pub(crate) mod document;
pub(crate) mod fuse;
pub(crate) mod hostile;
pub(crate) mod image;
pub(crate) mod loops;
pub(crate) mod program;
pub(crate) mod schema;
pub(crate) mod suite;
