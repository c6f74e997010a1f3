//! Where the documents' commands are typed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use mmp::layout::Sequence;
use tempfile::TempDir;

use crate::common::beside::beside;
use crate::common::image::Image;
use crate::common::loops::Loop;
use crate::common::namespace;
use crate::common::program::{self, Ended};

/// What stands for mount.lustre, which needs Lustre's kernel modules.
const MOUNT_LUSTRE: &str = "exec mount -i -t ext4 \"$1\" \"$2\"";

/// Runs `typed` where `/dev/mapper/ost0001` is in this state.
pub(super) fn on(state: &str, typed: impl FnOnce() + Send + 'static) {
    let state = state.to_owned();
    namespace::apart(move |_| {
        fs::create_dir_all("/dev/mapper").expect("create");
        for place in ["/dev/mapper", "/srv"] {
            namespace::empty(place.as_ref());
        }
        namespace::stand_in("mount.lustre", MOUNT_LUSTRE);
        fs::create_dir_all("/srv/lustre/ost0001").expect("create");
        let options: &[&str] = if state == "no-mmp" { &["-O", "^mmp"] } else { &[] };
        let images = [Image::with(options, "64M"), Image::with(&[], "64M")];
        let devices = images.each_ref().map(|image| Loop::new(image.path()));
        for (number, device) in devices.iter().enumerate() {
            // A node of its own, not a link, which mount(8) would resolve.
            let name = format!("/dev/mapper/ost000{}", number + 1);
            program::tool("cp", &["-a", device.name(), &name]);
        }
        let [image, _] = &images;
        match state.as_str() {
            "clean" | "no-mmp" => typed(),
            "stale" => typed_on(image, Sequence::Active(7), typed),
            "fsck" => typed_on(image, Sequence::Fsck, typed),
            "in-use" => beside_a_holder(image, typed),
            other => panic!("no such state: {other}"),
        }
        program::run("umount", &["-q", "/mnt", "/srv/lustre/ost0001"]);
    });
}

fn typed_on(image: &Image, sequence: Sequence, typed: impl FnOnce()) {
    image.put(&image.block().with_sequence(sequence));
    typed();
}

/// Another node writes a heartbeat every second, below the device.
fn beside_a_holder(image: &Image, typed: impl FnOnce()) {
    let mut sequence = Sequence::Active(1);
    let heartbeat = || {
        image.put(&image.block().with_sequence(sequence));
        sequence = sequence.next();
    };
    beside(Duration::from_secs(1), heartbeat, typed);
}

/// Types into a shell; what does not end, ends with code 124.
pub(super) fn shell(script: &str) -> Ended {
    let folder = TempDir::new().expect("folder");
    let mut command = Command::new("timeout");
    command.args(["150", "sh", "-c", script]).env("LC_ALL", "C").current_dir(folder.path());
    let path = std::env::var("PATH").unwrap_or_default();
    program::ended(command.env("PATH", format!("/sbin:/usr/sbin:{path}")))
}
