//! Threads, deadlines, signals and real time: what carries the rules out.
//!
//! - `hold`: holds many devices, with a heartbeat each
//! - `guardian`: a process that acts on the end of a lease by itself
//! - `watch`: looks at many devices that others hold
//!
//! The files beside them are what these are made of, and the programs that ask a device only once.

mod asking;
mod child;
mod clock;
mod drive;
mod fsck;
mod guardian;
mod hold;
mod identity;
mod lifeline;
mod limits;
mod log;
mod notify;
mod realtime;
mod signals;
mod wake;
mod watch;

pub use asking::{Answer, Answers, Asked, Due, PATIENCE, ask_all};
pub use child::{Child, Launch};
pub use clock::{Sleeper, Stop, now, uptime};
pub use drive::{BlockIo, Driver, Step, drive, drive_until};
pub use fsck::{FsckHold, Left, NotHeld, NotReleased, Unmarked};
pub use guardian::{Fence, Guard, Guardian, Message, called as called_as_guardian};
pub use hold::{
    Durations, Ending, Happening, HolderOptions, LAST_WAIT, News, OnLoss, STATUS_DIR, Stage,
    StatusSocket, Supervisor, Vital, ask_status,
};
pub use identity::{node_name, our_names, random};
pub use lifeline::survive;
pub use limits::allow_devices;
pub use log::Log;
pub use notify::ServiceManager;
pub use realtime::Realtime;
pub use signals::{ENDING, Interrupt, hold_back};
pub use watch::{Discovery, Incident, WatchedDevice, Watcher};
