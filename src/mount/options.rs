//! The option string: what is ours is taken out, the rest stays as it was.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::device::shown;

/// `mmp.mode`: how a mount is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Claim, watch for a guard interval, mount at once.
    #[default]
    Guard,
    /// Leave a clean block not clean, so that the kernel waits twice.
    Strict,
    /// Refuse what is in use; a clean file system is mounted without a guard interval.
    Check,
    /// Do nothing; the file system need not have MMP.
    Off,
}

/// What is wrong with the options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// An option that begins with `mmp.` but is none of ours.
    #[error(
        "unknown option '{0}'; known are mmp.mode=guard|strict|check|off, mmp.wait=SECONDS and mmp.fenced=pacemaker|no"
    )]
    Unknown(String),
    /// A value that makes no sense.
    #[error("bad value in option '{0}'; {1}")]
    Value(String, &'static str),
    /// An operation that has nothing to do with a device.
    #[error(
        "option '{0}' mounts no device, so there is nothing to protect; use mount without '-t mmp…'"
    )]
    NoDevice(&'static str),
}

/// The options of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `mmp.mode`.
    pub mode: Mode,
    /// `mmp.wait`: how long a device in use is waited for; not at all where it is not given.
    pub wait: Option<Duration>,
    /// `mmp.fenced=pacemaker`: whether a node that Pacemaker has fenced is believed to be gone.
    pub fenced: bool,
    rest: Vec<Vec<u8>>,
}

/// Which part of an image a loop device shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LoopPart {
    /// In bytes.
    pub(super) offset: u64,
    /// In bytes; 0 is all there is.
    pub(super) size_limit: u64,
}

/// Options that mount(8) carries out without a device.
const NO_DEVICE: [&str; 3] = ["bind", "rbind", "move"];

impl Options {
    /// Takes the argument of `-o`; of a repeated option of ours the last one counts.
    pub fn parse(text: &OsStr) -> Result<Self, OptionError> {
        let mut options = Options::default();
        if text.is_empty() {
            return Ok(options);
        }
        for option in split(text.as_bytes()) {
            match option.strip_prefix(b"mmp.") {
                Some(own) => options.take(own)?,
                None => options.rest.push(option.to_owned()),
            }
        }
        match NO_DEVICE.iter().find(|name| options.has(name) && !options.has("remount")) {
            Some(name) => Err(OptionError::NoDevice(name)),
            None => Ok(options),
        }
    }

    fn take(&mut self, own: &[u8]) -> Result<(), OptionError> {
        let text = || format!("mmp.{}", shown(OsStr::from_bytes(own)));
        let bad = |hint| OptionError::Value(text(), hint);
        if let Some(mode) = own.strip_prefix(b"mode=") {
            self.mode = match mode {
                b"guard" => Mode::Guard,
                b"strict" => Mode::Strict,
                b"check" => Mode::Check,
                b"off" => Mode::Off,
                _ => return Err(bad("guard, strict, check or off")),
            };
        } else if let Some(wait) = own.strip_prefix(b"wait=") {
            let seconds = std::str::from_utf8(wait).ok().and_then(|s| s.parse::<u32>().ok());
            let seconds = seconds.ok_or_else(|| bad("whole seconds"))?;
            self.wait = Some(Duration::from_secs(seconds.into()));
        } else if let Some(by) = own.strip_prefix(b"fenced=") {
            self.fenced = match by {
                b"pacemaker" => true,
                b"no" => false,
                _ => return Err(bad("pacemaker or no")),
            };
        } else {
            return Err(OptionError::Unknown(text()));
        }
        Ok(())
    }

    /// Whether an option without a value is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.iter().any(|option| option == name.as_bytes())
    }

    /// Whether the mount is to be read-only, where the options say; the last word counts.
    pub(super) fn read_only(&self) -> bool {
        self.rest.iter().rfind(|o| matches!(&o[..], b"ro" | b"rw")).is_some_and(|o| o == b"ro")
    }

    /// Takes out what concerns a loop device; `None` where nothing does.
    pub(super) fn take_loop(&mut self) -> Result<Option<LoopPart>, OptionError> {
        let mut part = None::<LoopPart>;
        let mut rest = Vec::new();
        for option in std::mem::take(&mut self.rest) {
            if let Some(value) = option.strip_prefix(b"offset=") {
                part.get_or_insert_default().offset = bytes(&option, value)?;
            } else if let Some(value) = option.strip_prefix(b"sizelimit=") {
                part.get_or_insert_default().size_limit = bytes(&option, value)?;
            } else if option == b"loop" {
                part.get_or_insert_default();
            } else if option.starts_with(b"loop=") {
                let text = shown(OsStr::from_bytes(&option)).to_string();
                let hint = "a loop device is chosen here; bind yours with losetup and mount that";
                return Err(OptionError::Value(text, hint));
            } else {
                rest.push(option);
            }
        }
        self.rest = rest;
        Ok(part)
    }

    /// What the real mount gets; `None` where nothing is left.
    pub(super) fn passed_on(&self) -> Option<OsString> {
        let text = self.rest.join(&b","[..]);
        (!self.rest.is_empty()).then(|| OsString::from_vec(text))
    }
}

/// Splits at commas, but not inside double quotes, as mount(8) does (`context="a,b"`).
fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut quoted = false;
    let at_comma = |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    text.split(at_comma).collect()
}

/// A size of mount(8): bytes, or with a suffix KiB, MiB and so on, which may be shortened to K, M.
fn bytes(option: &[u8], value: &[u8]) -> Result<u64, OptionError> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix {
        "" => Some(0),
        "K" | "KiB" => Some(10),
        "M" | "MiB" => Some(20),
        "G" | "GiB" => Some(30),
        "T" | "TiB" => Some(40),
        _ => None,
    };
    let size = shift.and_then(|shift| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    size.ok_or_else(|| {
        let text = shown(OsStr::from_bytes(option)).to_string();
        OptionError::Value(text, "a number of bytes, or of KiB, MiB, GiB or TiB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, OptionError> {
        Options::parse(OsStr::new(text))
    }

    #[test]
    fn ours_are_taken_out_and_the_rest_is_untouched() {
        for (given, passed) in [
            ("rw,mmp.mode=strict,flock,mmp.wait=9", Some("rw,flock")),
            ("mmp.wait=9", None),
            ("", None),
            ("rw,context=\"a,mmp.b=1\",x", Some("rw,context=\"a,mmp.b=1\",x")),
            ("ro,noatime,,remount,", Some("ro,noatime,,remount,")),
            ("user_xattr,md_stripe_cache_size=16384,mgsnode=a@tcp:b@tcp", None),
        ] {
            let options = parse(given).expect("valid");
            let expected = if given.starts_with("user_xattr") { Some(given) } else { passed };
            assert_eq!(options.passed_on().as_deref(), expected.map(OsStr::new), "{given}");
        }
        let options = parse("mmp.mode=check,mmp.mode=strict,mmp.wait=9").expect("valid");
        assert_eq!((options.mode, options.wait), (Mode::Strict, Some(Duration::from_secs(9))));
    }

    #[test]
    fn a_slip_of_the_pen_is_not_passed_over() {
        for wrong in [
            "mmp.fenced=",
            "mmp.fenced=yes",
            "mmp.mode=strct",
            "mmp.mode",
            "mmp.",
            "mmp.wait=",
            "mmp.wait=1.5",
            "mmp.x=1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(parse("rbind"), Err(OptionError::NoDevice("rbind"))));
        assert!(parse("remount,bind,ro").is_ok());
    }

    #[test]
    fn the_last_of_ro_and_rw_counts() {
        for (text, read_only) in [("", false), ("rw,ro", true), ("ro,rw", false), ("xro", false)] {
            assert_eq!(parse(text).expect("valid").read_only(), read_only, "{text}");
        }
    }

    #[test]
    fn loop_options_are_taken_out() {
        let mut options = parse("rw,loop,offset=1MiB,sizelimit=512").expect("valid");
        let part = LoopPart { offset: 1 << 20, size_limit: 512 };
        assert_eq!(options.take_loop(), Ok(Some(part)));
        assert_eq!(options.passed_on().as_deref(), Some(OsStr::new("rw")));
        assert_eq!(options.take_loop(), Ok(None));
        for wrong in ["offset=x", "offset=1QiB", "offset=99999999999999999999", "loop=/dev/loop1"] {
            assert!(parse(wrong).expect("parses").take_loop().is_err(), "{wrong}");
        }
    }
}
