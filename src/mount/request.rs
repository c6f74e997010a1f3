//! What is asked of the helper.

use std::ffi::OsString;
use std::path::PathBuf;

use super::options::Options;
use super::real::{Flags, RealMount};

/// What is to be mounted.
#[derive(Clone, Debug)]
pub struct Request {
    /// A device, an image, `LABEL=…` or `UUID=…`.
    pub spec: OsString,
    /// Where.
    pub dir: PathBuf,
    /// The real type.
    pub fstype: OsString,
    /// All options.
    pub options: Options,
    /// mount(8)'s flags.
    pub flags: Flags,
    /// The mount namespace asked for.
    pub namespace: Option<OsString>,
    /// The program's name, for messages.
    pub program: &'static str,
}

impl Request {
    pub(super) fn read_only(&self) -> bool {
        let flag = self.flags.read_only && !self.options.has("rw");
        (flag || self.options.read_only()) && !self.flags.read_write
    }

    pub(super) fn real(&self, source: PathBuf) -> RealMount {
        RealMount {
            fstype: self.fstype.clone(),
            source,
            dir: self.dir.clone(),
            options: self.options.passed_on(),
            flags: self.flags,
            namespace: self.namespace.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_is_what_mount_makes_of_flags_and_options() {
        let request = |flags, options: &str| Request {
            spec: "/dev/sdb".into(),
            dir: "/mnt".into(),
            fstype: "ext4".into(),
            options: Options::parse(options.as_ref()).expect("valid"),
            flags,
            namespace: None,
            program: "mount.mmp",
        };
        let read_only = Flags { read_only: true, ..Flags::default() };
        let read_write = Flags { read_write: true, ..Flags::default() };
        assert!(request(read_only, "").read_only());
        assert!(request(Flags::default(), "ro").read_only());
        assert!(!request(read_write, "").read_only());
        // What mounts for writing whatever else is said must be claimed.
        assert!(!request(read_only, "rw").read_only());
        assert!(!request(read_write, "ro").read_only());
    }
}
