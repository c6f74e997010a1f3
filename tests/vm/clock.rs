//! The wall clock is set while a device is held. It cannot be set on the machine that runs the
//! tests without harm to others.

use std::thread;
use std::time::Duration;

use crate::disk::{Delay, Disk};
use crate::{Case, GUARD, Pair, SLACK};

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 3652 * 24 * HOUR;

/// Whether the holder runs; one that has ended may not have been waited for, and has no words.
const ALIVE: &str = r#"[ -n "$(cat /proc/$(cat /tmp/hold.pid)/cmdline 2>/dev/null)" ]"#;

/// Cases that set machine A's clock, which the others may look at.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("the wall clock is set while held", set)]
}

fn set(pair: &Pair, disk: &Disk) {
    disk.format();
    for node in [&pair.a, &pair.b] {
        disk.connect(node, Delay::default());
    }
    let device = disk.device();
    pair.a.must(&format!("mmpd hold {device} >/tmp/hold.out 2>&1 & echo $! >/tmp/hold.pid"));
    let began = std::time::Instant::now();
    while pair.a.run("grep ': held' /tmp/hold.out").code != 0 {
        assert!(began.elapsed() < GUARD + 3 * SLACK, "not held");
        thread::sleep(Duration::from_millis(500));
    }
    // By so much from the right time, and back to it at the end.
    let mut at = 0;
    for to in [HOUR, -HOUR, TEN_YEARS, -TEN_YEARS, 0] {
        pair.a.must(&format!("date -s @$(($(date +%s) + {}))", to - at));
        at = to;
        thread::sleep(Duration::from_secs(2));
        let year = pair.a.must("date +%Y").said;
        let told = pair.b.run(&format!("mmpcheck {device}"));
        assert_eq!(told.code, 1, "{to} s: {}", told.said);
        assert!(told.said.contains("in use by node 'vm-a'"), "{to} s: {}", told.said);
        // Only what is for people shows it.
        assert!(told.said.contains(year.trim()), "{to} s, in {year}: {}", told.said);
        assert!(told.took < GUARD, "{to} s: {:?}", told.took);
        pair.a.must(ALIVE);
    }
    pair.a.must(&format!("kill $(cat /tmp/hold.pid); while {ALIVE}; do sleep 1; done"));
    let said = pair.a.run("cat /tmp/hold.out").said;
    assert!(!said.contains("lost") && !said.contains("somebody else"), "{said}");
    let told = pair.b.must(&format!("mmpcheck {device}"));
    assert!(told.said.contains("MMP is clean"), "{}", told.said);
    for node in [&pair.a, &pair.b] {
        disk.disconnect(node);
    }
    disk.check();
}
