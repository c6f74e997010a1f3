//! Health in the words of Lustre's own `health_check`, and together with it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, bail};

use crate::daemon::PATIENCE;
use crate::device::shown;
use crate::layout::Escaped;
use crate::report::exit::{DONE, REFUSED};
use crate::survey::{Severity, Surveyed};

/// Where Lustre's versions keep theirs.
const LUSTRE: [&str; 2] = ["/sys/fs/lustre/health_check", "/proc/fs/lustre/health_check"];
/// Bytes: what is read of it at most.
const LONGEST: u64 = 64 * 1024;

/// A line for each device that has something critical, and each that Lustre reports; then
/// `healthy` or `NOT HEALTHY`. `lustre` overrules where Lustre's file is. Fails where nothing is
/// wrong and nothing can be told of a device that was `named`, or of any.
pub(super) fn text(
    devices: &[Surveyed],
    named: bool,
    lustre: Option<&Path>,
) -> anyhow::Result<(String, u8)> {
    let mut lines = Vec::new();
    for finding in devices.iter().flat_map(|device| &device.findings) {
        if finding.kind.severity == Severity::Critical {
            lines.push(format!("device {}", finding.sentence));
        }
    }
    let lustre = lustre.or_else(|| LUSTRE.iter().map(Path::new).find(|path| path.exists()));
    let theirs = lustre.map(|path| read(path.to_owned())).transpose()?;
    let mut healthy = lines.is_empty();
    for line in theirs.as_deref().unwrap_or_default().split(|b| *b == b'\n') {
        match line {
            b"healthy" | b"" => {}
            b"NOT HEALTHY" => healthy = false,
            line => {
                healthy = false;
                lines.push(Escaped(line).to_string());
            }
        }
    }
    if let (true, Some(why)) = (healthy, untold(devices, named)) {
        bail!("cannot tell whether all is well: {why}");
    }
    let mut text = String::new();
    for line in &lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text += if healthy { "healthy\n" } else { "NOT HEALTHY\n" };
    Ok((text, if healthy { DONE } else { REFUSED }))
}

/// What keeps `healthy` from being known: a device that was named and cannot be looked at, or that
/// none can. Of all that a machine has, one may well be nobody's to open.
fn untold(devices: &[Surveyed], named: bool) -> Option<&str> {
    let untold: Vec<_> = devices
        .iter()
        .filter_map(|device| {
            device.findings.iter().find(|finding| finding.kind.severity == Severity::Unknown)
        })
        .collect();
    let blind = named || untold.len() == devices.len();
    untold.first().filter(|_| blind).map(|finding| finding.sentence.as_str())
}

/// Lustre may hang too.
fn read(path: PathBuf) -> anyhow::Result<Vec<u8>> {
    let name = shown(&path).to_string();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut content = Vec::new();
        let file = File::open(path).map(|file| file.take(LONGEST));
        let read = file.and_then(|mut file| file.read_to_end(&mut content));
        let _ = sender.send(read.map(|_| content));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result.with_context(|| format!("{name}: cannot read")),
        Err(_) => bail!("{name}: has not answered"),
    }
}
