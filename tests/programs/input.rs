//! Devices that are none, that are damaged, or that lie.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use mmp::layout::{MmpBlock, Sequence};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::common::image::Image;
use super::common::program;
use super::common::suite::Suite;
use super::table::{PROGRAMS, Program, assert_printable};

pub(super) fn cases(suite: &mut Suite) {
    for &(name, why, make) in BAD {
        suite.case(format!("bad_input/{name}"), move || bad(why, make));
    }
    suite.case("bad_input/not_permitted", not_permitted);
    suite.case("bad_input/hostile_names_on_the_disk", hostile_names);
    suite.case("bad_input/too_few_open_files", too_few_files);
    suite.case("bad_input/states_that_are_not_safe", unsafe_states);
}

/// A device that no program can use, as a file or a path.
enum Device {
    Image(Image),
    Path(PathBuf),
}

impl Device {
    fn path(&self) -> &Path {
        match self {
            Device::Image(image) => image.path(),
            Device::Path(path) => path,
        }
    }
}

type Make = fn() -> Device;

/// Each with what every program must say of it.
const BAD: &[(&str, &str, Make)] = &[
    ("missing", "No such file", || Device::Path("/nonexistent/disk".into())),
    ("directory", "a directory", || Device::Path("/".into())),
    ("character_device", "a character device", || Device::Path("/dev/null".into())),
    ("pipe", "a pipe", || {
        beside("disk", |path| mkfifo(path, Mode::from_bits_truncate(0o600)).expect("pipe"))
    }),
    ("link_to_itself", "symbolic links", || {
        beside("disk", |path| symlink(path, path).expect("link"))
    }),
    ("name_that_drives_a_terminal", "No such file", || {
        Device::Path(OsStr::from_bytes(b"/nonexistent/\x1b[2J\nmmpcheck: it is safe\xff").into())
    }),
    ("label_nobody_has", "no block device", || Device::Path("LABEL=no such label, ever".into())),
    ("empty", "too small", || Device::Image(Image::empty())),
    ("one_byte", "too small", || Device::Image(Image::bytes(b"x"))),
    ("ends_in_the_superblock", "too small", || cut(|_| 1500)),
    ("ends_before_the_mmp_block", "too small: the MMP block", || cut(|place| place)),
    ("ends_in_the_mmp_block", "too small: the MMP block", || cut(|place| place + 1023)),
    ("not_ext4", "not an ext2/ext3/ext4", || Device::Image(Image::bytes(&[0; 1 << 20]))),
    ("bad_superblock_checksum", "checksum does not match", || {
        let image = Image::new();
        image.patch(1024 + 0x78, b"x");
        Device::Image(image)
    }),
    ("mmp_block_0", "MMP block number 0", || mmp_block(|_| 0)),
    ("mmp_block_at_the_end", "MMP block number", || mmp_block(|count| count)),
    ("mmp_block_2_to_the_63", "MMP block number 9223372036854775808", || mmp_block(|_| 1 << 63)),
    ("mmp_block_beyond_2_to_the_64_bytes", "MMP block number", || {
        let Device::Image(image) = mmp_block(|_| u64::MAX - 1) else { unreachable!() };
        image.change_superblock(|raw| {
            raw[0x04..0x08].fill(0xFF);
            raw[0x150..0x154].fill(0xFF);
        });
        Device::Image(image)
    }),
    ("block_size_exponent_255", "block size exponent 255", || {
        let image = Image::new();
        image.change_superblock(|raw| raw[0x18] = 255);
        Device::Image(image)
    }),
];

/// Something made at a path in a folder of its own.
fn beside(name: &str, make: impl FnOnce(&Path)) -> Device {
    let image = Image::empty();
    let path = image.dir().join(name);
    make(&path);
    Device::Image(image.renamed(path))
}

fn cut(end: impl FnOnce(u64) -> u64) -> Device {
    let image = Image::new();
    let end = usize::try_from(end(image.area().offset.0)).expect("small");
    Device::Image(Image::bytes(&image.content()[..end]))
}

fn mmp_block(number: impl FnOnce(u64) -> u64) -> Device {
    let image = Image::new();
    image.change_superblock(|raw| {
        let count = u32::from_le_bytes(raw[4..8].try_into().expect("4 bytes"));
        raw[0x168..0x170].copy_from_slice(&number(count.into()).to_le_bytes());
    });
    Device::Image(image)
}

fn bad(why: &str, make: Make) {
    let device = make();
    let before = state(device.path());
    for program in &PROGRAMS {
        let ended = program.run(device.path());
        program.assert_failed(&ended, program.trouble, device.path().as_os_str(), why);
        assert_eq!(state(device.path()), before, "{} wrote", program.title());
    }
}

/// A file's content and time of change, as far as it has them.
fn state(path: &Path) -> Option<(Vec<u8>, i64, i64)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((fs::read(path).ok()?, metadata.mtime(), metadata.mtime_nsec()))
}

/// Files that the user may not read, or not write. Root may all, and steps down.
fn not_permitted() {
    let image = Image::new();
    fs::set_permissions(image.dir(), Permissions::from_mode(0o755)).expect("mode");
    for program in &PROGRAMS {
        for (mode, code, why) in [
            (0o000, program.trouble, "Permission denied"),
            (0o444, program.read_only, "for writing"),
        ] {
            fs::set_permissions(image.path(), Permissions::from_mode(mode)).expect("mode");
            let ended = program::ended(&mut as_nobody(program, &image));
            match code {
                0 => assert_eq!(ended.code, 0, "{}: {}", program.title(), ended.said()),
                code => program.assert_failed(&ended, code, image.path().as_os_str(), why),
            }
        }
    }
}

/// The program as a user who owns nothing; it is copied to where that user can reach it.
fn as_nobody(program: &Program, image: &Image) -> std::process::Command {
    let command = program.command(image.path());
    let copy = image.dir().join(program.name);
    if !copy.exists() {
        // By another process: a file open for writing, even in a child just forked, is not run.
        program::tool("cp", &[command.get_program(), copy.as_os_str()]);
    }
    let mut as_nobody = std::process::Command::new(copy);
    as_nobody.args(command.get_args());
    if fs::metadata("/proc/self").expect("proc").uid() == 0 {
        as_nobody.uid(65534).gid(65534);
    }
    as_nobody
}

/// More devices than the process may open: it is not they that are to blame.
fn too_few_files() {
    let image = Image::new();
    let devices: Vec<_> = (0..20).map(|n| image.dir().join(format!("{n}.img"))).collect();
    for device in &devices {
        fs::copy(image.path(), device).expect("copy");
    }
    for line in [
        "ulimit -n 9 && exec \"$0\" \"$@\"",
        "ulimit -n 20 && exec \"$0\" hold --no-realtime --status-dir \"${1%/*}\" \"$@\"",
        "ulimit -n 20 && exec \"$0\" watch --for 5s \"$@\"",
    ] {
        let name = if line.contains("exec \"$0\" \"$@\"") { "mmpcheck" } else { "mmpd" };
        let program = program::command(name, &[""; 0]);
        let arguments = [OsStr::new("-c"), OsStr::new(line), program.get_program()];
        let arguments = arguments.into_iter().chain(devices.iter().map(|path| path.as_os_str()));
        let ended = program::run("sh", &arguments.collect::<Vec<_>>());
        assert_eq!(ended.code, 2, "{line}: {}", ended.said());
        let told = "Too many open files; raise the limit of this process with 'ulimit -n'";
        assert!(ended.err.contains(told), "{line}: {}", ended.said());
        assert!(!ended.said().contains("os error"), "{line}: {}", ended.said());
    }
}

/// Names without a final NUL and full of escape sequences, in a block that no program takes.
fn hostile_names() {
    let image = Image::new();
    let mut raw = *image.block().with_sequence(Sequence::Fsck).as_bytes();
    for (index, byte) in raw[0x10..0x70].iter_mut().enumerate() {
        *byte = b"\x1b]0;\x07\x1b[2J\n\r\x08\x9b\xff'"[index % 15];
    }
    image.put(&MmpBlock::from_bytes(raw));
    image.change_superblock(|raw| raw[0x78..0xC8].fill(0x1B));
    for program in &PROGRAMS {
        let ended = program.run(image.path());
        assert_eq!(ended.code, program.unsafe_state, "{}: {}", program.title(), ended.said());
        assert_printable(&ended.said());
        assert!(ended.said().contains(r"x1b[2J"), "{}", ended.said());
    }
}

fn unsafe_states() {
    let image = Image::new();
    let clean = image.block();
    let mut damaged = *clean.as_bytes();
    damaged[0x200] ^= 1;
    let mut other = *clean.as_bytes();
    other[0] ^= 1;
    let sealed = |block: MmpBlock| block.sealed(image.area().checksum);
    let fsck = sealed(clean.clone().with_sequence(Sequence::Fsck));
    let unknown = sealed(clean.with_sequence(Sequence::Unknown(0xFF4D_4D4F)));
    for program in &PROGRAMS {
        for (raw, code, why) in [
            (fsck, program.unsafe_state, "fsck: not safe"),
            (unknown, program.unsafe_state, "unknown: not safe"),
            (damaged, program.bad_checksum, "bad checksum: not safe"),
            (other, program.bad_magic, "bad magic: not safe"),
        ] {
            image.patch(image.area().offset.0, &raw);
            let before = image.content();
            let ended = program.run(image.path());
            let said = ended.said();
            assert_eq!(ended.code, code, "{}: {said}", program.title());
            assert!(code == 0 || said.contains(why), "{}: {said}", program.title());
            assert!(image.content() == before, "{} wrote", program.title());
        }
    }
}
