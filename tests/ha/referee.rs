//! What watches, throughout each case, that never two nodes have a target.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::common::disk::{CLEAN, Observer};
use crate::common::program::tool;
use crate::pair::{Target, is_mounted};

/// Watches all the time that no target is mounted on both nodes: by the nodes' mount tables, and by
/// the disks themselves, past every cache and by code that shares nothing with the suite's.
pub(crate) struct Referee {
    over: Arc<AtomicBool>,
    nodes: Arc<[Mutex<Option<Pid>>; 2]>,
    deaths: Mutex<Vec<(usize, Instant)>>,
    tables: JoinHandle<Vec<String>>,
    disks: Vec<(Observer, [String; 2])>,
}

impl Referee {
    pub(crate) fn start(targets: &[Target], dirs: Vec<String>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let nodes: Arc<[Mutex<Option<Pid>>; 2]> = Arc::default();
        let (told, watched) = (Arc::clone(&over), Arc::clone(&nodes));
        let tables = thread::spawn(move || {
            let mut faults = Vec::new();
            while !told.load(Ordering::SeqCst) {
                for dir in &dirs {
                    let has = |which: usize| {
                        let node = *watched[which].lock().expect("lock");
                        node.is_some_and(|first| is_mounted(first, dir))
                    };
                    // The first once more: it may have let go while the second was looked at.
                    if has(0) && has(1) && has(0) {
                        faults.push(format!("{dir} is mounted on both nodes"));
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            faults
        });
        let disk = |target: &Target| {
            let names = [0, 1].map(|which: usize| target.paths[which].kernel_name().to_owned());
            (Observer::start(target.image.path()), names)
        };
        let disks = targets.iter().map(disk).collect();
        Referee { over, nodes, deaths: Mutex::default(), tables, disks }
    }

    pub(crate) fn seen_up(&self, which: usize, first: Pid) {
        *self.nodes[which].lock().expect("lock") = Some(first);
    }

    pub(crate) fn seen_down(&self, which: usize) {
        *self.nodes[which].lock().expect("lock") = None;
        self.deaths.lock().expect("lock").push((which, Instant::now()));
    }

    /// What it saw that must not be: a target on both nodes, or two kernels that wrote one block in
    /// turns, where it was not clean in between and the first of them had not died.
    pub(crate) fn faults(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        let mut faults = self.tables.join().expect("referee");
        let deaths = self.deaths.into_inner().expect("lock");
        let host = tool("uname", &["-n"]).trim().to_owned();
        for (observer, names) in self.disks {
            let samples = observer.stop();
            let mut last: Option<(usize, Instant)> = None;
            for sample in &samples {
                // A claim bears a node's name, a kernel's heartbeat that of the machine.
                let which = names.iter().position(|name| *name == sample.block.device());
                match which {
                    _ if sample.block.sequence() == CLEAN => last = None,
                    Some(which) if sample.block.node() == host => {
                        let before = last.replace((which, sample.present));
                        let other = before.filter(|(before, _)| *before != which);
                        if let Some((before, at)) = other
                            && !deaths.iter().any(|(dead, when)| *dead == before && *when > at)
                        {
                            faults.push(format!("both nodes' kernels wrote it: {samples:#?}"));
                            break;
                        }
                    }
                    _ => {}
                }
            }
        }
        faults
    }
}
