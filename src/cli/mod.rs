//! What each program's command line means, and the few lines that wire the rest.
//!
//! One file or folder a program, and what several of them share: `common`, `watched`. Options of one
//! name mean the same in all of them: `--wait`, `--json`, `-v`.

mod common;
pub mod mmpcheck;
pub mod mmpd;
pub mod mmpdump;
pub mod mmprun;
pub mod mmptarget;
pub mod mmptune;
pub mod mmpwatch;
pub mod mount_mmp;
mod watched;

use clap::{Command, CommandFactory};

/// The command line of every program, for what is made of it: manual pages and completions.
pub fn commands() -> Vec<Command> {
    vec![
        mmpcheck::Arguments::command(),
        mmpd::Arguments::command(),
        mmpdump::Arguments::command(),
        mmprun::Arguments::command(),
        mmptarget::Arguments::command(),
        mmptune::Arguments::command(),
        mmpwatch::Arguments::command(),
        mount_mmp::Arguments::command(),
    ]
}
