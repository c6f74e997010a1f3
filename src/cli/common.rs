//! What all programs share: parsing, the way errors leave, durations, devices.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;

use crate::device::{DeviceError, MmpDevice, Plain, Reader, kernel, resolve};
use crate::layout::{Escaped, MmpBlock};
use crate::report::{complain, emit};

/// Parses the command line and runs `program`; wrong usage ends with `trouble`, and so does an
/// error that `program` returns.
pub(super) fn run<A: Parser>(
    name: &str,
    trouble: u8,
    program: impl FnOnce(A) -> anyhow::Result<u8>,
) -> ExitCode {
    kernel::expected_signals();
    let done = A::try_parse().map_err(Ended::from).and_then(|arguments| Ok(program(arguments)?));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Ended::Told) => ExitCode::SUCCESS,
        Err(Ended::Trouble(message)) => {
            complain(name, message);
            ExitCode::from(trouble)
        }
    }
}

/// How a program ends that does not come to a result.
enum Ended {
    /// Help or version was asked for.
    Told,
    Trouble(String),
}

impl From<clap::Error> for Ended {
    /// Wrong usage, in one line as every other message.
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return match emit(&text).context("cannot write the result") {
                Ok(()) => Ended::Told,
                Err(error) => error.into(),
            };
        }
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        let words: Vec<_> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
        Ended::Trouble(format!("{}; see --help", Escaped(words.join(" ").as_bytes())))
    }
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Ended::Trouble(message(&error))
    }
}

/// An error and its causes in one line.
pub(super) fn message(error: &anyhow::Error) -> String {
    let plain = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(error) => Plain(error).to_string(),
        None => cause.to_string(),
    };
    error.chain().map(plain).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        // What quotes its cause need not be followed by it.
        said if said.contains(&cause) => text,
        said => format!("{said}: {cause}"),
    })
}

/// A time span: `30`, `30s`, `1min 30s`, `500ms`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let limit = Duration::from_secs(u32::MAX.into());
    if parsed > limit { Err("longer than a lifetime".to_owned()) } else { Ok(parsed) }
}

/// The paths of all devices, or the first that cannot be found.
pub(super) fn resolve_all(specs: &[OsString]) -> Result<Vec<PathBuf>, DeviceError> {
    specs.iter().map(|spec| resolve(spec)).collect()
}

/// How often a block that is not valid is read again, and after what time.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// The MMP block, valid or not; one that was met half written is read again.
pub(super) fn settled(device: &mut MmpDevice<Reader>) -> Result<MmpBlock, DeviceError> {
    let mut block = device.block()?;
    for _ in 0..LOOKS {
        if block.verify(device.area().checksum).is_ok() {
            break;
        }
        thread::sleep(PAUSE);
        block = device.block()?;
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::SuperblockError;

    #[test]
    fn causes_are_told_once() {
        let source = || std::io::Error::from_raw_os_error(nix::libc::EIO);
        let path = PathBuf::from("/dev/sda");
        let open = DeviceError::Open { path, writing: false, source: source() };
        assert_eq!(message(&open.into()), "/dev/sda: cannot open: I/O error");
        let context = anyhow::Error::from(source()).context("cannot write the result");
        assert_eq!(message(&context), "cannot write the result: I/O error");
        let path = PathBuf::from("/dev/sda");
        let none = DeviceError::Superblock { path, source: SuperblockError::NoMmp };
        let told = "/dev/sda: MMP is not enabled on this file system; 'mmptune -O mmp /dev/sda' turns it on";
        assert_eq!(message(&none.into()), told);
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1min 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "-1", "1x", "99999999999999999999", "9000years"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
