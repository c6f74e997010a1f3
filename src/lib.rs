//! Multiple-mount protection for disks that several servers see.
//!
//! Rooms, top to bottom; arrows go down only:
//!
//! - [`cli`]: what each program's command line means, and the few lines that wire the rest
//! - [`cluster`]: a target as a cluster's resource: start, stop, how it does, whether a node is gone
//! - [`survey`]: all file systems of the machine side by side, and what is wrong with them
//! - [`mount`]: the mount helper: options, handover to the real mount
//! - [`daemon`]: threads, deadlines, real time, what to do on a loss
//! - [`tune`]: changes to a file system, as a plan of writes and what carries it out
//! - [`report`]: text, JSON, metrics, exit codes
//! - [`protocol`]: the rules of MMP as state machines without I/O, clock or randomness
//! - [`device`]: the one room that touches a device
//! - [`layout`]: what lies on the disk, bytes in, bytes out

pub mod cli;
pub mod cluster;
pub mod daemon;
pub mod device;
pub mod layout;
pub mod mount;
pub mod protocol;
pub mod report;
pub mod survey;
pub mod tune;
