//! A disk that fails as told: one file on a FUSE file system, over an image.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

use super::image::Image;

const NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);
/// Nothing is cached: each look is one at the disk.
const NEVER: Duration = Duration::ZERO;

/// What an operation meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with this error.
    Error(nix::errno::Errno),
    /// It transfers at most so many bytes.
    Short(usize),
    /// It is not answered before [`FaultyDisk::heal`], and carried out only then.
    Hang,
}

/// Which operations meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Reads,
    Writes,
    Flushes,
    All,
}

struct Rule {
    on: On,
    fault: Fault,
    /// So many operations go well before.
    skip: usize,
    /// So many meet it.
    times: usize,
    /// Only what begins here, in bytes.
    at: Range<u64>,
}

enum Operation {
    Read(u64, usize, ReplyData),
    Write(u64, Vec<u8>, ReplyWrite),
    Flush(ReplyEmpty),
}

impl Operation {
    fn fail(self, errno: nix::errno::Errno) {
        let error = Errno::from_i32(errno as i32);
        match self {
            Operation::Read(_, _, reply) => reply.error(error),
            Operation::Write(_, _, reply) => reply.error(error),
            Operation::Flush(reply) => reply.error(error),
        }
    }
}

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    hanging: Vec<Operation>,
    /// Where was written, whether it succeeded or not.
    writes: Vec<u64>,
}

struct Inner {
    backing: File,
    state: Mutex<State>,
}

/// The disk; two over one image are two paths to one disk. It is gone with this value, and with it
/// every operation that hangs.
pub(crate) struct FaultyDisk {
    pub(crate) image: Arc<Image>,
    inner: Arc<Inner>,
    session: Option<BackgroundSession>,
    folder: TempDir,
    path: PathBuf,
}

impl FaultyDisk {
    /// Needs root.
    pub(crate) fn new(image: impl Into<Arc<Image>>) -> Self {
        let image = image.into();
        let folder = TempDir::new().expect("folder");
        let backing = OpenOptions::new().read(true).write(true).open(image.path()).expect("image");
        let inner = Arc::new(Inner { backing, state: Mutex::default() });
        let session =
            fuser::spawn_mount(Mounted(Arc::clone(&inner)), folder.path(), &Config::default());
        let session = Some(session.expect("FUSE mount"));
        let path = folder.path().join(NAME);
        FaultyDisk { image, inner, session, folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text, for command lines.
    pub(crate) fn name(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    fn rule(&self, rule: Rule) {
        let mut state = self.inner.state();
        if let Fault::Error(errno) = rule.fault {
            state.hanging.drain(..).for_each(|operation| operation.fail(errno));
        }
        state.rule = Some(rule);
    }

    /// From here on every such operation meets the fault; an error ends also what hangs.
    pub(crate) fn fail(&self, on: On, fault: Fault) {
        self.rule(Rule { on, fault, skip: 0, times: usize::MAX, at: 0..u64::MAX });
    }

    /// All of them after the next `skip`.
    pub(crate) fn fail_after(&self, skip: usize, on: On, fault: Fault) {
        self.rule(Rule { on, fault, skip, times: usize::MAX, at: 0..u64::MAX });
    }

    /// Only the one after the next `skip`.
    pub(crate) fn fail_once_after(&self, skip: usize, on: On, fault: Fault) {
        self.rule(Rule { on, fault, skip, times: 1, at: 0..u64::MAX });
    }

    /// The next `times` that begin in the MMP block do.
    pub(crate) fn fail_mmp_block(&self, times: usize, on: On, fault: Fault) {
        self.rule(Rule { on, fault, skip: 0, times, at: self.mmp_block() });
    }

    /// All that begin in the MMP block do, after the next `skip`.
    pub(crate) fn fail_mmp_block_after(&self, skip: usize, on: On, fault: Fault) {
        self.rule(Rule { on, fault, skip, times: usize::MAX, at: self.mmp_block() });
    }

    fn mmp_block(&self) -> Range<u64> {
        let start = self.image.area().offset.0;
        start..start + 1024
    }

    /// All is well again; what hung is carried out now.
    pub(crate) fn heal(&self) {
        let hanging = {
            let mut state = self.inner.state();
            state.rule = None;
            std::mem::take(&mut state.hanging)
        };
        hanging.into_iter().for_each(|operation| self.inner.carry_out(operation, usize::MAX));
    }

    /// Whether something hangs.
    pub(crate) fn hangs(&self) -> bool {
        !self.inner.state().hanging.is_empty()
    }

    /// How many writes were asked for so far, answered or not.
    pub(crate) fn writes(&self) -> usize {
        self.inner.state().writes.len()
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.heal();
        // Also one that is still in use.
        let _ = umount2(self.folder.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    fn attributes(&self) -> FileAttr {
        let size = self.backing.metadata().expect("metadata").len();
        attributes(FILE, FileType::RegularFile, size)
    }

    fn meets(&self, operation: Operation) {
        let fault = {
            let mut state = self.state();
            let (on, place) = match &operation {
                Operation::Read(place, ..) => (On::Reads, *place),
                Operation::Write(place, ..) => (On::Writes, *place),
                Operation::Flush(_) => (On::Flushes, 0),
            };
            if on == On::Writes {
                state.writes.push(place);
            }
            let fault = state.rule.as_mut().and_then(|rule| rule.hits(on, place));
            if fault == Some(Fault::Hang) {
                state.hanging.push(operation);
                return;
            }
            fault
        };
        match fault {
            None | Some(Fault::Hang) => self.carry_out(operation, usize::MAX),
            Some(Fault::Short(most)) => self.carry_out(operation, most),
            Some(Fault::Error(errno)) => operation.fail(errno),
        }
    }

    fn carry_out(&self, operation: Operation, most: usize) {
        match operation {
            Operation::Read(place, size, reply) => {
                let mut data = vec![0; size.min(most)];
                let read = self.backing.read_at(&mut data, place).expect("read");
                reply.data(&data[..read]);
            }
            Operation::Write(place, data, reply) => {
                let data = &data[..data.len().min(most)];
                self.backing.write_all_at(data, place).expect("write");
                reply.written(u32::try_from(data.len()).expect("small"));
            }
            Operation::Flush(reply) => reply.ok(),
        }
    }
}

impl Rule {
    fn hits(&mut self, on: On, place: u64) -> Option<Fault> {
        let meant = self.on == on || self.on == On::All;
        if !meant || !self.at.contains(&place) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(self.fault)
    }
}

fn attributes(ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// What the kernel asks.
struct Mounted(Arc<Inner>);

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&NEVER, &self.0.attributes(), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let root = attributes(INodeNo::ROOT, FileType::Directory, 0);
        reply.attr(&NEVER, &if ino == FILE { self.0.attributes() } else { root });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.meets(Operation::Read(offset, size as usize, reply));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.meets(Operation::Write(offset, data.to_vec(), reply));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.meets(Operation::Flush(reply));
    }
}
