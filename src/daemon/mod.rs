//! Threads, deadlines, signals and real time: what carries the rules out.
//!
//! A few workers carry out the heartbeats of all devices; one that hangs with a device is replaced,
//! so that no device delays another. The main thread does no I/O on a device, and so can watch
//! every lease's end.

mod asking;
mod child;
mod clock;
mod drive;
mod fsck;
mod gaze;
mod guardian;
mod holder;
mod identity;
mod lifeline;
mod limits;
mod log;
mod news;
mod notify;
mod on_loss;
mod pool;
mod realtime;
mod signals;
mod status;
mod supervisor;
mod vital;
mod wake;
mod watcher;

pub use asking::{Answer, Answers, Asked, Due, PATIENCE, ask_all};
pub use child::{Child, Launch};
pub use clock::{Alarm, Stop, now, uptime};
pub use drive::{BlockIo, Driver, Step, drive, drive_until};
pub use fsck::{FsckHold, Left, NotHeld, NotReleased, Unmarked};
pub use guardian::{Fence, Guard, Guardian, Message, called as called_as_guardian};
pub use holder::HolderOptions;
pub use identity::{node_name, our_names, random};
pub use lifeline::survive;
pub use limits::allow_devices;
pub use log::Log;
pub use news::{Ending, News};
pub use notify::ServiceManager;
pub use on_loss::OnLoss;
pub use realtime::Realtime;
pub use signals::{ENDING, Interrupt, hold_back};
pub use status::{STATUS_DIR, StatusSocket, ask_status};
pub use supervisor::{Happening, Supervisor};
pub use vital::{Durations, Stage, Vital};
pub use watcher::{Discovery, Incident, WatchedDevice, Watcher};
