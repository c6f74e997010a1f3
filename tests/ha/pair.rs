//! Two nodes of a cluster on this machine, each in namespaces of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::faulty::{Fault, FaultyDisk, On};
use crate::common::image::Image;
use crate::common::loops::Loop;
use crate::common::program::{Ended, ended, run, tool};
use crate::referee::Referee;

/// A shared disk, with a path to it for each node.
pub(crate) struct Target {
    pub(crate) image: Arc<Image>,
    pub(crate) paths: [Loop; 2],
    /// What the paths go through, where that can fail.
    cables: Option<[FaultyDisk; 2]>,
}

/// Two nodes, their disks and the wire between them.
pub(crate) struct Pair {
    pub(crate) names: [String; 2],
    nodes: [Option<Node>; 2],
    targets: Vec<Target>,
    folder: TempDir,
    wires: [String; 2],
    referee: Option<Referee>,
}

/// A node that is up.
struct Node {
    outer: Child,
    first: Pid,
}

impl Pair {
    /// Two nodes that are down, and so many targets.
    pub(crate) fn new(targets: usize) -> Self {
        Self::on((0..targets).map(|_| Target::new()).collect())
    }

    /// The same, with disks whose cables can be pulled.
    pub(crate) fn with_cables(targets: usize) -> Self {
        Self::on((0..targets).map(|_| Target::with_cables()).collect())
    }

    fn on(targets: Vec<Target>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{:x}{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = TempDir::new().expect("folder");
        let names = [1, 2].map(|n| format!("oss{n}"));
        for (index, target) in targets.iter().enumerate() {
            fs::write(folder.path().join(format!("ost{index}")), "").expect("write");
            fs::create_dir(folder.path().join(format!("mnt{index}"))).expect("create");
            for (name, path) in names.iter().zip(&target.paths) {
                let own = folder.path().join(name);
                fs::create_dir_all(&own).expect("create");
                fs::write(own.join(format!("ost{index}")), path.name()).expect("write");
            }
        }
        // The wire outlives a node's death, as a cable does.
        let wires = [format!("mmp{id}a"), format!("mmp{id}b")];
        for wire in &wires {
            tool("ip", &["netns", "add", wire]);
            tool("ip", &["-n", wire, "link", "set", "lo", "up"]);
        }
        let ends = ["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns"];
        tool("ip", &[&["-n", &wires[0]], &ends[..], &[&wires[1]]].concat());
        let mut pair = Pair { names, nodes: [None, None], targets, folder, wires, referee: None };
        for which in [0, 1] {
            let ip = ["-n", &pair.wires[which], "address", "add"];
            tool("ip", &[&ip[..], &[&format!("{}/24", address(which)), "dev", "eth0"]].concat());
        }
        pair.connect(true);
        let dirs = (0..pair.targets.len()).map(|target| pair.dir(target)).collect();
        pair.referee = Some(Referee::start(&pair.targets, dirs));
        pair
    }

    /// Plugs the wire in, or pulls it.
    pub(crate) fn connect(&self, up: bool) {
        for wire in &self.wires {
            let state = if up { "up" } else { "down" };
            tool("ip", &["-n", wire, "link", "set", "eth0", state]);
        }
    }

    /// From here on whatever goes through a node's path to a target meets this.
    pub(crate) fn pull(&self, which: usize, target: usize, fault: Fault) {
        self.targets[target].cables.as_ref().expect("cables")[which].fail(On::All, fault);
    }

    /// Turns a node off: no write of it that is still on its way lands.
    pub(crate) fn power_off(&mut self, which: usize) {
        for target in 0..self.targets.len() {
            self.pull(which, target, Fault::Error(Errno::EIO));
        }
        self.kill(which);
    }

    /// Turns a node on; its cluster manager is not running yet.
    pub(crate) fn boot(&mut self, which: usize) {
        let folder = self.folder.path().join(&self.names[which]);
        let _ = fs::remove_file(folder.join("ready"));
        let programs = Path::new(env!("CARGO_BIN_EXE_mmptarget")).parent().expect("a folder");
        let log = fs::File::create(folder.join("console")).expect("create");
        let mut outer = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.wires[which]))
            .args(["unshare", "-m", "-u", "-i", "-p", "-f", "--mount-proc", "--kill-child"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ha/node"))
            .args([Path::new(&self.names[which]), &folder, programs])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("file"))
            .stderr(log)
            .spawn()
            .expect("nsenter");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !folder.join("ready").exists() {
            let console = || fs::read_to_string(folder.join("console")).unwrap_or_default();
            assert!(outer.try_wait().expect("wait").is_none(), "{}", console());
            assert!(Instant::now() < deadline, "not up: {}", console());
            thread::sleep(Duration::from_millis(20));
        }
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let children = fs::read_to_string(children).expect("children");
        let first = Pid::from_raw(children.trim().parse().expect("one child"));
        self.nodes[which] = Some(Node { outer, first });
        self.referee().seen_up(which, first);
        let hosts = [0, 1].map(|n| format!("{} {}\n", address(n), self.names[n])).concat();
        self.write(which, "/etc/hosts", &format!("127.0.0.1 localhost\n{hosts}"));
    }

    fn referee(&self) -> &Referee {
        self.referee.as_ref().expect("one from the beginning on")
    }

    /// Ends every process of a node at once. The kernel then unmounts what it had mounted.
    pub(crate) fn kill(&mut self, which: usize) {
        if let Some(mut node) = self.nodes[which].take() {
            self.referee().seen_down(which);
            let _ = kill(node.first, Signal::SIGKILL);
            let _ = node.outer.wait();
        }
    }

    /// The same, and then the block as a crash leaves it: the kernel's last word would have been a
    /// sequence, not clean.
    pub(crate) fn crash(&mut self, which: usize) {
        let blocks: Vec<_> = self.targets.iter().map(|target| target.image.block()).collect();
        let held: Vec<bool> = (0..self.targets.len()).map(|t| self.has(which, t)).collect();
        self.kill(which);
        for ((target, block), held) in self.targets.iter().zip(blocks).zip(held) {
            if held {
                let names = mmp::layout::Names::new(self.names[which].as_bytes(), b"sdb");
                target.image.put(&block.with_names(&names));
            }
        }
    }

    /// A command in a node.
    pub(crate) fn command(&self, which: usize, command: &[&str]) -> Command {
        let node = self.nodes[which].as_ref().expect("up");
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &node.first.to_string(), "-a"]).args(command).stdin(Stdio::null());
        enter.env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        enter
    }

    /// A command in a node, to its end.
    pub(crate) fn run(&self, which: usize, command: &[&str]) -> Ended {
        ended(&mut self.command(which, command))
    }

    /// A line of shell in a node that must succeed; what it says.
    pub(crate) fn sh(&self, which: usize, line: &str) -> String {
        let ended = self.run(which, &["sh", "-c", line]);
        assert_eq!(ended.code, 0, "{}: {line}: {}", self.names[which], ended.said());
        ended.out
    }

    /// Writes a file in a node.
    pub(crate) fn write(&self, which: usize, path: &str, content: &str) {
        let source = self.folder.path().join(format!("{}.file", self.names[which]));
        fs::write(&source, content).expect("write");
        self.sh(which, &format!("install -D -m 600 {} {path}", source.display()));
    }

    /// The path of a target's device, the same on both nodes.
    pub(crate) fn device(&self, target: usize) -> String {
        self.folder.path().join(format!("ost{target}")).display().to_string()
    }

    /// Where a target is mounted.
    pub(crate) fn dir(&self, target: usize) -> String {
        self.folder.path().join(format!("mnt{target}")).display().to_string()
    }

    /// A path of a node as seen from outside it.
    pub(crate) fn outside(&self, which: usize, path: &str) -> PathBuf {
        let first = self.nodes[which].as_ref().expect("up").first;
        PathBuf::from(format!("/proc/{first}/root{path}"))
    }

    /// The guard interval that the block of a target asks for now.
    pub(crate) fn guard(&self, target: usize) -> Duration {
        let interval = self.image(target).block().check_interval().max(5);
        Duration::from_secs(2 * u64::from(interval) + 1)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn image(&self, target: usize) -> &Image {
        &self.targets[target].image
    }

    /// A node's own path to a target, outside its namespaces.
    pub(crate) fn path(&self, which: usize, target: usize) -> &Loop {
        &self.targets[target].paths[which]
    }

    /// How many targets there are.
    pub(crate) fn targets(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn is_up(&self, which: usize) -> bool {
        self.nodes[which].is_some()
    }

    /// Whether a node has a target mounted.
    pub(crate) fn has(&self, which: usize, target: usize) -> bool {
        let node = self.nodes[which].as_ref();
        node.is_some_and(|node| is_mounted(node.first, &self.dir(target)))
    }

    /// Waits until a node has a target; tells when that was seen.
    #[track_caller]
    pub(crate) fn await_mount(&self, which: usize, target: usize, at_most: Duration) -> Instant {
        let what = format!("{} has target {target}", self.names[which]);
        self.wait(&what, at_most, || self.has(which, target))
    }

    /// Waits until something is so; tells when that was seen.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, at_most: Duration, is_so: impl Fn() -> bool) -> Instant {
        let deadline = Instant::now() + at_most;
        while !is_so() {
            let late = Instant::now() > deadline;
            assert!(!late, "not within {at_most:?}: {what}\n{}", self.logs());
            thread::sleep(Duration::from_millis(50));
        }
        Instant::now()
    }

    /// The ends of the nodes' logs.
    pub(crate) fn logs(&self) -> String {
        let up = [0, 1].into_iter().filter(|which| self.nodes[*which].is_some());
        let log = |which: usize| {
            let script = "tail -n 40 /var/log/ha-log /var/log/pacemaker.log 2>/dev/null; true";
            format!("== {}\n{}", self.names[which], self.sh(which, script))
        };
        up.map(log).collect()
    }

    /// Both nodes are stopped: nothing is mounted, no two ever were, and the file systems are whole.
    pub(crate) fn finish(self) {
        for (which, target) in
            [0, 1].into_iter().flat_map(|w| (0..self.targets.len()).map(move |t| (w, t)))
        {
            assert!(!self.has(which, target), "still mounted\n{}", self.logs());
        }
        self.end();
    }

    /// The same after a crash that nobody has cleaned up: nothing can be said of the file systems.
    pub(crate) fn finish_stale(mut self) {
        self.over();
    }

    /// The same for a case that ends with targets mounted.
    pub(crate) fn end(mut self) {
        self.over();
        for target in &self.targets {
            target.image.assert_fsck_clean();
        }
    }

    fn over(&mut self) {
        self.kill(0);
        self.kill(1);
        let faults = self.faults();
        assert!(faults.is_empty(), "{faults:?}");
    }

    /// What the referee has seen that must not be.
    pub(crate) fn faults(&mut self) -> Vec<String> {
        self.referee.take().expect("one from the beginning on").faults()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            let Node { mut outer, first } = node;
            let _ = kill(first, Signal::SIGKILL);
            let _ = outer.wait();
        }
        for wire in &self.wires {
            run("ip", &["netns", "delete", wire]);
        }
    }
}

/// The nodes' addresses on the wire.
pub(crate) fn address(which: usize) -> &'static str {
    ["10.77.0.1", "10.77.0.2"][which]
}

impl Target {
    fn new() -> Self {
        let image = Arc::new(Image::with(&[], "64M"));
        let paths = [Loop::new(image.path()), Loop::new(image.path())];
        Target { image, paths, cables: None }
    }

    fn with_cables() -> Self {
        let image = Arc::new(Image::with(&[], "64M"));
        let cables = [(); 2].map(|()| FaultyDisk::new(Arc::clone(&image)));
        let paths = cables.each_ref().map(|cable| Loop::new(cable.path()));
        Target { image, paths, cables: Some(cables) }
    }
}

pub(crate) fn is_mounted(first: Pid, dir: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/{first}/mountinfo")).unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4) == Some(dir))
}
