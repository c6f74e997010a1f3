//! Threads, deadlines, signals and real time: what carries the rules out.
//!
//! One thread a device, so that one that hangs delays no other; the main thread does no I/O on a
//! device, and so can watch every lease's end.

mod child;
mod clock;
mod drive;
mod fsck;
mod holder;
mod limits;
mod notify;
mod supervisor;

pub use child::{Child, spawn};
pub use clock::{Alarm, Stop, now};
pub use drive::{BlockIo, drive};
pub use fsck::{FsckHold, NotHeld};
pub use holder::{Ending, HolderOptions, News, node_name, our_names, random};
pub use limits::allow_devices;
pub use notify::ServiceManager;
pub use supervisor::{Happening, Supervisor};
