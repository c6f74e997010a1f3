//! The superblock's header, line by line as dumpe2fs has it where it has the same line.

use std::fmt::{Display, Write as _};

use super::words::date;
use crate::device::format_uuid;
use crate::layout::{Escaped, STATE_ERROR, STATE_VALID, Superblock};

/// Labels are padded to this width.
const WIDTH: usize = 26;

/// The header of a superblock, a line a fact.
pub fn header(superblock: &Superblock) -> String {
    let mut text = String::new();
    for (label, value) in lines(superblock) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:WIDTH$}{value}", format!("{label}:"));
    }
    text
}

fn or(text: &Escaped<'_>, empty: &str) -> String {
    if text.is_empty() { empty.to_owned() } else { text.to_string() }
}

fn time(superblock: &Superblock, low: usize, high: usize) -> String {
    match superblock.time(low, high) {
        0 => "n/a".to_owned(),
        seconds => date(seconds),
    }
}

fn lines(s: &Superblock) -> Vec<(&'static str, String)> {
    fn line(label: &'static str, value: impl Display) -> (&'static str, String) {
        (label, value.to_string())
    }
    let features = s.features();
    let mut lines = vec![
        line("Filesystem volume name", or(&s.volume_name(), "<none>")),
        line("Last mounted on", or(&s.last_mounted(), "<not available>")),
        line("Filesystem UUID", uuid(s)),
        line("Filesystem magic number", format!("0x{:04X}", s.u16(0x38))),
        line("Filesystem revision #", revision(s.u32(0x4C))),
        line("Filesystem features", features),
        line("Filesystem state", state(s.state())),
        line("Errors behavior", errors(s.u16(0x3C))),
        line("Filesystem OS type", os(s.u32(0x48))),
        line("Inode count", s.u32(0x00)),
        line("Block count", s.blocks_count()),
        line("Reserved block count", s.reserved_blocks_count()),
        line("Free blocks", s.free_blocks_count()),
        line("Free inodes", s.u32(0x10)),
        line("First block", s.first_data_block()),
        line("Block size", s.block_size()),
    ];
    if features.is_64bit() {
        lines.push(line("Group descriptor size", s.u16(0xFE)));
    }
    if s.u16(0xCE) != 0 {
        lines.push(line("Reserved GDT blocks", s.u16(0xCE)));
    }
    lines.extend([
        line("Blocks per group", s.u32(0x20)),
        line("Inodes per group", s.u32(0x28)),
        line("Last mount time", time(s, 0x2C, 0x275)),
        line("Last write time", time(s, 0x30, 0x274)),
        line("Mount count", s.u16(0x34)),
        line("Last checked", date(s.time(0x40, 0x277))),
    ]);
    if s.time(0x108, 0x276) != 0 {
        lines.insert(lines.len() - 3, line("Filesystem created", time(s, 0x108, 0x276)));
    }
    if s.u32(0x4C) > 0 {
        lines.push(line("First inode", s.u32(0x54)));
    }
    if features.mmp() {
        lines.push(line("MMP block number", s.mmp_block()));
        lines.push(line("MMP update interval", s.mmp_update_interval()));
    }
    if features.metadata_csum() {
        lines.push(line("Checksum type", "crc32c"));
        lines.push(line("Checksum", format!("{:#010x}", s.checksum())));
    }
    lines
}

fn uuid(s: &Superblock) -> String {
    match s.uuid() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => "<none>".to_owned(),
        uuid => format_uuid(uuid),
    }
}

fn revision(revision: u32) -> String {
    let word = match revision {
        0 => " (original)",
        1 => " (dynamic)",
        _ => " (unknown)",
    };
    format!("{revision}{word}")
}

/// `s_state`.
fn state(state: u16) -> String {
    let clean = if state & STATE_VALID != 0 { "clean" } else { "not clean" };
    let errors = if state & STATE_ERROR != 0 { " with errors" } else { "" };
    format!("{clean}{errors}")
}

/// `s_errors`: what the kernel does on finding an error.
fn errors(errors: u16) -> &'static str {
    match errors {
        1 => "Continue",
        2 => "Remount read-only",
        3 => "Panic",
        _ => "Unknown (continue)",
    }
}

/// `s_creator_os`.
fn os(os: u32) -> &'static str {
    match os {
        0 => "Linux",
        1 => "Hurd",
        2 => "Masix",
        3 => "FreeBSD",
        4 => "Lites",
        _ => "(unknown os)",
    }
}
