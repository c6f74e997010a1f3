//! Ways to take this node down, made ready before they are needed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::Pid;

use crate::daemon::child::Launch;
use crate::device::kernel;
use crate::protocol::WATCHDOG;

/// What `watchdog` alone means.
const DEVICE: &str = "/dev/watchdog";
const SYSRQ: &str = "/proc/sysrq-trigger";
/// Seconds: a watchdog that cannot wait so long would reset a node that is only busy.
const LEAST: u64 = 3;

/// How a node is to be fenced by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fence {
    /// By a watchdog that is fed no more.
    Watchdog(PathBuf),
    /// By the kernel's reboot without further ado.
    Sysrq,
    /// By a command.
    Command(OsString),
}

impl FromStr for Fence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("watchdog:")) {
            ("", _) => Err("watchdog, sysrq or a command".to_owned()),
            ("watchdog", _) => Ok(Fence::Watchdog(DEVICE.into())),
            ("sysrq", _) => Ok(Fence::Sysrq),
            (_, Some(device)) => Ok(Fence::Watchdog(device.into())),
            _ if is_missing(text) => {
                Err("neither watchdog, watchdog:DEVICE nor sysrq, and no program of that name is \
                     there"
                    .to_owned())
            }
            _ => Ok(Fence::Command(text.into())),
        }
    }
}

/// Whether a command is one word, and no program: mistyped, which would show only when it is needed.
fn is_missing(command: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "/._+-".contains(c);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.chars().all(plain)
        && !std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

impl Fence {
    /// The text that gives it again.
    pub(super) fn to_argument(&self) -> OsString {
        match self {
            Fence::Watchdog(path) => {
                let mut text = OsString::from("watchdog:");
                text.push(path);
                text
            }
            Fence::Sysrq => "sysrq".into(),
            Fence::Command(command) => command.clone(),
        }
    }
}

/// A fence that only has to be let go of, or set off.
#[derive(Debug)]
pub(super) enum Armed {
    Watchdog(File),
    Sysrq(File),
    /// The shell that waits to run the command.
    Command(PipeWriter, Pid),
}

impl Armed {
    /// Opens what is needed. A watchdog runs from here on.
    pub(super) fn new(fence: &Fence) -> Result<Self, String> {
        let failed = |path: &Path, error: &io::Error| {
            format!("cannot use {} for fencing: {error}", crate::device::shown(path))
        };
        let open = |path: &Path| {
            OpenOptions::new().write(true).open(path).map_err(|error| failed(path, &error))
        };
        match fence {
            Fence::Watchdog(path) => {
                let mut watchdog = open(path)?;
                match set_timeout(&watchdog) {
                    Ok(()) => Ok(Armed::Watchdog(watchdog)),
                    Err(error) => {
                        let _ = watchdog.write_all(b"V");
                        Err(failed(path, &error))
                    }
                }
            }
            Fence::Sysrq => Ok(Armed::Sysrq(open(Path::new(SYSRQ))?)),
            Fence::Command(command) => {
                // The shell is there before it is needed, when disks may not answer any more.
                let script = "IFS= read -r go || exit 0; eval \"$1\"";
                let (wait, go) = io::pipe().map_err(|error| error.to_string())?;
                let arguments = ["sh", "-c", script, "sh"].map(OsString::from);
                let mut launch = Launch { arguments: arguments.to_vec(), ..Launch::default() };
                launch.program = Some("/bin/sh".as_ref());
                launch.arguments.push(command.clone());
                launch.descriptors.push((wait.as_fd(), 0));
                let shell = launch.start().map_err(|error| failed(Path::new("/bin/sh"), &error))?;
                Ok(Armed::Command(go, shell))
            }
        }
    }

    /// The shell that waits, where one does.
    pub(super) fn shell(&self) -> Option<Pid> {
        match self {
            Armed::Command(_, shell) => Some(*shell),
            Armed::Watchdog(_) | Armed::Sysrq(_) => None,
        }
    }

    /// A watchdog's food; nothing to the others.
    pub(super) fn feed(&mut self) {
        if let Armed::Watchdog(watchdog) = self {
            // One that cannot be fed resets the node; nothing better can be done about it.
            let _ = watchdog.write_all(b"\0");
        }
    }

    /// Takes the node down, unless that happens by itself.
    pub(super) fn set_off(&mut self) -> io::Result<()> {
        match self {
            Armed::Watchdog(_) => Ok(()),
            Armed::Sysrq(trigger) => trigger.write_all(b"b"),
            Armed::Command(go, _) => go.write_all(b"go\n"),
        }
    }

    /// Puts it away: the "magic close" of a watchdog.
    pub(super) fn disarm(mut self) {
        if let Armed::Watchdog(watchdog) = &mut self {
            let _ = watchdog.write_all(b"V");
        }
    }
}

fn set_timeout(watchdog: &File) -> io::Result<()> {
    let wanted = WATCHDOG.as_secs();
    let set = kernel::set_watchdog_timeout(watchdog.as_fd(), wanted.try_into().unwrap_or(9))?;
    let set = u64::try_from(set).unwrap_or(0);
    if (LEAST..=wanted).contains(&set) {
        return Ok(());
    }
    Err(io::Error::other(format!("its timeout is {set} s, and cannot be made {wanted} s")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fence_survives_being_an_argument() {
        let commands = ["ipmitool power cycle", "sh", "/bin/sh"];
        for text in ["watchdog", "watchdog:/dev/watchdog1", "sysrq"].into_iter().chain(commands) {
            let fence: Fence = text.parse().expect(text);
            let again = fence.to_argument().into_string().expect("UTF-8");
            assert_eq!(again.parse(), Ok(fence));
        }
    }

    #[test]
    fn what_is_mistyped_fences_nothing() {
        for text in ["", "watchdgo", "sysrq-b", "/sbin/no-such-program"] {
            assert!(text.parse::<Fence>().is_err(), "{text}");
        }
    }
}
