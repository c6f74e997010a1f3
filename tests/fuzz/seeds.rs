//! The inputs that fuzzing starts from: recorded blocks, and images of many layouts.

use std::fs;
use std::path::Path;

use mmp::layout::{Geometry, GroupNumber, Superblock};

use crate::common::image::Image;
use crate::common::program::tool;
use crate::common::suite::Suite;
use crate::targets::image::UNIT;
use crate::targets::named;

/// Small file systems, one of each way to lay one out, as (name, mke2fs features, size).
const LAYOUTS: [(&str, &str, &str); 10] = [
    ("flex", "flex_bg,^metadata_csum,^uninit_bg", "2M"),
    ("csum", "metadata_csum,64bit", "2M"),
    ("seed", "metadata_csum,metadata_csum_seed,64bit", "2M"),
    ("crc16", "uninit_bg,^metadata_csum,^64bit", "12M"),
    ("uninit", "metadata_csum,64bit,^flex_bg", "12M"),
    ("meta_bg", "meta_bg,^resize_inode,^metadata_csum,^uninit_bg", "20M"),
    ("bigalloc", "bigalloc,^resize_inode,metadata_csum", "4M"),
    ("sparse2", "sparse_super2,^resize_inode,^metadata_csum,^uninit_bg", "20M"),
    ("old", "^sparse_super,^resize_inode,^flex_bg,^metadata_csum,^uninit_bg,^extent,^64bit", "12M"),
    ("wide", "64bit,^metadata_csum,^uninit_bg", "2M"),
];

/// Makes the file system; with MMP or without.
pub(crate) fn image(features: &str, size: &str, mmp: bool) -> Image {
    let image = Image::empty();
    let on = if mmp { "mmp" } else { "^mmp" };
    let features = format!("^has_journal,{features},{on}");
    let options = ["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "16", "-m", "0", "-O", &features];
    tool("mke2fs", &[&options[..], &[image.name(), size]].concat());
    image
}

/// What to do to an image, as the first byte of an input says it.
const WISHES: [(&str, u8); 4] = [("on", 2), ("off", 1), ("interval", 4), ("clear", 8)];

struct Seed {
    target: &'static str,
    name: String,
    bytes: Vec<u8>,
    /// Whether the target goes to its end with it.
    through: bool,
}

fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: String, bytes, through| {
        seeds.push(Seed { target, name, bytes, through });
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for entry in fs::read_dir(fixtures).expect("fixtures") {
        let path = entry.expect("entry").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let bytes = fs::read(&path).expect("read");
        if name.starts_with("superblock-") {
            add("superblock", name.to_owned(), bytes, true);
        } else if name.starts_with("mmp-") {
            // Interval 5, and events: time goes on, writes land, nothing changes.
            let script = [&[5, 0, 10, 0, 1, 2, 3, 4][..], &[0x80; 240]].concat();
            add("mmp_block", name.to_owned(), [bytes, script].concat(), true);
        }
    }
    for (name, features, size) in LAYOUTS {
        for mmp in [false, true] {
            let content = image(features, size, mmp).content();
            let with = if mmp { "mmp" } else { "plain" };
            for group in [0, 1] {
                let input = descriptors(&content, group);
                add("descriptors", format!("{name}-{with}-{group}"), input, true);
            }
            for (wish, what) in WISHES {
                let through = mmp || wish != "clear";
                add("plan", format!("{name}-{with}-{wish}"), plan(what, &content), through);
            }
        }
    }
    seeds
}

/// What follows the superblock of an image: a group's number, descriptor and bitmap.
fn descriptors(image: &[u8], group: u32) -> Vec<u8> {
    let raw = image[1024..2048].try_into().expect("1 KiB");
    let geometry = Geometry::new(&Superblock::parse(raw).expect("superblock")).expect("geometry");
    let group = GroupNumber(group % geometry.groups());
    let place = geometry.descriptor(group).expect("place").0;
    let place = usize::try_from(place).expect("small");
    let descriptor = &image[place..place + geometry.descriptor_size()];
    let bitmap = u32::from_le_bytes(descriptor[..4].try_into().expect("4 bytes")) as usize * 1024;
    let padding = vec![0; 1024 - descriptor.len()];
    let bitmap = &image[bitmap..bitmap + 1024];
    [&raw[..], &group.0.to_le_bytes(), descriptor, &padding, bitmap].concat()
}

/// A wish, forced and with counts and checksums put right, then the superblock and the pieces.
fn plan(what: u8, image: &[u8]) -> Vec<u8> {
    [&[what, 3, 20, 0, 0, 0, 0, 0][..], &image[1024..2048], &pieces(image)].concat()
}

/// The pieces of an image that are not zero. The superblock is not among them.
fn pieces(image: &[u8]) -> Vec<u8> {
    let wanted = |unit: usize, bytes: &[u8]| {
        let superblock = 1024 / UNIT..2048 / UNIT;
        bytes.iter().any(|byte| *byte != 0) && !superblock.contains(&unit)
    };
    let units: Vec<_> = image.chunks(UNIT).enumerate().filter(|(i, u)| wanted(*i, u)).collect();
    let mut pieces = Vec::new();
    for run in units.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
        for part in run.chunks(usize::from(u16::MAX) / UNIT) {
            let place = u32::try_from(part[0].0).expect("small").to_le_bytes();
            let len = u16::try_from(part.len() * UNIT).expect("cut").to_le_bytes();
            pieces.extend_from_slice(&place);
            pieces.extend_from_slice(&len);
            part.iter().for_each(|(_, bytes)| pieces.extend_from_slice(bytes));
        }
    }
    pieces
}

/// Writes each seed into the folder of its target.
pub(crate) fn write(folder: &Path) {
    for Seed { target, name, bytes, .. } in seeds() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).expect("create");
        fs::write(folder.join(format!("seed-{name}")), bytes).expect("write");
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("seeds go through their target to its end", || {
        let seeds = seeds();
        for Seed { target, name, bytes, through } in &seeds {
            let went = named(target)(bytes);
            assert!(went || !through, "{target}: {name} ends early");
        }
        println!("{} seeds", seeds.len());
    });
}
