//! The real mount.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::daemon::{Child, Sleeper, now};

const MOUNT: &str = "/bin/mount";
const UMOUNT: &str = "/bin/umount";
/// Where mount(8) looks for helpers.
const MOUNT_LUSTRE: &str = "/sbin/mount.lustre";
/// How often a running mount is asked whether it has ended.
const REAP: Duration = Duration::from_millis(20);
/// What a broken-off mount gets to end by itself.
const GRACE: Duration = Duration::from_millis(500);

/// The type that `-t` of the helper means: `mmp.TYPE` is TYPE; `mmp`, or nothing, is lustre where
/// it is installed and ext4 elsewhere.
pub fn real_type(asked: Option<&OsStr>) -> OsString {
    match asked.map(OsStr::as_bytes) {
        None | Some(b"mmp") => {
            let lustre = Path::new(MOUNT_LUSTRE).exists();
            OsString::from(if lustre { "lustre" } else { "ext4" })
        }
        Some(asked) => OsStr::from_bytes(asked.strip_prefix(b"mmp.").unwrap_or(asked)).to_owned(),
    }
}

/// mount(8)'s flags, as the helper got them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-s`: tolerate options that the type does not know.
    pub sloppy: bool,
    /// `-f`: do everything but mount.
    pub fake: bool,
    /// `-n`: keep no record.
    pub no_mtab: bool,
    /// `-v`: say what is done.
    pub verbose: bool,
    /// `-r`: read-only.
    pub read_only: bool,
    /// `-w`: not read-only.
    pub read_write: bool,
}

/// What mount(8) is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealMount {
    /// The type.
    pub fstype: OsString,
    /// What to mount.
    pub source: PathBuf,
    /// Where.
    pub dir: PathBuf,
    /// `-o`.
    pub options: Option<OsString>,
    /// The flags.
    pub flags: Flags,
    /// `-N`: in which mount namespace.
    pub namespace: Option<OsString>,
}

impl RealMount {
    fn command(&self) -> Vec<OsString> {
        let mut command = vec![OsString::from(MOUNT), "-t".into(), self.fstype.clone()];
        let flags = [
            (self.flags.sloppy, "-s"),
            (self.flags.fake, "-f"),
            (self.flags.no_mtab, "-n"),
            (self.flags.verbose, "-v"),
            (self.flags.read_only, "-r"),
            (self.flags.read_write, "-w"),
        ];
        command.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| OsString::from(flag)));
        for (option, value) in [("-o", &self.options), ("-N", &self.namespace)] {
            if let Some(value) = value {
                command.extend([option.into(), value.clone()]);
            }
        }
        command.extend(["--".into(), self.source.clone().into(), self.dir.clone().into()]);
        command
    }

    /// Starts it.
    pub(super) fn start(&self) -> io::Result<Child> {
        Child::start(&self.command())
    }

    /// Undoes it.
    pub(super) fn unmount(&self) -> io::Result<ExitStatus> {
        let mut command = Command::new(UMOUNT);
        if let Some(namespace) = &self.namespace {
            command.arg("-N").arg(namespace);
        }
        command.arg("--").arg(&self.dir).status()
    }
}

/// Waits for a mount to end. Told to stop, it breaks it off and gives no code.
pub(super) fn wait_for(child: &mut Child, sleeper: &Sleeper) -> io::Result<Option<u8>> {
    loop {
        if let Some(code) = child.try_wait()? {
            return Ok(Some(code));
        }
        if sleeper.is_stopped() {
            return break_off(child, sleeper).map(|_| None);
        }
        sleeper.wait(now().instant + REAP, true)?;
    }
}

/// Ends a mount; tells its code, for it may have succeeded.
pub(super) fn break_off(child: &mut Child, sleeper: &Sleeper) -> io::Result<u8> {
    child.signal(Signal::SIGTERM);
    let deadline = now().instant + GRACE;
    loop {
        if let Some(code) = child.try_wait()? {
            return Ok(code);
        }
        sleeper.wait(now().instant + REAP, false)?;
        if now().instant >= deadline {
            child.signal(Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_gets_what_the_helper_got() {
        let flags = Flags { sloppy: true, no_mtab: true, verbose: true, ..Flags::default() };
        let real = RealMount {
            fstype: real_type(Some(OsStr::new("mmp.lustre"))),
            source: "/dev/sdb".into(),
            dir: "/mnt/-x y".into(),
            options: Some("rw,flock".into()),
            flags,
            namespace: Some("7".into()),
        };
        let command = real.command().join(OsStr::new("|"));
        let expected = "/bin/mount|-t|lustre|-s|-n|-v|-o|rw,flock|-N|7|--|/dev/sdb|/mnt/-x y";
        assert_eq!(command, expected);
        assert_eq!(real_type(Some(OsStr::new("ldiskfs"))), "ldiskfs");
    }
}
