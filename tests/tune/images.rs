//! Images, and the programs of e2fsprogs run on them.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mmp::layout::ByteOffset;
use mmp::tune::{Disk, Source};
use tempfile::TempDir;

use crate::common::program::{self, Ended};

/// Size of a superblock and of an MMP block.
pub(crate) const KIB: usize = 1024;

/// A folder in memory where there is one: the tests write gigabytes.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a folder for images")
}

/// An image in memory.
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Source for Memory {
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset.0).map_err(io::Error::other)?;
        let end = at.checked_add(out.len()).filter(|end| *end <= self.0.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(&self.0[at..end]);
        Ok(())
    }
}

impl Disk for Memory {
    fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset.0).map_err(io::Error::other)?;
        let end = at.checked_add(data.len()).filter(|end| *end <= self.0.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0[at..end].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a program and lets it end as it will.
pub(crate) fn run<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> Ended {
    program::run(program, &Vec::from_iter(arguments))
}

/// Runs a program that must succeed; its output.
pub(crate) fn must<I: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = I>,
) -> String {
    program::tool(program, &Vec::from_iter(arguments))
}

/// The program under test, on one image; arguments as a shell would split them.
pub(crate) fn mmptune(arguments: &str, image: &Path) -> Ended {
    let all = arguments.split(' ').map(OsStr::new).chain([image.as_os_str()]);
    run("mmptune", all)
}

/// The program that sets the measure.
pub(crate) fn tune2fs(arguments: &str, image: &Path) -> Ended {
    run("tune2fs", arguments.split(' ').map(OsStr::new).chain([image.as_os_str()]))
}

/// A check that changes nothing and must find nothing.
pub(crate) fn assert_clean(image: &Path, context: &str) {
    let ended = run("e2fsck", [OsStr::new("-fn"), image.as_os_str()]);
    assert_eq!(ended.code, 0, "{context}: {ended:?}");
}

/// Copies an image, holes as holes.
pub(crate) fn copy(from: &Path, to: &Path) {
    must("cp", [OsStr::new("--sparse=auto"), from.as_os_str(), to.as_os_str()]);
}

/// Overwrites bytes.
pub(crate) fn patch(image: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(image).expect("open");
    file.write_all_at(bytes, offset).expect("write");
}

/// Writes an image, leaving holes where it is zero.
pub(crate) fn write_sparse(path: &Path, bytes: &[u8]) {
    let file = fs::File::create(path).expect("create");
    file.set_len(bytes.len() as u64).expect("set length");
    let zeros = [0; 4 * KIB];
    for (index, chunk) in bytes.chunks(zeros.len()).enumerate() {
        if *chunk != zeros[..chunk.len()] {
            file.write_all_at(chunk, (index * zeros.len()) as u64).expect("write");
        }
    }
}

/// The beginning of an image, with the superblock in it.
pub(crate) fn head(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 2 * KIB];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).expect("read");
    bytes
}

/// The files every image has: a few small ones and one of many blocks.
pub(crate) const FILES: [(&str, usize); 4] =
    [("empty", 0), ("small", 10), ("block", 4096), ("large", 300_000)];

/// The content of one of [`FILES`].
pub(crate) fn content(name: &str, len: usize) -> Vec<u8> {
    name.bytes().cycle().take(len).collect()
}

/// A folder with [`FILES`], made once.
fn files() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tune-files");
        fs::create_dir_all(&folder).expect("mkdir");
        for (name, len) in FILES {
            fs::write(folder.join(name), content(name, len)).expect("write");
        }
        folder
    })
}

/// Makes an image of `size` with [`FILES`] in it. `options` as mke2fs has them.
pub(crate) fn mke2fs(image: &Path, options: &str, size: &str) -> Result<(), Ended> {
    mke2fs_from(files(), image, options, size)
}

fn mke2fs_from(from: &Path, image: &Path, options: &str, size: &str) -> Result<(), Ended> {
    let _ = fs::remove_file(image);
    let mut arguments: Vec<&OsStr> = vec![OsStr::new("-qF"), OsStr::new("-d"), from.as_os_str()];
    arguments.extend(options.split(' ').filter(|word| !word.is_empty()).map(OsStr::new));
    arguments.push(image.as_os_str());
    arguments.push(OsStr::new(size));
    let ended = run("mke2fs", arguments);
    if ended.code == 0 { Ok(()) } else { Err(ended) }
}

/// Makes an image in which a file takes all but about `spare` of the free blocks, from the first
/// ones on. For that it is made twice: changed by debugfs it would have stale backups.
pub(crate) fn mke2fs_filled(
    image: &Path,
    options: &str,
    size: &str,
    spare: impl Fn(u64) -> u64,
) -> Result<(), Ended> {
    mke2fs(image, options, size)?;
    let (free, block_size) = (header(image, "Free blocks"), header(image, "Block size"));
    let len = free.saturating_sub(spare(free)) * block_size;
    let folder = folder();
    for (name, _) in FILES {
        fs::copy(files().join(name), folder.path().join(name)).expect("copy");
    }
    let len = usize::try_from(len).expect("small");
    fs::write(folder.path().join("filling"), vec![0xA5; len]).expect("write");
    mke2fs_from(folder.path(), image, options, size)
}

/// Checks that [`FILES`] are in the image as they were put there.
pub(crate) fn assert_files(image: &Path, scratch: &Path, context: &str) {
    let out = |name: &str| scratch.join(format!("dumped-{name}"));
    let requests = FILES.map(|(name, _)| format!("dump /{name} {}\n", out(name).display()));
    let list = scratch.join("requests");
    fs::write(&list, requests.concat()).expect("write");
    must("debugfs", [OsStr::new("-f"), list.as_os_str(), image.as_os_str()]);
    for (name, len) in FILES {
        let found = fs::read(out(name)).unwrap_or_default();
        assert!(found == content(name, len), "{context}: /{name} is not what it was");
        let _ = fs::remove_file(out(name));
    }
}

/// A number from dumpe2fs's header.
pub(crate) fn header(image: &Path, label: &str) -> u64 {
    let text = must("dumpe2fs", [OsStr::new("-h"), image.as_os_str()]);
    let line = text.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
    line.map_or(0, |value| value.trim().parse().unwrap_or_else(|_| panic!("{label}: {value}")))
}

/// A group as dumpe2fs tells it: whether its block bitmap is uninitialised, and its free blocks.
pub(crate) fn groups(image: &Path) -> Vec<(bool, u64)> {
    let text = must("dumpe2fs", [image.as_os_str()]);
    let heads =
        text.split("\nGroup ").filter(|group| group.starts_with(|c: char| c.is_ascii_digit()));
    heads
        .map(|group| {
            let free = |line: &str| line.trim().split_once(" free blocks,")?.0.parse().ok();
            let free = group.lines().find_map(free);
            (group.lines().next().is_some_and(|head| head.contains("BLOCK_UNINIT")), free)
        })
        .map(|(uninit, free)| (uninit, free.unwrap_or(0)))
        .collect()
}

/// The block numbers of the backup superblocks, as dumpe2fs tells them.
pub(crate) fn backups(image: &Path) -> Vec<u64> {
    let text = must("dumpe2fs", [image.as_os_str()]);
    let places = text.lines().filter_map(|line| line.trim().strip_prefix("Backup superblock at "));
    places
        .map(|rest| {
            let number = rest.split(',').next().unwrap_or("");
            number.parse().unwrap_or_else(|_| panic!("{rest}"))
        })
        .collect()
}

/// A byte range of a structure.
type Range = (usize, usize);

/// What may differ in a superblock.
const SUPERBLOCK_MASK: [Range; 4] = [
    (0x030, 4), // s_wtime
    (0x274, 1), // s_wtime_hi
    (0x178, 8), // s_kbytes_written: each program counts what itself has written
    (0x3FC, 4), // s_checksum, over the above
];

/// What may differ in an MMP block.
const MMP_MASK: [Range; 4] = [
    (0x008, 8),  // mmp_time
    (0x010, 64), // mmp_nodename
    (0x050, 32), // mmp_bdevname
    (0x3FC, 4),  // mmp_checksum, over the above
];

/// Asserts that two images are the same but for the masked bytes of every superblock and of the
/// MMP block at `mmp_block`.
pub(crate) fn assert_same(theirs: &Path, ours: &Path, mmp_block: u64, context: &str) {
    let block_size = usize::try_from(header(theirs, "Block size")).expect("small");
    let at = |block: u64| usize::try_from(block).expect("small") * block_size;
    let mut masked: Vec<Range> = SUPERBLOCK_MASK.map(|(o, len)| (KIB + o, len)).to_vec();
    for block in backups(theirs) {
        masked.extend(SUPERBLOCK_MASK.map(|(o, len)| (at(block) + o, len)));
    }
    masked.extend(MMP_MASK.map(|(o, len)| (at(mmp_block) + o, len)));
    let differ = differences(theirs, ours);
    let differ = differ.into_iter().filter(|(at, ..)| {
        !masked.iter().any(|(offset, len)| (*offset..offset + len).contains(at))
    });
    let shown: Vec<String> = differ
        .take(40)
        .map(|(at, a, b)| format!("{}+{:#x} {a:02x}/{b:02x}", at / block_size, at % block_size))
        .collect();
    assert!(shown.is_empty(), "{context}: tune2fs/mmptune differ at {}", shown.join(", "));
}

/// The bytes in which two files differ: where, and which.
pub(crate) fn differences(a: &Path, b: &Path) -> Vec<(usize, u8, u8)> {
    let open = |path| fs::File::open(path).expect("open");
    let (mut a, mut b) = (open(a), open(b));
    let mut buffers = [vec![0; 1 << 18], vec![0; 1 << 18]];
    let (mut differ, mut at) = (Vec::new(), 0);
    loop {
        let [x, y] = &mut buffers;
        let (n, m) = (fill(&mut a, x), fill(&mut b, y));
        assert_eq!(n, m, "not of one size");
        for start in (0..n).step_by(KIB) {
            let range = start..n.min(start + KIB);
            if x[range.clone()] != y[range.clone()] {
                let bytes = range.filter(|i| x[*i] != y[*i]);
                differ.extend(bytes.map(|i| (at + i, x[i], y[i])));
            }
        }
        if n == 0 {
            return differ;
        }
        at += n;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut fs::File, buffer: &mut [u8]) -> usize {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]).expect("read") {
            0 => break,
            n => len += n,
        }
    }
    len
}
