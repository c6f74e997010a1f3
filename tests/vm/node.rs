//! A virtual machine, commanded over its serial line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::Disk;

/// What a command on a node came to.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: i32,
    pub(crate) said: String,
    pub(crate) took: Duration,
}

/// How long any command is given: one whose machine starves is a failure, not a run without end.
const ANSWER: Duration = Duration::from_secs(300);

type Waiting = Arc<Mutex<HashMap<u32, Sender<(i32, String)>>>>;

/// A running machine. It loses its power with this value.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    machine: Mutex<Child>,
    line: Mutex<(u32, ChildStdin)>,
    waiting: Waiting,
}

impl Node {
    /// Boots a machine with these disks; its kernel's messages go to a file in `folder`.
    pub(crate) fn boot(name: &'static str, disks: &[Disk], folder: &Path) -> Self {
        let setting = |name| std::env::var_os(name).expect("run by tests/vm/run");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg", "-cpu", "max", "-m", "384", "-nodefaults"])
            .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-serial"])
            .arg(format!("file:{}", folder.join(format!("{name}.log")).display()))
            .arg("-kernel")
            .arg(setting("MMP_VM_KERNEL"))
            .arg("-initrd")
            .arg(setting("MMP_VM_INITRAMFS"))
            .args(["-append", &format!("console=ttyS1 panic=-1 node={name}")]);
        for disk in disks {
            let path = disk.path().display();
            let options = "format=raw,cache=none,if=virtio,file.locking=off";
            command.args(["-drive", &format!("file={path},{options}")]);
        }
        let errors = File::create(folder.join(format!("{name}.qemu"))).expect("create");
        let mut machine = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("qemu-system-x86_64");
        let (stdin, stdout) = (machine.stdin.take(), machine.stdout.take());
        let waiting = Waiting::default();
        let mut lines = BufReader::new(stdout.expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("@ready")), "{name} does not boot; see its log");
        let waiters = Arc::clone(&waiting);
        thread::spawn(move || {
            for line in lines {
                hear(&line, &waiters);
            }
            // Whoever still waits hears that the power is gone.
            waiters.lock().expect("lock").clear();
        });
        let line = Mutex::new((0, stdin.expect("piped")));
        Node { name, machine: Mutex::new(machine), line, waiting }
    }

    /// Runs a shell command there; code -1 if the machine is gone before the answer, or gives none.
    pub(crate) fn run(&self, command: &str) -> Reply {
        let (sender, answer) = channel();
        let began = Instant::now();
        {
            let (number, line) = &mut *self.line.lock().expect("lock");
            *number += 1;
            self.waiting.lock().expect("lock").insert(*number, sender);
            let sent = writeln!(line, "{number} {command}").and_then(|()| line.flush());
            if sent.is_err() {
                self.waiting.lock().expect("lock").remove(number);
            }
        }
        let (code, said) = answer.recv_timeout(ANSWER).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => (-1, format!("no answer within {} s", ANSWER.as_secs())),
            RecvTimeoutError::Disconnected => (-1, String::new()),
        });
        Reply { code, said, took: began.elapsed() }
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn must(&self, command: &str) -> Reply {
        let reply = self.run(command);
        assert_eq!(reply.code, 0, "{}: {command}: {}", self.name, reply.said);
        reply
    }

    /// Takes its power away.
    pub(crate) fn kill(&self) {
        let mut machine = self.machine.lock().expect("lock");
        let _ = machine.kill();
        let _ = machine.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn hear(line: &str, waiting: &Waiting) {
    let Some((_, answer)) = line.split_once('@') else { return };
    let mut fields = answer.splitn(3, ' ');
    let mut field = || fields.next().unwrap_or_default();
    let (number, code, said) = (field().parse(), field().parse(), field());
    if let (Ok(number), Ok(code)) = (number, code)
        && let Some(waiter) = waiting.lock().expect("lock").remove(&number)
    {
        let _ = waiter.send((code, String::from_utf8_lossy(&decode(said)).into_owned()));
    }
}

/// Base64, as far as it is well-formed.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().map_while(|c| DIGITS.iter().position(|digit| *digit == c));
    let (mut out, mut bits, mut count) = (Vec::new(), 0, 0);
    for digit in digits {
        bits = bits << 6 | digit;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xFF).expect("a byte"));
        }
    }
    out
}
