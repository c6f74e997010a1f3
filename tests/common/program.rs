//! Running programs, to their end or beside the test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::GUARD;

/// The suite's programs and where cargo has put them.
pub(crate) const PROGRAMS: [(&str, &str); 8] = [
    ("mmpcheck", env!("CARGO_BIN_EXE_mmpcheck")),
    ("mmpdump", env!("CARGO_BIN_EXE_mmpdump")),
    ("mmpd", env!("CARGO_BIN_EXE_mmpd")),
    ("mmprun", env!("CARGO_BIN_EXE_mmprun")),
    ("mmptune", env!("CARGO_BIN_EXE_mmptune")),
    ("mmpwatch", env!("CARGO_BIN_EXE_mmpwatch")),
    ("mount.mmp", env!("CARGO_BIN_EXE_mount-mmp")),
    ("mmptarget", env!("CARGO_BIN_EXE_mmptarget")),
];

/// So long after a program's end may live what it has started.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// How long a program that was killed is waited for.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A command in the C locale; a program of ours is the one just built, any other is the system's.
pub(crate) fn command(name: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
    let ours = PROGRAMS.iter().find(|(program, _)| *program == name);
    let mut command = Command::new(ours.map_or(name, |(_, path)| path));
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; 128+N for signal N.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Ended {
    /// Both outputs, for a look at what was said.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// It ended with `code`, and said all of `words`.
#[track_caller]
pub(crate) fn assert_ended(ended: &Ended, code: i32, words: &[&str]) {
    let said = ended.said();
    assert_eq!(ended.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "no '{word}': {said}");
    }
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Ended {
    let started = Instant::now();
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Ended {
        code: code(output.status),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: started.elapsed(),
    }
}

/// Runs a program to its end.
pub(crate) fn run(name: &str, arguments: &[impl AsRef<OsStr>]) -> Ended {
    ended(&mut command(name, arguments))
}

/// Runs a tool that must succeed; its output.
pub(crate) fn tool(name: &str, arguments: &[impl AsRef<OsStr>]) -> String {
    let ended = run(name, arguments);
    assert_eq!(ended.code, 0, "{name}: {}", ended.said());
    ended.out
}

/// A program that runs beside the test. It is killed when the test is over, however that ends.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    err: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(name: &str, arguments: &[impl AsRef<OsStr>]) -> Self {
        let mut command = command(name, arguments);
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(name);
        let (mut out, err) = (child.stdout.take().expect("piped"), child.stderr.take());
        let shared = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&shared);
        let readers = vec![
            thread::spawn(move || {
                let mut text = String::new();
                let _ = out.read_to_string(&mut text);
                text
            }),
            thread::spawn(move || {
                for line in BufReader::new(err.expect("piped")).lines().map_while(Result::ok) {
                    sink.lock().expect("lock").push_str(&(line + "\n"));
                }
                String::new()
            }),
        ];
        Running { child, started, err: shared, readers }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pid"))
    }

    /// How long ago it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it has said on standard error so far.
    pub(crate) fn err(&self) -> String {
        self.err.lock().expect("lock").clone()
    }

    /// Waits until standard error contains `text`; tells how long after the start that was.
    pub(crate) fn wait_for(&mut self, text: &str, at_most: Duration) -> Duration {
        let deadline = Instant::now() + at_most;
        while !self.err().contains(text) {
            let over =
                self.child.try_wait().expect("wait").is_some() && self.readers[1].is_finished();
            let late = Instant::now() > deadline;
            assert!(!over || self.err().contains(text), "ended without '{text}': {}", self.err());
            assert!(!late, "no '{text}' within {at_most:?}: {}", self.err());
            thread::sleep(Duration::from_millis(5));
        }
        self.started.elapsed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self, at_most: Duration) -> Ended {
        let deadline = Instant::now() + at_most;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < deadline, "still runs after {at_most:?}: {}", self.err());
            thread::sleep(Duration::from_millis(5));
        };
        let took = self.started.elapsed();
        // Else whatever it has left behind would be waited for, and never be seen.
        let deadline = Instant::now() + LEFT_BEHIND;
        while !self.readers.iter().all(JoinHandle::is_finished) {
            assert!(Instant::now() < deadline, "what it started lives on: {}", self.err());
            thread::sleep(Duration::from_millis(5));
        }
        let mut outputs = self.readers.drain(..).map(|reader| reader.join().expect("reader"));
        let out = outputs.next().unwrap_or_default();
        outputs.for_each(drop);
        Ended { code: code(status), out, err: self.err(), took }
    }
}

/// `mmpd hold`, once it holds the device.
pub(crate) fn held(device: impl AsRef<OsStr>) -> Running {
    let mut holder = Running::start("mmpd", &["hold".as_ref(), device.as_ref()]);
    holder.wait_for(": held\n", 3 * GUARD);
    holder
}

/// The process number that a command has told as `pid=` on standard error.
pub(crate) fn command_of(err: &str) -> Pid {
    let pid = err.lines().find_map(|line| line.strip_prefix("pid=")).expect("pid");
    Pid::from_raw(pid.parse().expect("number"))
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            // One that waits for a disk ends when that answers, which may be when it is dropped.
            let deadline = Instant::now() + LAST_WAIT;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
