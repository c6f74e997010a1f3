//! What each program's command line means, and the few lines that wire the rest.
//!
//! One file a program. Options of one name mean the same in all of them: `--wait`, `--json`, `-v`.

mod common;
pub mod mmpcheck;
pub mod mmpd;
pub mod mmpdump;
pub mod mmprun;
pub mod mmptune;
pub mod mount_mmp;
