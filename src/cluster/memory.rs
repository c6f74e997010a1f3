//! What one monitor leaves for the next: when it saw the heartbeat advance.
//!
//! A line of two numbers: the sequence, and for how many nanoseconds the machine had run when it was
//! first seen. By that clock, which stands while the machine is suspended, and not by the one that
//! decides elsewhere: a kernel that slept has not stopped.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::daemon::{now, uptime};
use crate::protocol::{Beat, Instant};
use crate::report::replace;

/// What the last monitor left; nothing where there was none, or where it cannot be read. It may be
/// of another mount, or of another boot, and of a sequence that has come again: kernels count from 1.
/// What the block promises by its own time is waited for all the same.
pub fn recall(path: &Path) -> Option<Beat> {
    // No more than such a line has.
    let line = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() < 64);
    let text = line.then(|| fs::read_to_string(path))?.ok()?;
    let (sequence, nanos) = text.trim_end().split_once(' ')?;
    let ago = uptime().checked_sub(Duration::from_nanos(nanos.parse().ok()?))?;
    let seen = now().instant.0.checked_sub(u64::try_from(ago.as_nanos()).ok()?)?;
    Some(Beat { sequence: sequence.parse().ok()?, seen: Instant(seen) })
}

/// Leaves a beat for the next.
pub fn keep(path: &Path, beat: Beat) -> io::Result<()> {
    // A pipe that nobody reads would keep the monitor for ever.
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(io::Error::other("it is no regular file"));
    }
    let seen = uptime().saturating_sub(now().instant.since(beat.seen));
    replace(path, &format!("{} {}\n", beat.sequence, seen.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_recalled_as_it_was_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("beat");
        assert_eq!(recall(&path), None);
        let seen = Instant(now().instant.0 - 3_000_000_000);
        keep(&path, Beat { sequence: 7, seen }).expect("keep");
        let beat = recall(&path).expect("a beat");
        assert_eq!(beat.sequence, 7);
        // The two clocks are read one after the other.
        assert!(beat.seen.0.abs_diff(seen.0) < 1_000_000_000, "{beat:?} {seen:?}");
    }

    #[test]
    fn what_is_no_beat_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("beat");
        let later = (uptime() + Duration::from_secs(60)).as_nanos();
        for text in ["", "7", "x 1", "7 x", "-7 1", "7 1 1", &format!("7 {later}"), &"7".repeat(64)]
        {
            fs::write(&path, text).expect("write");
            assert_eq!(recall(&path), None, "{text:?}");
        }
        assert_eq!(recall(folder.path()), None);
        let beat = Beat { sequence: 7, seen: now().instant };
        for path in [folder.path(), Path::new("/dev/null")] {
            let error = keep(path, beat).expect_err("no place for it").to_string();
            assert_eq!(error, "it is no regular file");
        }
    }
}
