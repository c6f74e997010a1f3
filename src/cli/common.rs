//! What all programs share: parsing, the way errors leave, durations, devices.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

use crate::device::{DeviceError, resolve};
use crate::report::complain;

/// Parses the command line and runs `program`; wrong usage ends with `trouble`, and so does an
/// error that `program` returns.
pub(super) fn run<A: Parser>(
    name: &str,
    trouble: u8,
    program: impl FnOnce(A) -> anyhow::Result<u8>,
) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody may be listening (`--help | head`); that changes nothing.
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { trouble });
        }
    };
    match program(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(name, format!("{error:#}"));
            ExitCode::from(trouble)
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
