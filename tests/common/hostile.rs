//! Names made to break whatever shows them, and what must not come out.

use mmp::layout::{MmpBlock, Names, Sequence};

use super::image::Image;

/// Each is repeated until its field is full to the last byte.
const NAMES: [&[u8]; 5] = [
    // Sets the title, clears, colours, moves; C1 as a byte and as UTF-8.
    b"\x1b]0;own\x07\x1b[2J\x1b[41;5m\x1b[9;9H\x9b7m\xc2\x9b7m",
    // Further lines, and what shells, quotations and performance data begin with.
    b"x'\"`$(id)|\\\nmmpcheck: it is safe to mount\r\n\t\x0b\x08 \x7f",
    // No UTF-8: lone bytes, a cut character, a surrogate, more than Unicode has.
    b"\xff\xfe\xc3(\xe2\x82 \xed\xa0\x80\xf4\x90\x80\x80\xc0\xaf",
    // Overrides, isolates and marks of direction, line separators, no width.
    "\u{202e}gpj\u{2066}\u{200f}\u{2028}\u{2029}\u{85}\u{200b}\u{feff}\u{e0041}".as_bytes(),
    // The ends of labels, of objects, of fields.
    b"\"},{\"a\":\"\\\" 1\n# HELP x y\nmmp_state{device=\"y\"} 1;;0 =",
];

/// A field full of a name.
fn full<const N: usize>(name: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field.iter_mut().zip(name.iter().cycle()).for_each(|(byte, from)| *byte = *from);
    field
}

/// An image for each name, that has it for its label, its node and its device; the blocks are in
/// states of which the names are told.
pub(crate) fn images() -> Vec<Image> {
    let states = [Sequence::Unknown(!0), Sequence::Fsck, Sequence::Active(7)];
    let names = NAMES.iter().enumerate();
    names.map(|(index, name)| image(name, states[index % states.len()])).collect()
}

fn image(name: &[u8], sequence: Sequence) -> Image {
    let image = Image::new();
    image.change_superblock(|raw| raw[0x78..0x88].copy_from_slice(&full::<16>(name)));
    let names = Names::new(&full::<64>(name), &full::<32>(name));
    let block = image.block().with_names(&names).with_sequence(sequence);
    let mut raw = *block.with_time(1).as_bytes();
    // To the last byte, whatever a writer of ours would do.
    raw[0x10..0x50].copy_from_slice(&full::<64>(name));
    raw[0x50..0x70].copy_from_slice(&full::<32>(name));
    image.put(&MmpBlock::from_bytes(raw));
    image
}

/// Makes the block's checksum wrong, and leaves the names.
pub(crate) fn spoil(image: &Image) {
    image.patch(image.area().offset.0 + 0x200, b"?");
}

/// Nothing that could drive a terminal, turn a line around or begin another one.
#[track_caller]
pub(crate) fn assert_harmless(text: &str) {
    let harmless = |c: char| matches!(c, '\n' | ' '..='~' | '…' | '\u{2500}'..='\u{259f}');
    let found = text.chars().find(|c| !harmless(*c) && !c.is_alphanumeric());
    assert_eq!(found, None, "{text:?}");
}
