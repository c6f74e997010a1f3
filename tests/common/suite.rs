//! A test program whose tests have needs, made of named cases.
//!
//! Where a need is missing, each case says so and is counted as ignored; with `CI=true` it fails,
//! so that nothing goes untested there unnoticed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Where Debian puts the parser of metrics.
const PROMETHEUS_CLIENT: &str = "/usr/lib/python3/dist-packages/prometheus_client/parser.py";

/// What must be there for a test to mean anything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    Root,
    E2fsprogs,
    LoopDevices,
    KernelExt4,
    Fuse,
    Jq,
    Mandoc,
    Fio,
    Tmux,
    PrometheusClient,
    Systemd,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Need::Root => "root",
            Need::E2fsprogs => "e2fsprogs",
            Need::LoopDevices => "loop devices",
            Need::KernelExt4 => "ext4 in the kernel",
            Need::Fuse => "FUSE",
            Need::Jq => "jq",
            Need::Mandoc => "mandoc",
            Need::Fio => "fio",
            Need::Tmux => "tmux",
            Need::PrometheusClient => "python3-prometheus-client",
            Need::Systemd => "systemd-analyze",
        }
    }

    fn is_met(self) -> bool {
        let found = |tool: &str| {
            ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
                .iter()
                .any(|d| Path::new(d).join(tool).exists())
        };
        match self {
            Need::Root => fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0),
            Need::E2fsprogs => {
                ["mke2fs", "e2fsck", "dumpe2fs", "e2mmpstatus", "debugfs"].into_iter().all(found)
            }
            Need::Fio => found("fio"),
            Need::Tmux => found("tmux"),
            Need::LoopDevices => found("losetup") && fs::File::open("/dev/loop-control").is_ok(),
            Need::KernelExt4 => fs::read_to_string("/proc/filesystems")
                .is_ok_and(|table| table.lines().any(|line| line.trim() == "ext4")),
            Need::Jq => found("jq"),
            Need::Mandoc => found("mandoc"),
            Need::Fuse => fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok(),
            Need::PrometheusClient => Path::new(PROMETHEUS_CLIENT).exists(),
            Need::Systemd => found("systemd-analyze"),
        }
    }
}

/// Cases that share their needs.
pub(crate) struct Suite {
    missing: Option<String>,
    trials: Vec<Trial>,
}

impl Suite {
    pub(crate) fn new(needs: &[Need]) -> Self {
        let mut suite = Suite { missing: None, trials: Vec::new() };
        suite.need(needs);
        suite
    }

    /// What the cases added from here on need, instead.
    pub(crate) fn need(&mut self, needs: &[Need]) {
        let missing: Vec<_> = needs.iter().filter(|n| !n.is_met()).map(|n| n.name()).collect();
        self.missing = (!missing.is_empty()).then(|| format!("needs {}", missing.join(", ")));
    }

    /// Adds a test; it passes if `run` does not panic.
    pub(crate) fn case(&mut self, name: impl Into<String>, run: impl FnOnce() + Send + 'static) {
        let missing = self.missing.clone();
        let trial = Trial::test(name, move || match missing {
            None => {
                run();
                Ok(())
            }
            Some(missing) => Err(Failed::from(missing)),
        });
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        self.trials.push(match &self.missing {
            Some(missing) if !in_ci => {
                trial.with_kind(format!("skipped: {missing}")).with_ignored_flag(true)
            }
            _ => trial,
        });
    }

    /// Runs the cases, `threads` at a time unless the command line says otherwise: they mostly
    /// wait.
    pub(crate) fn run(self, threads: usize) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(threads);
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }
}
