//! Two kernels, one disk: software-emulated machines that share disks. Started by `tests/vm/run`.
//!
//! The machines have several disks, and each disk runs its cases beside the others': nearly all of
//! the time everybody waits.

mod clock;
mod disk;
mod failover;
mod fencing;
mod node;
mod races;
mod watching;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use disk::Disk;
use node::Node;
use tempfile::TempDir;

/// How many disks, and so how many cases at once.
const DISKS: usize = 8;
/// The guard interval at the default update interval.
const GUARD: Duration = Duration::from_secs(11);
/// What may be added to it where no delay is made: emulated machines are slow.
const SLACK: Duration = Duration::from_secs(4);

/// Two machines.
pub(crate) struct Pair {
    pub(crate) a: Node,
    pub(crate) b: Node,
}

type Run = Box<dyn FnOnce(&Pair, &Disk) + Send>;

/// A case has a disk for itself, and the machines together with the others.
pub(crate) struct Case {
    name: String,
    run: Run,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl FnOnce(&Pair, &Disk) + Send + 'static,
    ) -> Self {
        Case { name: name.into(), run: Box::new(run) }
    }
}

/// Runs cases, as many at once as there are disks; tells which failed.
fn run_all(pair: &Pair, disks: &[Disk], cases: Vec<Case>) -> Vec<String> {
    let cases = Mutex::new(cases.into_iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for disk in disks {
            let (cases, failed) = (&cases, &failed);
            scope.spawn(move || {
                loop {
                    let Some(Case { name, run }) = cases.lock().expect("lock").next() else {
                        return;
                    };
                    let began = std::time::Instant::now();
                    let run = std::panic::AssertUnwindSafe(|| run(pair, disk));
                    let passed = std::panic::catch_unwind(run).is_ok();
                    let verdict = if passed { "ok" } else { "FAILED" };
                    println!("{verdict:6} {name} ({:.0} s)", began.elapsed().as_secs_f64());
                    if !passed {
                        failed.lock().expect("lock").push(name);
                        disk.clear(&pair.a);
                        disk.clear(&pair.b);
                    }
                }
            });
        }
    });
    failed.into_inner().expect("lock")
}

fn main() -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let named =
        |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let chosen = |case: &Case| named(&case.name);
    let folder = TempDir::new_in("target/vm").expect("run by tests/vm/run");
    let disks: Vec<Disk> =
        ('a'..).take(DISKS).map(|letter| Disk::new(folder.path(), letter)).collect();
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| Node::boot("vm-a", &disks, folder.path()));
        let b = scope.spawn(|| Node::boot("vm-b", &disks, folder.path()));
        (a.join().expect("vm-a"), b.join().expect("vm-b"))
    });
    let pair = Arc::new(Pair { a, b });
    let long = std::env::var("MMP_VM_TABLE").is_ok_and(|table| table == "long");
    let mut cases = failover::cases();
    cases.extend(races::cases(long));
    cases.extend(watching::cases());
    cases.retain(chosen);
    let mut failed = run_all(&pair, &disks, cases);
    // By itself: others look at the time of day.
    let clock: Vec<Case> = clock::cases().into_iter().filter(chosen).collect();
    failed.extend(run_all(&pair, &disks, clock));
    // These bring machines of their own down.
    let fencing = fencing::cases(&disks, folder.path(), named);
    failed.extend(run_all(&pair, &disks, fencing));
    // These take a machine's power away: last, and on disks of their own.
    let last: Vec<Case> = failover::deadly_cases().into_iter().filter(chosen).collect();
    failed.extend(run_all(&pair, &disks, last));
    match failed.as_slice() {
        [] => std::process::ExitCode::SUCCESS,
        failed => {
            println!("failed: {}", failed.join("; "));
            std::process::ExitCode::FAILURE
        }
    }
}
