//! The rules of MMP in virtual time: one block, any number of nodes, delays and faults as wanted.

mod check;
mod claim;
mod harness;
mod hold;
mod race;
mod watch;
