//! A disk that two machines share, and each one's path to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::node::Node;

/// An image file that is the same disk of every machine.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    /// `a` for /dev/vda and so on.
    letter: char,
}

/// How long I/O takes on a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delay {
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

impl Delay {
    pub(crate) fn seconds(read: f64, write: f64) -> Self {
        Delay { read: Duration::from_secs_f64(read), write: Duration::from_secs_f64(write) }
    }
}

/// Runs a tool that must succeed; its standard output.
fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output().expect(name);
    let [out, err] =
        [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned());
    assert!(output.status.success(), "{name} {arguments:?}: {out}{err}");
    out
}

impl Disk {
    pub(crate) fn new(folder: &Path, letter: char) -> Self {
        let disk = Disk { path: folder.join(format!("{letter}.img")), letter };
        let file = std::fs::File::create(&disk.path).expect("create");
        file.set_len(64 << 20).expect("size");
        disk
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn letter(&self) -> char {
        self.letter
    }

    fn name(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// A new, clean file system with MMP.
    pub(crate) fn format(&self) {
        let init = "lazy_itable_init=0,lazy_journal_init=0";
        tool("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "mmp", "-E", init, self.name()]);
        tool("sync", &[self.name()]);
    }

    /// Sets a field of the MMP block.
    pub(crate) fn set(&self, field: &str, value: &str) {
        tool(
            "debugfs",
            &["-w", "-c", "-R", &format!("set_mmp_value {field} {value}"), self.name()],
        );
        tool("sync", &[self.name()]);
    }

    /// e2fsck finds nothing.
    pub(crate) fn check(&self) {
        tool("e2fsck", &["-f", "-n", self.name()]);
    }

    /// e2fsck finds nothing; the content of the file `winner`.
    pub(crate) fn checked_winner(&self) -> String {
        self.check();
        let said = tool("debugfs", &["-R", "cat winner", self.name()]);
        said.lines().last().unwrap_or_default().trim().to_owned()
    }

    /// The check interval in the MMP block, seconds.
    pub(crate) fn check_interval(&self) -> u64 {
        let said = tool("debugfs", &["-R", "dump_mmp", self.name()]);
        let value = said.lines().find_map(|line| line.strip_prefix("check_interval:"));
        value.and_then(|value| value.trim().parse().ok()).expect("check interval")
    }

    fn table(&self, delay: Delay) -> String {
        let (letter, read, write) = (self.letter, delay.read.as_millis(), delay.write.as_millis());
        let sectors = (64 << 20) / 512;
        format!("0 {sectors} delay /dev/vd{letter} 0 {read} /dev/vd{letter} 0 {write}")
    }

    /// Makes a node's path to it.
    pub(crate) fn connect(&self, node: &Node, delay: Delay) {
        let (letter, table) = (self.letter, self.table(delay));
        node.must(&format!("mkdir -p /mnt/{letter} && dmsetup create {letter} --table '{table}'"));
    }

    /// Makes the path as fast as it can be, with what is under way.
    pub(crate) fn relieve(&self, node: &Node) {
        let (letter, table) = (self.letter, self.table(Delay::default()));
        node.must(&format!(
            "dmsetup reload {letter} --table '{table}' && dmsetup suspend --nolockfs {letter} && dmsetup resume {letter}"
        ));
    }

    pub(crate) fn disconnect(&self, node: &Node) {
        node.must(&format!("dmsetup remove {}", self.letter));
    }

    /// Takes away whatever a case that failed has left.
    pub(crate) fn clear(&self, node: &Node) {
        let (letter, dir) = (self.letter, self.dir());
        node.run(&format!("/bin/umount -l {dir}; dmsetup remove --force {letter}"));
    }

    pub(crate) fn device(&self) -> String {
        format!("/dev/mapper/{}", self.letter)
    }

    pub(crate) fn dir(&self) -> String {
        format!("/mnt/{}", self.letter)
    }

    /// The command that mounts it.
    pub(crate) fn mount(&self, fstype: &str, options: &str) -> String {
        format!("/bin/mount -t {fstype} -o {options} {} {}", self.device(), self.dir())
    }
}
