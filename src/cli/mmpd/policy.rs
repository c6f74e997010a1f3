//! What `mmpd hold` does on the loss of each of its devices.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::daemon::OnLoss;
use crate::device::shown;

/// What to do about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Release the others and end.
    Exit,
    /// Say so, and hold the others on.
    Report,
    /// Have the shell run it, and hold the others on.
    Command(OsString),
}

impl Action {
    fn new(text: &OsStr) -> Self {
        match text.as_bytes() {
            b"exit" => Action::Exit,
            b"report" => Action::Report,
            _ => Action::Command(text.to_owned()),
        }
    }
}

/// The actions, by the devices' places in the list.
#[derive(Debug)]
pub(super) struct Policy {
    actions: Vec<Action>,
    shells: HashMap<OsString, OnLoss>,
}

impl Policy {
    /// `general` for all, but for those that `of` names, as `DEVICE=ACTION` with the device as
    /// given.
    pub(super) fn new(
        devices: &[OsString],
        general: &OsStr,
        of: &[OsString],
    ) -> anyhow::Result<Self> {
        let mut actions = vec![Action::new(general); devices.len()];
        for exception in of {
            let action = |device: &OsString| {
                let rest = exception.as_bytes().strip_prefix(device.as_bytes())?;
                rest.strip_prefix(b"=").map(OsStr::from_bytes)
            };
            let found = devices.iter().enumerate().find_map(|(i, d)| Some((i, action(d)?)));
            let Some((index, text)) = found else {
                bail!("--on-loss-of {}: no such device is held", shown(exception));
            };
            actions[index] = Action::new(text);
        }
        Ok(Policy { actions, shells: HashMap::new() })
    }

    /// Starts the shells; called before memory is locked.
    pub(super) fn prepare(&mut self, paths: &[PathBuf]) -> anyhow::Result<()> {
        for action in &self.actions {
            if let Action::Command(command) = action
                && !self.shells.contains_key(command)
            {
                let shell = OnLoss::start(command, paths).context("cannot start a shell")?;
                self.shells.insert(command.clone(), shell);
            }
        }
        Ok(())
    }

    /// Whether the loss of this device ends the program.
    pub(super) fn exits(&self, index: usize) -> bool {
        self.actions[index] == Action::Exit
    }

    /// Has its command run, if it has one.
    pub(super) fn run(&mut self, index: usize, reason: &str) -> std::io::Result<()> {
        match &self.actions[index] {
            Action::Command(command) => match self.shells.get_mut(command) {
                Some(shell) => shell.run(index, reason),
                None => Ok(()),
            },
            Action::Exit | Action::Report => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_own_action_or_that_of_all() {
        let devices = ["/dev/sda", "UUID=1", "/dev/sdb"].map(OsString::from);
        let of = ["UUID=1=report", "/dev/sda=logger x=y"].map(OsString::from);
        let policy = Policy::new(&devices, "exit".as_ref(), &of).expect("good");
        let command = Action::Command("logger x=y".into());
        assert_eq!(policy.actions, [command, Action::Report, Action::Exit]);
        assert!(!policy.exits(1) && policy.exits(2));
        let unknown = Policy::new(&devices, "exit".as_ref(), &["/dev/sdc=report".into()]);
        assert!(unknown.is_err());
    }
}
