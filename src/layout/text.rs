//! Text that came from a disk or a command line, made safe to print.

use std::fmt;

/// Bytes shown so that they cannot drive a terminal: letters, digits and printable ASCII as they
/// are, everything else (controls, escapes, direction marks, invalid UTF-8, the backslash) escaped.
///
/// ```
/// assert_eq!(mmp::layout::Escaped(b"oss1\x1b[2J").to_string(), r"oss1\x1b[2J");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a [u8]);

impl<'a> Escaped<'a> {
    /// A fixed field of the disk: the text before the first NUL, or all of it where there is none.
    pub fn field(field: &'a [u8]) -> Self {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        Escaped(&field[..end])
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    ' '..='~' => write!(f, "{c}")?,
                    c if c.is_alphanumeric() => write!(f, "{c}")?,
                    c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                    c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn escapes_what_could_drive_a_terminal() {
        for (bytes, shown) in [
            (&b"plain-name_1.2"[..], "plain-name_1.2"),
            (b"tab\there", r"tab\x09here"),
            (b"back\\slash", r"back\\slash"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
            ("\u{202e}txt".as_bytes(), r"\u{202e}txt"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            (b"\xff\xfe", r"\xff\xfe"),
        ] {
            assert_eq!(Escaped(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_field_ends_at_its_nul_or_with_the_field() {
        assert_eq!(Escaped::field(b"ab\0cd").to_string(), "ab");
        assert_eq!(Escaped::field(b"abcd").to_string(), "abcd");
        assert!(Escaped::field(b"\0").is_empty());
    }
}
