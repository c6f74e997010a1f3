//! `mount.mmp`: the mount helper.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::common::run;
use crate::daemon::Interrupt;
use crate::mount::{Flags, MountError, Options, Request, mount, real_type};
use crate::report::complain;
use crate::report::exit::MOUNT_USAGE;

const NAME: &str = "mount.mmp";

const EXIT_STATUS: &str = "\
Exit status:
  0      mounted
  1      wrong usage
  2      system error
  8      interrupted
  32     not mounted, because of the device's state or otherwise
  other  that of mount(8) for the real type";

/// Mounts a file system that another server may want at the same moment: claims it by its MMP
/// block, watches the claim for a guard interval, and lets mount(8) mount it.
///
/// For mount(8), which calls it for '-t mmp.TYPE', for fstab and for systemd's mount units.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_long_help = EXIT_STATUS)]
pub struct Arguments {
    /// Block device, image, LABEL=… or UUID=…
    #[arg(value_name = "SPEC")]
    spec: OsString,
    /// Where to mount it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Tolerate options that the real type does not know
    #[arg(short)]
    sloppy: bool,
    /// Mount nothing, claim nothing, only go through the motions
    #[arg(short)]
    fake: bool,
    /// Keep no record of the mount
    #[arg(short)]
    no_mtab: bool,
    /// Tell each step and its time
    #[arg(short)]
    verbose: bool,
    /// Mount read-only: watched for, but nothing is claimed
    #[arg(short)]
    read_only: bool,
    /// Mount read-write
    #[arg(short = 'w', overrides_with = "read_only")]
    read_write: bool,
    /// Mount in this mount namespace
    #[arg(short = 'N', value_name = "NAMESPACE")]
    namespace: Option<OsString>,
    /// Options; passed on, except mmp.mode=guard|strict|check|off, mmp.wait=SECONDS
    /// and mmp.fenced=pacemaker|no
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// mmp.TYPE; 'mmp' alone is lustre where mount.lustre is installed, else ext4
    #[arg(short = 't', value_name = "TYPE")]
    fstype: Option<OsString>,
}

/// The program.
pub fn main() -> ExitCode {
    run(NAME, MOUNT_USAGE, |arguments: Arguments| {
        Ok(try_mount(arguments).unwrap_or_else(|error| {
            complain(NAME, &error);
            error.exit_code()
        }))
    })
}

fn try_mount(arguments: Arguments) -> Result<u8, MountError> {
    let interrupt = Interrupt::catch()?;
    let flags = Flags {
        sloppy: arguments.sloppy,
        fake: arguments.fake,
        no_mtab: arguments.no_mtab,
        verbose: arguments.verbose,
        read_only: arguments.read_only,
        read_write: arguments.read_write,
    };
    let options = arguments.options.join(OsStr::new(","));
    let request = Request {
        spec: arguments.spec,
        dir: arguments.dir,
        fstype: real_type(arguments.fstype.as_deref()),
        options: Options::parse(&options)?,
        flags,
        namespace: arguments.namespace,
        program: NAME,
    };
    mount(request, &interrupt)
}
