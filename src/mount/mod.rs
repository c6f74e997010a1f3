//! The mount helper: what comes before the real mount, and what after it.
//!
//! The real mount is mount(8) itself, asked for the real type: it finds `/sbin/mount.TYPE` and gives
//! it the arguments it always gives, and keeps its own records. Before that the device is prepared
//! by [`crate::protocol::Handover`]; beside and after it the block is watched where that is needed.
//! Every writer of ours is closed before the real mount begins: the kernel wants the device for
//! itself.

mod error;
mod fenced;
mod helper;
mod mounting;
mod options;
mod real;
mod remount;
mod request;
mod source;
mod writing;

pub use error::MountError;
pub use helper::mount;
pub use options::{Mode, OptionError, Options};
pub use real::{Flags, RealMount, real_type};
pub use request::Request;
