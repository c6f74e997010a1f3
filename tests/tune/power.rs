//! Power fails: after every write, and between two flushes with any of the writes missing.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use mmp::layout::{Names, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock};
use mmp::tune::{Change, Plan, Stamp, Step, Survey, Write};

use crate::common::suite::Suite;
use crate::images::{
    Memory, assert_clean, assert_files, folder, head, mke2fs, run, tune2fs, write_sparse,
};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("power/e2fsck_claims_and_recovers", e2fsck_claims_and_recovers);
    suite.case(
        "power/e2fsck_recovers_after_every_power_cut_first_half",
        e2fsck_recovers_after_every_power_cut_first_half,
    );
    suite.case(
        "power/e2fsck_recovers_after_every_power_cut_second_half",
        e2fsck_recovers_after_every_power_cut_second_half,
    );
    suite.case(
        "power/e2fsck_recovers_where_a_bitmap_is_initialised",
        e2fsck_recovers_where_a_bitmap_is_initialised,
    );
}

pub(crate) fn cases_of_the_kernel(suite: &mut Suite) {
    suite.case(
        "power/the_kernel_mounts_after_every_power_cut",
        the_kernel_mounts_after_every_power_cut,
    );
}

/// Layouts that differ in what is written where. All are small, so that all states can be tried.
const LAYOUTS: [&str; 22] = [
    "-b 1024 -g 1024 -O metadata_csum,64bit",
    "-b 1024 -g 1024 -O metadata_csum,^64bit",
    "-b 1024 -g 1024 -O metadata_csum,64bit,^flex_bg",
    "-b 1024 -g 1024 -O metadata_csum,metadata_csum_seed",
    "-b 1024 -g 1024 -O ^metadata_csum,uninit_bg",
    "-b 1024 -g 1024 -O ^metadata_csum,^uninit_bg",
    "-b 1024 -g 1024 -O ^metadata_csum,^uninit_bg,^flex_bg,^sparse_super,^resize_inode",
    "-b 1024 -g 1024 -O metadata_csum,meta_bg,^resize_inode",
    "-b 1024 -g 1024 -O ^metadata_csum,uninit_bg,meta_bg,^resize_inode,^flex_bg",
    "-b 1024 -g 1024 -O metadata_csum,sparse_super2,^resize_inode",
    "-b 1024 -O metadata_csum,bigalloc,^resize_inode -C 4096",
    "-b 1024 -O ^metadata_csum,uninit_bg,bigalloc,^resize_inode -C 8192",
    "-b 2048 -g 512 -O metadata_csum,64bit",
    "-b 2048 -g 512 -O ^metadata_csum,uninit_bg,^64bit",
    "-b 2048 -g 512 -O ^metadata_csum,^uninit_bg,meta_bg,^resize_inode",
    "-b 4096 -g 256 -O metadata_csum,64bit",
    "-b 4096 -g 256 -O ^metadata_csum,uninit_bg",
    "-b 4096 -g 256 -O metadata_csum,sparse_super2,^resize_inode",
    "-b 4096 -O metadata_csum,bigalloc,^resize_inode -C 16384",
    "-b 4096 -O ^has_journal,metadata_csum",
    "-b 65536 -O ^has_journal,metadata_csum",
    "-b 65536 -O ^has_journal,^metadata_csum,^uninit_bg",
];

/// A layout as a file system in memory, with MMP off or on, and the plan that turns it over.
pub(crate) fn prepare(image: &Path, options: &str, enable: bool) -> (Vec<u8>, Plan) {
    let journal = match options.split(' ').nth(1) {
        _ if options.contains("^has_journal") => "",
        Some("4096") => " -J size=4",
        Some("2048") => " -J size=2",
        _ => " -J size=1",
    };
    let size = match options.split(' ').nth(1) {
        Some("4096" | "65536") => "20M",
        _ => "10M",
    };
    mke2fs(image, &format!("-t ext4 -N 128{journal} {options}"), size)
        .unwrap_or_else(|ended| panic!("{options}: {ended:?}"));
    if !enable {
        assert_eq!(tune2fs("-f -O mmp", image).code, 0, "{options}");
    }
    plan_of(image, enable)
}

/// The image's bytes, and the plan that turns MMP on or off.
fn plan_of(image: &Path, enable: bool) -> (Vec<u8>, Plan) {
    let bytes = fs::read(image).expect("read");
    let change = Change { mmp: Some(enable), ..Change::default() };
    let superblock = superblock(&bytes);
    let mut disk = Memory(bytes);
    let survey = Survey::new(&mut disk, &superblock, &change).expect("survey");
    let names = Names::new(b"node", b"device");
    let stamp = Stamp { time: 1_700_000_000, names };
    (disk.0, Plan::new(&survey, &change, &stamp).expect("plan"))
}

fn superblock(bytes: &[u8]) -> Superblock {
    let at = usize::try_from(SUPERBLOCK_OFFSET.0).expect("small");
    let raw = bytes[at..at + SUPERBLOCK_SIZE].try_into().expect("1024 bytes");
    Superblock::parse(raw).expect("a superblock")
}

/// Whether MMP is off, so that e2fsck does not claim the image first.
pub(crate) fn is_off(image: &Path) -> bool {
    !superblock(&head(image)).features().mmp()
}

/// The writes between flushes.
fn stretches(plan: &Plan) -> Vec<Vec<Write>> {
    let mut stretches = vec![Vec::new()];
    for step in plan.steps() {
        match step {
            Step::Write(write) => stretches.last_mut().expect("one").push(write),
            Step::Flush => stretches.push(Vec::new()),
            Step::Look => {}
        }
    }
    stretches
}

/// Which writes of a stretch have landed: all subsets of up to four; of more, every beginning and
/// every single one missing.
fn subsets(count: usize) -> Vec<Vec<usize>> {
    if count <= 4 {
        let of = |mask: usize| (0..count).filter(|i| mask & (1 << i) != 0).collect();
        return (0..1 << count).map(of).collect();
    }
    let beginnings = (0..=count).map(|n| (0..n).collect());
    let missing = (0..count).map(|n| (0..count).filter(|i| *i != n).collect());
    beginnings.chain(missing).collect()
}

/// Calls `state` with the image after every power cut there can be.
pub(crate) fn power_cuts(base: &[u8], plan: &Plan, mut state: impl FnMut(&[u8], &str)) -> usize {
    let mut image = base.to_vec();
    let mut count = 0;
    for (number, stretch) in stretches(plan).iter().enumerate() {
        for subset in subsets(stretch.len()) {
            let mut cut = image.clone();
            subset.iter().for_each(|i| apply(&mut cut, &stretch[*i]));
            state(&cut, &format!("stretch {number}, of {} writes {subset:?}", stretch.len()));
            count += 1;
        }
        stretch.iter().for_each(|write| apply(&mut image, write));
    }
    count
}

fn apply(image: &mut [u8], write: &Write) {
    let at = usize::try_from(write.offset.0).expect("small");
    image[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
}

/// MMP is wholly on, with a block that says clean, or wholly off.
fn assert_on_or_off(image: &Path, context: &str) {
    let superblock = superblock(&head(image));
    if superblock.features().mmp() {
        let ended = run("e2mmpstatus", [image]);
        assert_eq!(ended.code, 0, "{context}: {ended:?}");
    } else {
        assert_eq!(superblock.mmp_block().0, 0, "{context}");
    }
}

/// `e2fsck -fp` must put it right, and lose nothing. Where MMP is on, e2fsck claims the device
/// for 11 s first: there it is enough that a check without claim finds nothing to put right, and
/// [`e2fsck_claims_and_recovers`] lets a sample wait.
fn assert_recovers(image: &Path, scratch: &Path, context: &str) {
    if is_off(image) {
        preen(image, context);
    }
    assert_clean(image, context);
    assert_files(image, scratch, context);
    assert_on_or_off(image, context);
}

fn preen(image: &Path, context: &str) {
    let ended = run("e2fsck", [OsStr::new("-fp"), image.as_os_str()]);
    assert!(ended.code <= 1, "{context}: {ended:?}");
}

fn e2fsck_claims_and_recovers() {
    let folder = folder();
    let image = folder.path().join("image");
    let mut states = Vec::new();
    for options in [LAYOUTS[0], LAYOUTS[4], LAYOUTS[7], LAYOUTS[9]] {
        for enable in [true, false] {
            let (base, plan) = prepare(&image, options, enable);
            power_cuts(&base, &plan, |cut, what| {
                if superblock(cut).features().mmp() {
                    let name = folder.path().join(format!("{}", states.len()));
                    write_sparse(&name, cut);
                    states.push((name, format!("{options}, enable {enable}: {what}")));
                }
            });
        }
    }
    assert!(states.len() > 40, "{}", states.len());
    // They only wait: all at once.
    std::thread::scope(|scope| {
        for (image, context) in &states {
            scope.spawn(move || {
                preen(image, context);
                assert_clean(image, context);
            });
        }
    });
    assert!(states.iter().all(|(image, _)| superblock(&head(image)).features().mmp()));
}

fn all_cuts(layouts: &[&str]) {
    let folder = folder();
    let image = folder.path().join("image");
    for options in layouts {
        for enable in [true, false] {
            let (base, plan) = prepare(&image, options, enable);
            let count = power_cuts(&base, &plan, |cut, what| {
                write_sparse(&image, cut);
                let context = format!("{options}, enable {enable}: {what}");
                assert_recovers(&image, folder.path(), &context);
            });
            assert!(count >= 10, "{options}: {count}");
        }
    }
}

fn e2fsck_recovers_after_every_power_cut_first_half() {
    all_cuts(&LAYOUTS[..11]);
}

fn e2fsck_recovers_after_every_power_cut_second_half() {
    all_cuts(&LAYOUTS[11..]);
}

/// A group whose bitmap is not initialised: the descriptor that makes it count must come after it.
fn e2fsck_recovers_where_a_bitmap_is_initialised() {
    let folder = folder();
    let image = folder.path().join("image");
    for checksum in ["metadata_csum", "^metadata_csum,uninit_bg"] {
        let options = format!("-t ext4 -b 1024 -g 2048 -N 128 -J size=1 -O {checksum}");
        crate::matrix::fill_first_groups(&image, &options, "16M").expect("mke2fs");
        let (base, plan) = plan_of(&image, true);
        assert!(
            stretches(&plan).concat().iter().any(|write| write.bytes.len() == 1024
                && write.what.to_string().starts_with("block bitmap"))
        );
        power_cuts(&base, &plan, |cut, what| {
            write_sparse(&image, cut);
            assert_recovers(&image, folder.path(), &format!("{options}: {what}"));
        });
    }
}

/// Mounts an image, writes a file into it, and unmounts it; in a mount namespace of its own, so
/// that nobody else's namespace can keep it mounted. That the file cannot be written, as in a group
/// that the kernel finds damaged, is no fault.
fn mount_and_write(image: &Path, dir: &Path, context: &str) {
    let script = "mount -o loop \"$0\" \"$1\" || exit 1; \
                  head -c 3000000 /dev/zero 2>&1 >\"$1/new\"; umount \"$1\"";
    let arguments = ["-m", "sh", "-c", script].map(OsStr::new);
    let ended = run("unshare", arguments.into_iter().chain([image.as_os_str(), dir.as_os_str()]));
    assert_eq!(ended.code, 0, "{context}: {ended:?}");
}

/// The kernel may come before e2fsck does. It must mount the image, give the files as they were,
/// and whatever it writes must not touch them.
fn the_kernel_mounts_after_every_power_cut() {
    let folder = folder();
    let (image, dir) = (folder.path().join("image"), folder.path().join("dir"));
    fs::create_dir(&dir).expect("mkdir");
    for options in [LAYOUTS[0], LAYOUTS[4], LAYOUTS[15]] {
        for enable in [true, false] {
            let (base, plan) = prepare(&image, options, enable);
            power_cuts(&base, &plan, |cut, what| {
                let context = format!("{options}, enable {enable}: {what}");
                write_sparse(&image, cut);
                mount_and_write(&image, &dir, &context);
                assert_recovers(&image, folder.path(), &context);
            });
        }
    }
}
