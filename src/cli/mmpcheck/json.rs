//! The survey as JSON: a verdict's fields, and those of the file system around them.

use serde::Serialize;

use crate::daemon::now;
use crate::device::{format_uuid, shown};
use crate::layout::SuperblockError;
use crate::protocol::Mounted;
use crate::report::{BlockFields, VerdictFields, describe_hung};
use crate::survey::{FileSystem, State, Surveyed};

/// A surveyed device.
#[derive(Debug, Serialize)]
pub(super) struct SurveyFields {
    #[serde(flatten)]
    verdict: VerdictFields,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    filesystem: Option<FileSystemFields>,
    /// By the clocks of the writer and of this machine; absent where the block is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<u64>,
    findings: Vec<FindingFields>,
}

#[derive(Debug, Serialize)]
struct FileSystemFields {
    volume_name: String,
    uuid: String,
    mmp_enabled: bool,
    read_only: bool,
    /// `no`, `read-only`, `emergency`, `read-write`.
    mounted: &'static str,
    mounts: Vec<MountFields>,
}

#[derive(Debug, Serialize)]
struct MountFields {
    directory: String,
    #[serde(rename = "type")]
    fstype: String,
    read_only: bool,
}

#[derive(Debug, Serialize)]
struct FindingFields {
    name: &'static str,
    severity: &'static str,
    message: String,
}

/// The entry for a device that came to `exit_code`.
pub(super) fn fields(device: &Surveyed, exit_code: u8) -> SurveyFields {
    let findings = device.findings.iter().map(|finding| FindingFields {
        name: finding.kind.name,
        severity: finding.kind.severity.word(),
        message: finding.sentence.clone(),
    });
    let block = device.state.block();
    SurveyFields {
        verdict: verdict(device, exit_code),
        filesystem: device.filesystem.as_ref().map(FileSystemFields::from),
        age_s: block.map(|block| now().wall.saturating_sub(block.time())),
        findings: findings.collect(),
    }
}

fn verdict(device: &Surveyed, exit_code: u8) -> VerdictFields {
    let (path, state) = (&device.path, &device.state);
    let area = device.filesystem.as_ref().and_then(|filesystem| filesystem.area);
    let name = shown(path);
    let message = match state {
        State::Verdict(verdict) => {
            if let Some(area) = area {
                return VerdictFields::new(path, &area, verdict, exit_code);
            }
            state.word().to_owned()
        }
        State::Hung => describe_hung(path),
        State::Error { message, .. } => message.clone(),
        State::NoMmp => format!("{name}: {}", SuperblockError::NoMmp),
        State::Active(_) => {
            format!("{name}: not clean; not watched to the end, so that it may be in use")
        }
    };
    let mmp = state.block().zip(area).map(|(block, area)| BlockFields::new(block, &area));
    VerdictFields::undecided(name.to_string(), state.word(), message, exit_code, mmp)
}

impl From<&FileSystem> for FileSystemFields {
    fn from(filesystem: &FileSystem) -> Self {
        let mounts = filesystem.mounts.iter().map(|mount| MountFields {
            directory: shown(&mount.dir).to_string(),
            fstype: shown(&mount.fstype).to_string(),
            read_only: mount.read_only,
        });
        FileSystemFields {
            volume_name: filesystem.superblock.volume_name().to_string(),
            uuid: format_uuid(filesystem.superblock.uuid()),
            mmp_enabled: filesystem.superblock.features().mmp(),
            read_only: filesystem.read_only,
            mounted: match filesystem.mounted() {
                Mounted::No => "no",
                Mounted::ReadOnly => "read-only",
                Mounted::Emergency => "emergency",
                Mounted::ReadWrite => "read-write",
            },
            mounts: mounts.collect(),
        }
    }
}
