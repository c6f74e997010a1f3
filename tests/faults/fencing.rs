//! A command that cannot be killed takes the node down, and no other does.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::faulty::{Fault, FaultyDisk, On};
use crate::common::image::Image;
use crate::common::program::Running;
use crate::common::suite::Suite;
use crate::{GUARD, HALF, SLACK, running_with, wait_until};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a command that hangs in the kernel is fenced with its node", || {
        unkillable(false);
    });
    suite.case("so it is when mmprun is killed", || unkillable(true));
    suite.case("without a fence it is said that a command does not die", unfenced);
    for end in [End::Hang, End::Kill, End::Stop] {
        let name = format!("a command that ends is not fenced ({end:?})");
        suite.case(name, move || killable(end));
    }
}

/// How long after the end of a lease the node is fenced.
const DELAY: Duration = Duration::from_secs(2);

/// A device, `mmprun --fence` over it, and the file that fencing leaves.
struct Fenced {
    disk: FaultyDisk,
    holder: Running,
    command: Pid,
    told: PathBuf,
}

impl Fenced {
    /// With this for a command; `DEVICE` in it is the device.
    fn start(script: &str) -> Self {
        let disk = FaultyDisk::new(Image::new());
        let told = disk.image.dir().join("fenced");
        let fence = format!("echo fenced >{}", told.display());
        let script = script.replace("DEVICE", disk.name());
        let (holder, command) = running_with(&["--fence", &fence], disk.path(), &script);
        Fenced { disk, holder, command, told }
    }

    /// Whether the node was fenced.
    fn is(&self) -> bool {
        self.told.exists()
    }
}

/// Reads the disk without end; where that hangs, no signal ends it.
const READS: &str = "while :; do dd if=DEVICE of=/dev/null bs=4096 count=1 iflag=direct \
                     2>/dev/null; sleep 0.1; done";

/// The state that the kernel shows of a process that nothing wakes but its disk.
fn waits_for_disk(group: Pid) -> bool {
    let processes = fs::read_dir("/proc").expect("proc").flatten();
    let stats = processes.filter_map(|e| fs::read_to_string(e.path().join("stat")).ok());
    stats.filter_map(|stat| Some(stat.rsplit_once(") ")?.1.to_owned())).any(|stat| {
        let fields: Vec<&str> = stat.split(' ').collect();
        fields[0] == "D" && fields[2] == group.to_string()
    })
}

fn unkillable(killed: bool) {
    let mut fenced = Fenced::start(READS);
    fenced.disk.fail(On::All, Fault::Hang);
    wait_until("something hangs", SLACK, || fenced.disk.hangs());
    let (hung, lease) = (Instant::now(), fenced.disk.image.lease());
    if killed {
        // The command must hang before that. Nor does mmprun itself end: it waits for the disk.
        thread::sleep(Duration::from_secs(1));
        fenced.holder.signal(Signal::SIGKILL);
    }
    wait_until("fenced", lease + DELAY + SLACK, || fenced.is());
    let took = hung.elapsed();
    assert!(took < lease + DELAY + HALF, "fenced after {took:?}, lease {lease:?}");
    println!("fenced {:.2} s after the disk hung, killed: {killed}", took.as_secs_f64());
    // A heartbeat came at most a second before.
    assert!(killed || took > lease + DELAY - Duration::from_millis(1200), "{took:?} of {lease:?}");
    assert!(waits_for_disk(fenced.command), "the command was killed: {}", fenced.holder.err());
    fenced.holder.wait_for("fencing this node", SLACK);
    fenced.disk.heal();
    let ended = fenced.holder.end(SLACK);
    assert_eq!(ended.code, if killed { 137 } else { 123 }, "{}", ended.err);
    wait_until("all is gone", SLACK, || {
        kill(Pid::from_raw(-fenced.command.as_raw()), None).is_err()
    });
}

fn unfenced() {
    let disk = FaultyDisk::new(Image::new());
    let script = READS.replace("DEVICE", disk.name());
    let (mut holder, _) = running_with(&[], disk.path(), &script);
    disk.fail(On::All, Fault::Hang);
    holder.wait_for("the command does not die", GUARD + DELAY + SLACK);
    disk.heal();
    assert_eq!(holder.end(SLACK).code, 123);
}

/// What a holder meets whose command can be killed.
#[derive(Clone, Copy, Debug)]
enum End {
    Hang,
    Kill,
    Stop,
}

fn killable(end: End) {
    let mut fenced =
        Fenced::start("trap 'exit 7' TERM; echo ready >&2; while :; do sleep 0.1; done");
    fenced.holder.wait_for("ready", SLACK);
    match end {
        End::Hang => fenced.disk.fail(On::All, Fault::Hang),
        End::Kill => fenced.holder.signal(Signal::SIGKILL),
        End::Stop => fenced.holder.signal(Signal::SIGTERM),
    }
    let began = Instant::now();
    let wait = fenced.disk.image.lease() + DELAY + Duration::from_secs(2);
    let group = Pid::from_raw(-fenced.command.as_raw());
    wait_until("the command is gone", wait, || kill(group, None).is_err());
    let gone = began.elapsed();
    println!("{end:?}: command gone after {:.2} s", gone.as_secs_f64());
    // That a holder has died is not found out by the lease.
    assert!(matches!(end, End::Hang) || gone < GUARD / 2, "{end:?}: gone after {gone:?}");
    thread::sleep(wait.saturating_sub(began.elapsed()));
    assert!(!fenced.is(), "fenced: {}", fenced.holder.err());
    fenced.disk.heal();
    let ended = fenced.holder.end(SLACK);
    let code = match end {
        End::Hang => 123,
        End::Kill => 137,
        End::Stop => 7,
    };
    assert_eq!(ended.code, code, "{}", ended.err);
}
