//! Image files with ext4 on them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mmp::layout::{MmpArea, MmpBlock, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock};
use mmp::protocol::{effective_interval, lease_interval};
use tempfile::TempDir;

use super::program::tool;

/// An image in a folder of its own, gone with this value.
pub(crate) struct Image {
    dir: TempDir,
    path: PathBuf,
}

impl Image {
    /// 16 MiB of ext4 with MMP, initialised in full so that no kernel thread completes it later.
    pub(crate) fn new() -> Self {
        Self::with(&[], "16M")
    }

    /// The same with further options of mke2fs, which come later and so overrule.
    pub(crate) fn with(options: &[&str], size: &str) -> Self {
        let image = Self::empty();
        let path = image.path.to_str().expect("UTF-8");
        let base = ["-q", "-F", "-t", "ext4", "-O", "mmp"];
        let init = ["-E", "lazy_itable_init=0,lazy_journal_init=0"];
        tool("mke2fs", &[&base, options, &init, &[path, size]].concat());
        image
    }

    /// One of so many bytes that takes up little room.
    pub(crate) fn sparse(options: &[&str], bytes: u64) -> Self {
        let image = Self::empty();
        let file = OpenOptions::new().write(true).open(&image.path).expect("open");
        file.set_len(bytes).expect("size");
        let base = ["-q", "-F", "-t", "ext4", "-O", "mmp"];
        tool("mke2fs", &[&base, options, &[image.name()]].concat());
        image
    }

    /// An empty file.
    pub(crate) fn empty() -> Self {
        Self::bytes(&[])
    }

    /// A file with this content.
    pub(crate) fn bytes(content: &[u8]) -> Self {
        Self::at(TempDir::new().expect("folder"), "disk.img", content)
    }

    /// A file with this name and content.
    pub(crate) fn at(dir: TempDir, name: impl AsRef<Path>, content: &[u8]) -> Self {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("write");
        Image { dir, path }
    }

    /// Another path in the same folder in its place.
    pub(crate) fn renamed(self, path: PathBuf) -> Self {
        Image { path, ..self }
    }

    /// The folder it lies in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text, for command lines.
    pub(crate) fn name(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        fs::read(&self.path).expect("read")
    }

    /// Overwrites bytes.
    pub(crate) fn patch(&self, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.path).expect("open");
        file.write_all_at(bytes, offset).expect("write");
        file.sync_all().expect("sync");
    }

    /// Changes the superblock and sets its checksum, where it has one, by the change.
    pub(crate) fn change_superblock(&self, change: impl FnOnce(&mut [u8; SUPERBLOCK_SIZE])) {
        let mut raw = self.read(SUPERBLOCK_OFFSET.0);
        change(&mut raw);
        let sum = mmp::layout::checksum::crc32c(!0, &raw[..0x3FC]);
        if raw[0x65] & 4 != 0 {
            raw[0x3FC..].copy_from_slice(&sum.to_le_bytes());
        }
        self.patch(SUPERBLOCK_OFFSET.0, &raw);
    }

    /// Where its MMP block lies.
    pub(crate) fn area(&self) -> MmpArea {
        let superblock = Superblock::parse(self.read(SUPERBLOCK_OFFSET.0)).expect("superblock");
        superblock.mmp().expect("MMP")
    }

    /// Its MMP block.
    pub(crate) fn block(&self) -> MmpBlock {
        MmpBlock::from_bytes(self.read(self.area().offset.0))
    }

    /// Puts a block there, with its checksum.
    pub(crate) fn put(&self, block: &MmpBlock) {
        let area = self.area();
        self.patch(area.offset.0, &block.sealed(area.checksum));
    }

    /// How long a lease is at most that began with what stands in the block: longer than a guard
    /// interval where writes took long, as they do on a busy disk.
    pub(crate) fn lease(&self) -> Duration {
        lease_interval(effective_interval(5, self.block().check_interval()))
    }

    /// e2fsck finds nothing.
    pub(crate) fn assert_fsck_clean(&self) {
        let ended = super::program::run("e2fsck", &["-f", "-n", self.name()]);
        assert_eq!(ended.code, 0, "e2fsck: {}", ended.said());
    }

    fn read(&self, offset: u64) -> [u8; 1024] {
        let mut raw = [0; 1024];
        let file = fs::File::open(&self.path).expect("open");
        file.read_exact_at(&mut raw, offset).expect("read");
        raw
    }
}
