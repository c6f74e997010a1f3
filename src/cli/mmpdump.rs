//! `mmpdump`: the superblock's header and the MMP block.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser, ValueHint};
use serde::Serialize;

use super::common::{run, settled};
use crate::daemon::now;
use crate::device::{MmpDevice, Reader, format_uuid, resolve, shown};
use crate::layout::{MmpArea, MmpBlock, Superblock};
use crate::protocol::Verdict;
use crate::report::exit::{DONE, REFUSED, TROUBLE};
use crate::report::{BlockFields, Document, complain, describe_verdict, emit, header, mmp_lines};

const NAME: &str = "mmpdump";

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  the MMP block is damaged: bad magic or bad checksum
  2  wrong usage, or it could not be read";

/// Shows the superblock's header as dumpe2fs -h does, and the MMP block decoded.
///
/// Reads also what dumpe2fs refuses: Lustre's dirdata and features nobody knows yet. Never writes.
#[derive(Debug, Parser)]
#[command(name = NAME, version, disable_help_flag = true, after_long_help = EXIT_STATUS)]
pub struct Arguments {
    /// Show the header only, with the MMP block as dumpe2fs -h shows it
    #[arg(short = 'h', conflicts_with = "info")]
    header: bool,
    /// Show the MMP block only
    #[arg(short, long)]
    info: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["header", "info"])]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// A block device, an image, LABEL=… or UUID=…
    #[arg(value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
    device: OsString,
}

/// The program.
pub fn main() -> ExitCode {
    run(NAME, TROUBLE, |arguments: Arguments| dump(&arguments))
}

fn dump(arguments: &Arguments) -> anyhow::Result<u8> {
    let path = resolve(&arguments.device)?;
    let mut reader = Reader::open(&path)?;
    let superblock = reader.superblock()?;
    let mmp = MmpDevice::with_superblock(reader, &superblock).and_then(|mut device| {
        let block = settled(&mut device)?;
        Ok((*device.area(), block))
    });
    let write = |text: &str| emit(text).context("cannot write the result");
    if !arguments.info && !arguments.json {
        write(&header(&superblock))?;
    }
    let found = match mmp {
        Ok(found) => Some(found),
        Err(error) if error.is_no_mmp() && !arguments.info => None,
        Err(error) => return Err(error.into()),
    };
    if arguments.json {
        let fields = fields(arguments, &superblock, found.as_ref());
        write(&Document::new(NAME, vec![fields]).render()?)?;
    } else if let Some((area, block)) = &found {
        write(&mmp_lines(block))?;
        if !arguments.header {
            write(&decoded(area, block))?;
        }
    }
    let Some((area, block)) = found else { return Ok(DONE) };
    let Err(why) = block.verify(area.checksum) else { return Ok(DONE) };
    complain(NAME, describe_verdict(&path, area.block, &Verdict::Invalid { block, why }));
    Ok(REFUSED)
}

/// What follows from the block's fields, in the manner of the lines above it.
fn decoded(area: &MmpArea, block: &MmpBlock) -> String {
    let fields = BlockFields::new(block, area);
    let mut text = format!(
        "    mmp_block_number: {}\n    mmp_state: {}\n    mmp_checksum: {:#010x} ({})\n",
        area.block,
        fields.state(),
        block.checksum(),
        fields.checksum_verdict(),
    );
    // Nothing follows from a block that is not valid.
    let Some(guard_interval) = fields.guard_interval_s() else { return text };
    let now = now().wall;
    let age = match now.checked_sub(block.time()) {
        Some(seconds) => {
            humantime::format_duration(Duration::from_secs(seconds)).to_string() + " ago"
        }
        None => format!("{} s in the future by this machine's clock", block.time() - now),
    };
    text += &format!("    mmp_age: {age}\n    mmp_guard_interval: {guard_interval} s\n");
    text
}

/// A file system in JSON.
#[derive(Debug, Serialize)]
struct FilesystemFields {
    device: String,
    volume_name: String,
    uuid: String,
    features: Vec<String>,
    block_size: u32,
    blocks_count: u64,
    mmp_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mmp: Option<BlockFields>,
}

fn fields(
    arguments: &Arguments,
    superblock: &Superblock,
    found: Option<&(MmpArea, MmpBlock)>,
) -> FilesystemFields {
    FilesystemFields {
        device: shown(&arguments.device).to_string(),
        volume_name: superblock.volume_name().to_string(),
        uuid: format_uuid(superblock.uuid()),
        features: superblock.features().names(),
        block_size: superblock.block_size(),
        blocks_count: superblock.blocks_count(),
        mmp_enabled: superblock.features().mmp(),
        mmp: found.map(|(area, block)| BlockFields::new(block, area)),
    }
}
