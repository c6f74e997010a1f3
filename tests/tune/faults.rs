//! A device that fails, and a program that is killed, in the middle.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mmp::layout::ByteOffset;
use mmp::tune::{Disk, Source, Step, Stopped, carry_out};

use crate::common::suite::Suite;
use crate::images::{
    Memory, assert_clean, assert_files, folder, mke2fs, mmptune, run, write_sparse,
};
use crate::power::prepare;

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("faults/every_write_and_flush_may_fail", every_write_and_flush_may_fail);
    suite.case(
        "faults/nothing_is_written_once_somebody_else_wrote_the_block",
        nothing_is_written_once_somebody_else_wrote_the_block,
    );
    suite.case("faults/killed_in_the_middle", killed_in_the_middle);
    suite.case("faults/stopped_while_it_claims", stopped_while_it_claims);
}

/// A disk whose nth write or flush fails, half written.
struct Failing {
    disk: Memory,
    left: usize,
    calls: usize,
}

impl Failing {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(io::Error::from_raw_os_error(5)),
        }
    }
}

impl Source for Failing {
    fn read(&mut self, offset: ByteOffset, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }
}

impl Disk for Failing {
    fn write(&mut self, offset: ByteOffset, data: &[u8]) -> io::Result<()> {
        self.call()?;
        self.disk.write(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call()
    }
}

fn every_write_and_flush_may_fail() {
    let folder = folder();
    let image = folder.path().join("image");
    for enable in [true, false] {
        let options = "-b 1024 -g 1024 -O metadata_csum,64bit";
        let (base, plan) = prepare(&image, options, enable);
        let steps = plan.steps().count();
        for failing in 0.. {
            let mut disk = Failing { disk: Memory(base.clone()), left: failing, calls: 0 };
            let result = carry_out(&plan, &mut disk, |_, _| Ok::<(), Infallible>(()));
            match result {
                Ok(()) => {
                    assert!(failing > 10 && disk.calls <= steps);
                    break;
                }
                Err(Stopped::Failed { number, step, source }) => {
                    assert_eq!(source.raw_os_error(), Some(5));
                    let said = plan.steps().nth(number - 1).map(|step| step.to_string());
                    assert_eq!(said, Some(step));
                    assert_eq!(disk.calls, failing + 1, "went on after an error");
                }
                Err(Stopped::Looked { .. }) => unreachable!("looking cannot fail here"),
            }
            write_sparse(&image, &disk.disk.0);
            let context = format!("enable {enable}: {failing} calls");
            if crate::power::is_off(&image) {
                let ended = run("e2fsck", [OsStr::new("-fp"), image.as_os_str()]);
                assert!(ended.code <= 1, "{context}: {ended:?}");
            }
            assert_clean(&image, &context);
            assert_files(&image, folder.path(), &context);
        }
    }
}

/// Looking that says no ends it before the write that would do harm.
fn nothing_is_written_once_somebody_else_wrote_the_block() {
    let folder = folder();
    let options = "-b 1024 -g 1024 -O metadata_csum,64bit";
    let (base, plan) = prepare(&folder.path().join("image"), options, false);
    let mut disk = Memory(base.clone());
    let never = carry_out(&plan, &mut disk, |_, _| Err("no"));
    assert!(matches!(never, Err(Stopped::Looked { why: "no", begun: false })));
    assert!(disk.0 == base);
    // Whenever it is asked, what was written until then is all that is ever written; and it is asked
    // before every write, and once more when all is done.
    let writes = plan.steps().filter(|step| matches!(step, Step::Write(_))).count();
    for allowed in 0.. {
        let mut disk = Failing { disk: Memory(base.clone()), left: usize::MAX, calls: 0 };
        let (mut asked, mut calls, mut last) = (0, 0, None);
        let ended = carry_out(&plan, &mut disk, |disk, step| {
            asked += usize::from(matches!(step, Step::Write(_)));
            calls = disk.calls;
            last = Some(step.clone());
            if asked > allowed { Err("no") } else { Ok(()) }
        });
        if ended.is_ok() {
            assert_eq!((asked, last), (writes, Some(Step::Look)));
            break;
        }
        let begun = allowed > 0;
        assert!(matches!(ended, Err(Stopped::Looked { begun: b, .. }) if b == begun), "{ended:?}");
        assert_eq!(disk.calls, calls, "written after somebody else was seen");
    }
}

fn start(arguments: &[&str], image: &Path) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmptune"));
    command.args(arguments).arg(image).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start")
}

/// A kill can come anywhere; run often, at times spread over the whole run.
fn killed_in_the_middle() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4 -b 1024 -g 1024", "16M").expect("mke2fs");
    for round in 0..60u64 {
        for arguments in [["--no-guard", "-Ommp"], ["--no-guard", "-O^mmp"]] {
            let mut child = start(&arguments, &image);
            std::thread::sleep(Duration::from_micros(round * 250));
            child.kill().expect("kill");
            child.wait().expect("wait");
            if crate::power::is_off(&image) {
                let ended = run("e2fsck", [OsStr::new("-fp"), image.as_os_str()]);
                assert!(ended.code <= 1, "{round}: {ended:?}");
            }
            assert_clean(&image, &format!("{round} {arguments:?}"));
        }
    }
    assert_files(&image, folder.path(), "after all");
}

/// Killed while it claims, it leaves an active sequence that is stale after the guard interval;
/// stopped by a signal, it leaves nothing.
fn stopped_while_it_claims() {
    let folder = folder();
    let image = folder.path().join("image");
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    assert_eq!(mmptune("-O mmp", &image).code, 0);
    let mut child = start(&["-O^mmp"], &image);
    std::thread::sleep(Duration::from_secs(2));
    let ended = run("kill", ["-TERM", &child.id().to_string()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(child.wait().expect("wait").code(), Some(2));
    assert_eq!(run("e2mmpstatus", [&image]).code, 0);
    assert_clean(&image, "stopped");

    let mut child = start(&["-O^mmp"], &image);
    std::thread::sleep(Duration::from_secs(2));
    child.kill().expect("kill");
    child.wait().expect("wait");
    let ended = mmptune("-O ^mmp", &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_clean(&image, "killed, then done");
}
