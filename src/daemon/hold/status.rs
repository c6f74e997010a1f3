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

use super::vital::{Durations, Vital};
use crate::daemon::clock::now;
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
    /// Opens it in `dir`, which is made if it is not there, and removes those of processes that
    /// were killed.
    pub fn open(dir: &Path, devices: Vec<(PathBuf, Arc<Vital>)>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Of a name that no other process ever has, and that is seen only once it listens: what is
        // seen and refuses is dead, and stays so.
        let name = format!("{}-{:x}", std::process::id(), now().instant.0);
        let (hidden, path) = (dir.join(format!(".{name}")), dir.join(format!("{name}.sock")));
        let listener = UnixListener::bind(&hidden)?;
        let shown = fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&hidden, &path));
        if shown.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        shown?;
        let folder = dir.to_owned();
        thread::Builder::new().name("status".to_owned()).spawn(move || {
            // What cannot be swept does no harm.
            let _ = sockets(&folder);
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

/// Connects to every socket in `dir`; removes those that nobody listens to any more.
fn sockets(dir: &Path) -> io::Result<Vec<(PathBuf, UnixStream)>> {
    let mut clients = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(clients),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sock") {
            continue;
        }
        match UnixStream::connect(&path) {
            // Its process was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Somebody else may have been quicker.
                let _ = fs::remove_file(&path);
            }
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            client => clients.push((path, client?)),
        }
    }
    Ok(clients)
}

/// Asks every `mmpd hold` that has its socket in `dir`. Those that do not answer, because their
/// process is stopped, are told by their sockets.
pub fn ask_status(dir: &Path) -> io::Result<(Vec<StatusFields>, Vec<PathBuf>)> {
    let (mut devices, mut silent) = (Vec::new(), Vec::new());
    for (path, client) in sockets(dir)? {
        match ask(client) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => silent.push(path),
            answer => devices.extend(answer?),
        }
    }
    devices.sort_by(|a, b| a.device.cmp(&b.device));
    Ok((devices, silent))
}

fn ask(client: UnixStream) -> io::Result<Vec<StatusFields>> {
    client.set_read_timeout(Some(5 * PATIENCE))?;
    let mut text = String::new();
    client.take(ANSWER).read_to_string(&mut text)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("list").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn dead_sockets_go_when_one_starts_and_when_all_are_asked() {
        let folder = tempfile::tempdir().expect("folder");
        let dead = || drop(UnixListener::bind(folder.path().join("7-1.sock")).expect("socket"));
        dead();
        fs::write(folder.path().join("notes"), "not ours").expect("write");
        assert_eq!(ask_status(folder.path()).expect("asked"), (vec![], vec![]));
        assert_eq!(names(folder.path()), ["notes"]);
        dead();
        let socket = StatusSocket::open(folder.path(), Vec::new()).expect("socket");
        let until = now().instant + Duration::from_secs(10);
        while names(folder.path()).len() > 2 {
            assert!(now().instant < until, "{:?}", names(folder.path()));
            thread::sleep(Duration::from_millis(10));
        }
        assert!(socket.path.exists());
        drop(socket);
        assert_eq!(names(folder.path()), ["notes"]);
    }

    #[test]
    fn one_that_starts_is_not_taken_for_dead() {
        let folder = tempfile::tempdir().expect("folder");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        drop(sockets(folder.path()));
                    }
                });
            }
            for _ in 0..200 {
                let socket = StatusSocket::open(folder.path(), Vec::new()).expect("socket");
                assert!(socket.path.exists(), "swept");
            }
            over.store(true, Ordering::SeqCst);
        });
    }
}
