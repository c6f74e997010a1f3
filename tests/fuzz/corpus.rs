//! Every input kept, and some thousands of mutations of them, through its target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::suite::Suite;
use crate::targets::{TARGETS, Target};

/// How long each target's inputs are mutated.
const TIME: Duration = Duration::from_secs(5);

pub(crate) fn cases(suite: &mut Suite) {
    for (name, target) in TARGETS {
        suite.case(format!("corpus of {name}"), move || over_corpus(name, target));
    }
}

fn over_corpus(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&folder).expect("corpus") {
        let path = entry.expect("entry").path();
        let input = fs::read(&path).expect("read");
        tried(target, &input, &path.display().to_string());
        inputs.push(input);
    }
    assert!(!inputs.is_empty(), "{}: no inputs; see fuzz/seeds", folder.display());
    let seed = std::env::var("MMP_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seeds = seed.into_iter().chain(fastrand::u64(..1 << 40)..);
    let (started, mut count) = (Instant::now(), 0);
    for seed in seeds.by_ref() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let input = mutated(&inputs[rng.usize(..inputs.len())], &mut rng);
        tried(target, &input, &format!("MMP_SEED={seed}"));
        count += 1;
        if started.elapsed() > TIME {
            break;
        }
    }
    println!("{name}: {} inputs, {count} mutations", inputs.len());
}

/// Names the input that breaks a promise.
fn tried(target: Target, input: &[u8], origin: &str) {
    let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
    assert!(ended.is_ok(), "{origin}");
}

fn mutated(input: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.usize(1..8) {
        // What matters most lies in the first 2 KiB.
        let end = if rng.bool() { bytes.len().min(2048) } else { bytes.len() };
        if end == 0 {
            continue;
        }
        let at = rng.usize(..end);
        match rng.u8(..4) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.usize(..5)],
            _ => {
                let value = rng.u32(..) >> rng.u8(..32);
                let raw = value.to_le_bytes();
                let len = raw.len().min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&raw[..len]);
            }
        }
    }
    bytes
}
