//! kill -9 at random moments: whatever was under way, the block is whole, e2fsck finds nothing, and
//! the next one gets in.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mmp::layout::Sequence;
use nix::sys::signal::Signal;

use crate::common::image::Image;
use crate::common::program::{Running, run};
use crate::common::suite::Suite;
use crate::{GUARD, SLACK, held};

/// Kills of holders: while they claim, hold, and release.
const HOLDERS: usize = 160;
/// Kills of changes.
const CHANGES: usize = 150;
/// So many of each at once: they wait, and so do e2fsck and mmpcheck for a block left in use.
const AT_ONCE: usize = 80;
/// Of so many holders killed one has a successor.
const NEXT: usize = 20;

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("kill -9 while claiming, holding and releasing", || {
        many("holders", HOLDERS, holder);
    });
    suite.case("kill -9 while changing", || many("changes", CHANGES, change));
}

/// Runs `killed` with so many seeds, several at once; counts what it says.
fn many(what: &str, count: usize, killed: fn(u64) -> String) {
    let start = fastrand::u64(..1 << 40);
    let one = std::env::var("MMP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None => (start..).take(count).collect(),
    };
    let (queue, counted) = (Mutex::new(seeds.iter()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(seeds.len()) {
            scope.spawn(|| {
                loop {
                    let Some(seed) = queue.lock().expect("lock").next() else { return };
                    let state = std::panic::catch_unwind(|| killed(*seed));
                    let state = state.unwrap_or_else(|_| {
                        // No more after this.
                        queue.lock().expect("lock").by_ref().for_each(drop);
                        panic!("MMP_SEED={seed}")
                    });
                    *counted.lock().expect("lock").entry(state).or_insert(0) += 1;
                }
            });
        }
    });
    let counted = counted.into_inner().expect("lock");
    println!("{what}: {} kills, seeds from {start}: {counted:?}", seeds.len());
    assert!(one.is_some() || counted.len() > 1, "always killed at the same point");
}

/// A copy of a file system with two groups, so that there are backups.
fn image(mmp: bool) -> Image {
    static MADE: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    let feature = if mmp { "mmp" } else { "^mmp" };
    let features = format!("^has_journal,{feature}");
    let options = ["-b", "1024", "-g", "1024", "-N", "16", "-O", &features];
    let content = MADE[usize::from(mmp)].get_or_init(|| Image::with(&options, "2100K").content());
    Image::bytes(content)
}

/// A holder's life, shortened: about the guard interval to claim, 3 s to hold, then the release.
fn holder(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let image = image(true);
    let mut holder = Running::start("mmpd", &["hold", image.name()]);
    let phase = rng.u8(..4);
    match phase {
        // Around the claim's write, and anywhere in its wait.
        0 => thread::sleep(Duration::from_micros(rng.u64(..60_000))),
        1 => thread::sleep(GUARD.mul_f64(rng.f64())),
        2 => {
            holder.wait_for(": held\n", 2 * GUARD + SLACK);
            thread::sleep(Duration::from_millis(rng.u64(..3000)));
        }
        _ => {
            holder.wait_for(": held\n", 2 * GUARD + SLACK);
            holder.signal(Signal::SIGTERM);
            thread::sleep(Duration::from_micros(rng.u64(..6000)));
        }
    }
    holder.signal(Signal::SIGKILL);
    let code = holder.end(SLACK).code;
    assert!(code == 137 || phase == 3 && code == 0, "{code}");
    let block = image.block();
    block.verify(image.area().checksum).expect("a whole block");
    let phase = ["starting", "claiming", "holding", "releasing"][usize::from(phase)];
    let left = match block.sequence() {
        Sequence::Clean => "clean",
        Sequence::Active(_) => "active",
        other => panic!("left {other}"),
    };
    image.assert_fsck_clean();
    if seed.is_multiple_of(NEXT as u64) {
        let next = held(image.path());
        next.signal(Signal::SIGTERM);
        assert_eq!(next.end(SLACK).code, 0);
    }
    format!("{phase}, left {left}")
}

/// A change from beginning to end takes some hundredths of a second.
fn change(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mmp, clear) = (rng.bool(), rng.u8(..4) == 0);
    let image = image(mmp);
    let change: &[&str] = match (mmp, clear) {
        (true, true) => &["-f", "-f", "-E", "clear_mmp"],
        (true, false) => &["--no-guard", "-O", "^mmp"],
        (false, _) => &["-O", "mmp"],
    };
    let arguments = [change, &[image.name()]].concat();
    // How long it takes here and now, on another image.
    let other = self::image(mmp);
    let began = Instant::now();
    assert_eq!(run("mmptune", &[change, &[other.name()]].concat()).code, 0);
    let long = began.elapsed();
    let running = Running::start("mmptune", &arguments);
    thread::sleep(long.mul_f64(rng.f64() * 1.2));
    running.signal(Signal::SIGKILL);
    let code = running.end(SLACK).code;
    assert!(code == 137 || code == 0, "{code}");
    // Not forced: whatever is half done must say so itself.
    let fixed = run("e2fsck", &["-p", image.name()]);
    assert!(fixed.code <= 1, "{}", fixed.said());
    image.assert_fsck_clean();
    let dump = run("mmpdump", &["-h", image.name()]);
    assert_eq!(dump.code, 0, "{}", dump.said());
    let features = dump.out.lines().find(|line| line.contains("eatures:")).unwrap_or_default();
    let on = features.split_whitespace().any(|feature| feature == "mmp");
    if on {
        let told = run("mmpcheck", &[image.name()]);
        assert_eq!(told.code, 0, "{}", told.said());
    }
    let what = if mmp && clear {
        "clearing"
    } else if mmp {
        "turning off"
    } else {
        "turning on"
    };
    format!(
        "{what}, left {}{}",
        if on { "on" } else { "off" },
        if fixed.code == 1 { ", put right" } else { "" }
    )
}
