//! Many devices held by one process.
//!
//! A few workers (`pool`) carry out the heartbeats of all devices (`holder`); one that hangs with a
//! device is replaced, so that no device delays another. The main thread (`supervisor`) does no I/O
//! on a device, and so can watch every lease's end.

mod holder;
mod news;
mod on_loss;
mod pool;
mod status;
mod supervisor;
mod vital;

pub use holder::HolderOptions;
pub use news::{Ending, News};
pub use on_loss::OnLoss;
pub use status::{STATUS_DIR, StatusSocket, ask_status};
pub use supervisor::{Happening, LAST_WAIT, Supervisor};
pub use vital::{Durations, Stage, Vital};
