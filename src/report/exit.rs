//! Exit codes.
//!
//! `mmpcheck` keeps those of e2mmpstatus; `mmprun` needs codes that a command will hardly use;
//! `mount.mmp` keeps those of mount(8), `mmptarget` those of OCF resource agents.

/// Done; for `mmpcheck`: safe to mount.
pub const DONE: u8 = 0;
/// Refused because of the device's state, or the device was lost; for `mmpcheck`: in use, or not
/// safe.
pub const REFUSED: u8 = 1;
/// Wrong usage, or it could not be carried out; for `mmpcheck`: could not tell.
pub const TROUBLE: u8 = 2;

/// `mmprun`: the devices were never got, because of the state of one.
pub const RUN_REFUSED: u8 = 121;
/// `mmprun`: wrong usage, or it could not be carried out.
pub const RUN_TROUBLE: u8 = 122;
/// `mmprun`: a device was lost while the command ran, or could not be released.
pub const RUN_LOST: u8 = 123;
/// `mmprun`: the command was found but could not be started, as shells have it.
pub const RUN_CANNOT_EXECUTE: u8 = 126;
/// `mmprun`: there is no such command, as shells have it.
pub const RUN_NOT_FOUND: u8 = 127;

/// `mount.mmp`, as mount(8): wrong usage.
pub const MOUNT_USAGE: u8 = 1;
/// `mount.mmp`, as mount(8): the system refused something, such as a process or memory.
pub const MOUNT_SYSTEM: u8 = 2;
/// `mount.mmp`, as mount(8): interrupted.
pub const MOUNT_INTERRUPTED: u8 = 8;
/// `mount.mmp`, as mount(8): the mount failed or was refused.
pub const MOUNT_FAILED: u8 = 32;

/// `mmptarget`, as OCF agents: it cannot be started on this machine, but perhaps on another.
pub const TARGET_NOT_HERE: u8 = 5;
/// `mmptarget`, as OCF agents: it cannot be started anywhere before something is put right.
pub const TARGET_NOWHERE: u8 = 6;
/// `mmptarget`, as OCF agents: it is not mounted.
pub const TARGET_NOT_MOUNTED: u8 = 7;
/// A Nagios plugin: something will be wrong.
pub const NAGIOS_WARNING: u8 = 1;
/// A Nagios plugin: something is wrong.
pub const NAGIOS_CRITICAL: u8 = 2;
/// A Nagios plugin: could not tell.
pub const NAGIOS_UNKNOWN: u8 = 3;
