//! What the test programs share: what a test needs, images, devices, disks that fail, running
//! programs, namespaces, documents, and an outside view of a disk.

use std::time::Duration;

pub(crate) mod beside;
pub(crate) mod disk;
pub(crate) mod document;
pub(crate) mod faulty;
pub(crate) mod hostile;
pub(crate) mod image;
pub(crate) mod loops;
pub(crate) mod namespace;
pub(crate) mod program;
pub(crate) mod schema;
pub(crate) mod suite;

/// The guard interval at the default update interval.
pub(crate) const GUARD: Duration = Duration::from_secs(11);
