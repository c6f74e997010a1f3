//! A window on the devices held: a local socket that tells their numbers to whoever connects, a line
//! of JSON for each device, and listens to nobody.
//!
//! Only root can connect. One client is served at a time, within a second, by a thread of its own
//! that reads atomic numbers: no number of clients can hold up a heartbeat.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::clock::now;
use super::vital::{Durations, Vital};
use crate::device::shown;
use crate::report::{DurationsFields, StatusFields};

/// Where the sockets are.
pub const STATUS_DIR: &str = "/run/mmpd";
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// What an answer may have in bytes: a thousand devices have a few megabytes.
const ANSWER: u64 = 64 << 20;

/// The socket; it goes away with this value.
#[derive(Debug)]
pub struct StatusSocket {
    path: PathBuf,
}

impl StatusSocket {
    /// Opens it in `dir`, which is made if it is not there.
    pub fn open(dir: &Path, devices: Vec<(PathBuf, Arc<Vital>)>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(format!("{}.sock", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        thread::Builder::new().name("status".to_owned()).spawn(move || {
            for client in listener.incoming().flatten() {
                // One that does not take its answer does without.
                let _ = answer(client, &devices);
            }
        })?;
        Ok(StatusSocket { path })
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn answer(mut client: UnixStream, devices: &[(PathBuf, Arc<Vital>)]) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let until = now().instant + PATIENCE;
    // One after the other: all together would be more than the rest of the program.
    for (path, vital) in devices {
        let mut line = serde_json::to_vec(&fields(path, vital))?;
        line.push(b'\n');
        client.write_all(&line)?;
        if now().instant > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn fields(path: &Path, vital: &Vital) -> StatusFields {
    let margin = vital.lease_end().map(|end| end.since(now().instant).as_secs_f64());
    StatusFields {
        device: shown(path).to_string(),
        pid: std::process::id(),
        state: vital.stage().word().to_owned(),
        sequence: vital.sequence(),
        check_interval_s: vital.check_interval(),
        lease_margin_s: margin,
        last_write_latency_s: vital.last_latency().as_secs_f64(),
        write_errors: vital.write_errors(),
        foreign_writes: vital.foreign_writes(),
        write_latency: durations(vital.latency()),
        lateness: durations(vital.lateness()),
    }
}

fn durations(durations: &Durations) -> DurationsFields {
    DurationsFields::new(&durations.counted(), durations.sum(), durations.max())
}

/// Asks every `mmpd hold` that has its socket in `dir`.
pub fn ask_status(dir: &Path) -> io::Result<Vec<StatusFields>> {
    let mut devices = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(devices),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sock") {
            continue;
        }
        let client = match UnixStream::connect(&path) {
            // Its process was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            client => client?,
        };
        client.set_read_timeout(Some(5 * PATIENCE))?;
        let mut text = String::new();
        client.take(ANSWER).read_to_string(&mut text)?;
        for line in text.lines() {
            devices.push(serde_json::from_str::<StatusFields>(line)?);
        }
    }
    devices.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(devices)
}
