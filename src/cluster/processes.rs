//! Processes that keep a file system from being unmounted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{major, minor};
use nix::unistd::Pid;

/// Sends `signal`, if any, to every process but this one that has a file of the file system at
/// `dir` open or mapped, or stands in it; tells how many there are.
pub(super) fn signal_users(dir: &Path, signal: Option<Signal>) -> usize {
    let Ok(device) = fs::metadata(dir).map(|m| m.dev()) else { return 0 };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = Pid::this().as_raw();
    let users =
        ids.filter(|id| *id != own && uses(&Path::new("/proc").join(id.to_string()), device));
    // One that has ended meanwhile is what is wanted.
    users.inspect(|id| _ = kill(Pid::from_raw(*id), signal)).count()
}

fn uses(process: &Path, device: u64) -> bool {
    let is_on = |path: &Path| fs::metadata(path).is_ok_and(|m| m.dev() == device);
    let mapped = || {
        // "address perms offset dev inode path", the device in hexadecimal.
        let wanted = format!(" {:02x}:{:02x} ", major(device), minor(device));
        fs::read_to_string(process.join("maps")).is_ok_and(|maps| maps.contains(&wanted))
    };
    ["cwd", "root", "exe"].iter().any(|link| is_on(&process.join(link)))
        || fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|f| is_on(&f.path()))
        || mapped()
}
