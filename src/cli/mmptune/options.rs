//! tune2fs's `-O` and `-E`, as far as they are about MMP.

use crate::layout::Escaped;
use crate::protocol::{DEFAULT_CHECK_INTERVAL, MAX_CHECK_INTERVAL};
use crate::tune::Change;

/// What the two options ask for. Errors are in tune2fs's words where it has them.
pub(super) fn parse(features: Option<&str>, extended: Option<&str>) -> Result<Change, String> {
    let mut change = Change::default();
    for token in features.into_iter().flat_map(tokens) {
        change.mmp = match token {
            "mmp" | "+mmp" => Some(true),
            "^mmp" | "-mmp" => Some(false),
            other => {
                return Err(format!(
                    "Invalid filesystem option set: {}: only mmp and ^mmp can be set here",
                    shown(other)
                ));
            }
        };
    }
    for token in extended.into_iter().flat_map(tokens) {
        match token.split_once('=') {
            None if matches!(token, "clear_mmp" | "clear-mmp") => change.clear = true,
            Some(("mmp_update_interval", value)) => change.interval = Some(interval(value)?),
            _ => {
                return Err(format!(
                    "Bad options specified: {}: only mmp_update_interval=SECONDS and clear_mmp can \
                     be set here",
                    shown(token)
                ));
            }
        }
    }
    if change.mmp == Some(false) && change.clear {
        return Err("clear_mmp and ^mmp contradict each other".to_owned());
    }
    if change == Change::default() { Err("nothing to change".to_owned()) } else { Ok(change) }
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|token| !token.is_empty())
}

fn shown(text: &str) -> Escaped<'_> {
    Escaped(text.as_bytes())
}

/// An interval in seconds as strtoul(3) with base 0 reads it: decimal, 0x hexadecimal, 0 octal, and
/// a negative number as the large one it wraps to.
fn interval(text: &str) -> Result<u16, String> {
    let invalid = || format!("Invalid mmp_update_interval: {}", shown(text));
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, base) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(invalid());
    }
    let number = u64::from_str_radix(digits, base).unwrap_or(u64::MAX);
    let number = if negative { number.wrapping_neg() } else { number };
    match u16::try_from(number) {
        Ok(0) => Ok(DEFAULT_CHECK_INTERVAL),
        Ok(number) if number <= MAX_CHECK_INTERVAL => Ok(number),
        _ => Err(format!("mmp_update_interval too big: {number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_as_strtoul_reads_them() {
        for (text, read) in
            [("0", 5), ("1", 1), ("300", 300), ("0x10", 16), ("010", 8), ("+7", 7), ("-0", 5)]
        {
            assert_eq!(interval(text), Ok(read), "{text}");
        }
        for text in ["301", "65536", "65541", "-1", "99999999999999999999"] {
            let error = interval(text).expect_err(text);
            assert!(error.starts_with("mmp_update_interval too big: "), "{error}");
        }
        for text in ["", "x", "5s", "0x", "09", "+-5", "--5", " 5", "\u{665}"] {
            let error = interval(text).expect_err(text);
            assert!(error.starts_with("Invalid mmp_update_interval: "), "{error}");
        }
    }

    #[test]
    fn options_combine() {
        let both = parse(Some("mmp"), Some("mmp_update_interval=10,clear-mmp")).expect("valid");
        assert_eq!(both, Change { mmp: Some(true), interval: Some(10), clear: true });
        assert_eq!(parse(Some("^mmp"), None).expect("valid").mmp, Some(false));
        for (features, extended) in [
            (Some("foo"), None),
            (Some("mmp,ext_attr"), None),
            (None, Some("stride=4")),
            (None, Some("mmp_update_interval")),
            (None, Some("clear_mmp=1")),
            (Some("^mmp"), Some("clear_mmp")),
            (Some(","), None),
        ] {
            assert!(parse(features, extended).is_err(), "{features:?} {extended:?}");
        }
    }
}
