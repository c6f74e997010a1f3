//! The programs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::common::program::{self, Ended};

/// A way to run a program on a device.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// What stands before and after the device.
    pub(super) before: &'static [&'static str],
    pub(super) after: &'static [&'static str],
    /// Exit code where it could not be done: wrong usage, no such device, no ext4.
    pub(super) trouble: i32,
    /// Exit code where e2fsck has the device, or an unknown operation.
    pub(super) unsafe_state: i32,
    /// Exit code where the MMP block's checksum is wrong.
    pub(super) bad_checksum: i32,
    /// Exit code where the MMP block's magic is wrong.
    pub(super) bad_magic: i32,
    /// Exit code for a clean device that may be read only.
    pub(super) read_only: i32,
    /// Whether it prints a result, and in JSON.
    pub(super) prints: bool,
    pub(super) json: bool,
}

const CHECK: Program = Program {
    name: "mmpcheck",
    before: &[],
    after: &[],
    trouble: 2,
    unsafe_state: 1,
    bad_checksum: 1,
    bad_magic: 2,
    read_only: 0,
    prints: true,
    json: false,
};

const DUMP: Program = Program { name: "mmpdump", unsafe_state: 0, bad_magic: 1, ..CHECK };

pub(super) const PROGRAMS: [Program; 9] = [
    CHECK,
    Program { before: &["--json"], json: true, ..CHECK },
    Program { before: &["-i"], unsafe_state: 0, bad_checksum: 0, bad_magic: 0, ..CHECK },
    DUMP,
    Program { before: &["-h"], ..DUMP },
    Program { before: &["-i"], ..DUMP },
    Program { before: &["--json"], ..DUMP },
    Program {
        name: "mmpd",
        before: &["hold"],
        unsafe_state: 1,
        bad_magic: 1,
        read_only: 2,
        prints: false,
        ..CHECK
    },
    Program {
        name: "mmprun",
        after: &["--", "true"],
        trouble: 122,
        unsafe_state: 121,
        bad_checksum: 121,
        bad_magic: 121,
        read_only: 122,
        prints: false,
        ..CHECK
    },
];

impl Program {
    /// Its name with its options, for the names of tests.
    pub(super) fn title(&self) -> String {
        [&[self.name], self.before].concat().join("_")
    }

    pub(super) fn command(&self, device: &Path) -> Command {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let device = vec![device.as_os_str().to_owned()];
        program::command(self.name, &[words(self.before), device, words(self.after)].concat())
    }

    pub(super) fn run(&self, device: &Path) -> Ended {
        program::ended(&mut self.command(device))
    }

    /// Asserts that the program failed on `device` with this code, with one clear line.
    pub(super) fn assert_failed(&self, ended: &Ended, code: i32, device: &OsStr, why: &str) {
        let said = ended.said();
        assert_eq!(ended.code, code, "{}: {said}", self.title());
        assert!(!said.contains("panicked") && !said.contains("os error"), "{said}");
        assert_printable(&said);
        let shown = mmp::device::shown(device).to_string();
        let message = if self.json {
            assert_eq!(ended.err, "");
            let document: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
            document["devices"][0]["message"].as_str().expect("message").to_owned()
        } else {
            assert_eq!(ended.err.lines().count(), 1, "{said}");
            let rest = ended.err.strip_prefix(&format!("{}: ", self.name));
            rest.unwrap_or_else(|| panic!("no name: {said}")).to_owned()
        };
        assert!(message.contains(&shown), "does not name {shown}: {said}");
        assert!(message.contains(why), "does not say '{why}': {said}");
    }
}

/// Nothing in it could drive a terminal.
pub(super) fn assert_printable(said: &str) {
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
}
