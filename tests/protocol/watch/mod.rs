//! What raises an alarm, when, and what does not.

mod everyday;
mod healthy;
mod scene;

use crate::harness::ms;
use mmp::layout::{Invalid, Sequence};
use mmp::protocol::{Cause, Cleaned, Condition, Kmmpd, Local, Mounted};
use scene::{HERE, MOUNTED, Scene, Writer, ragged, wall};

const A: Writer = Writer::kmmpd("oss1", "sdb");
const B: Writer = Writer::kmmpd("oss2", "sdc");
const OURS: Writer = Writer::kmmpd(HERE, "sdb");
const FOREVER: u64 = 1_000_000;

fn local(mounted: Mounted, kmmpd: Kmmpd) -> Local {
    Local { mounted, kmmpd }
}

/// A and B both mounted: B from `from` on, until both are gone at `to`.
fn both(a: Writer, b: Writer, from: u64, to: u64) -> Scene {
    Scene::new().beats(a, 1, 0, to).beats(b, 1, from, to)
}

/// The alarm, and how long after B began.
fn seen_after(scene: &Scene, from: u64) -> u64 {
    let watched = scene.watch(from + 30_000);
    assert_eq!(watched.names(), ["+second-writer"], "{:?}", watched.changes);
    assert_eq!(watched.conditions.last(), Some(&Condition::InUse));
    watched.when("+second-writer") - from
}

#[test]
fn two_kernels_are_seen_within_two_updates_wherever_they_meet() {
    for offset in (25..=4975).step_by(25) {
        let from = 60_000 + offset;
        let took = seen_after(&both(A, B, from, FOREVER), from);
        assert!(took <= 10_000, "offset {offset}: {took}");
    }
}

#[test]
fn a_second_writer_is_seen_where_it_is_mounted() {
    let watched = both(OURS, B, 62_000, FOREVER).local(0, MOUNTED).watch(90_000);
    assert_eq!(watched.names(), ["+second-writer"]);
}

#[test]
fn two_kernels_of_one_name_are_seen_by_their_numbers() {
    for from in (0..60_000).step_by(725) {
        let offset = from % 5000;
        // Of one name, with the same number, within one second: that is the same block.
        let same_bytes = from < 5000 && offset < 1000;
        if (25..=4975).contains(&offset) && !same_bytes {
            let took = seen_after(&both(A, A, from, FOREVER), from);
            assert!(took <= 10_000, "from {from}: {took}");
        }
    }
}

#[test]
fn two_kernels_that_write_close_together_are_seen_too() {
    for offset in [1, 3, 8, 15] {
        let scene = both(A, B, 60_000 + offset, FOREVER).jitter(vec![(1, 0), (2, 1), (1, 3)]);
        let watched = scene.watch(FOREVER);
        assert!(watched.names().starts_with(&["+second-writer"]), "{offset}");
    }
}

#[test]
fn an_update_interval_of_0_is_5() {
    let watched = Scene::new().beats(A, 1, 0, FOREVER).update_interval(0).watch(60_000);
    assert!(watched.names().is_empty());
    assert_eq!(watched.conditions.last(), Some(&Condition::InUse));
}

#[test]
fn looks_are_few() {
    let watched = Scene::new().beats(A, 1, 0, FOREVER).watch(600_000);
    assert!(watched.looks < 600 * 7, "{}", watched.looks);
}

#[test]
fn the_pace_of_the_last_updates_is_known() {
    let d = Writer::mmpd("oss2", "sdc");
    let scene =
        Scene::new().beats(A, 1, 0, 400_000).clean(400_000, A).beats(d, 9, 410_000, FOREVER);
    let pace = |millis| scene.clone().paused(200_000, 211_000).watch(millis).intervals;
    let late = ms(300);
    let slow = pace(390_000);
    assert!(slow.iter().all(|interval| *interval < ms(5000) + late), "{slow:?}");
    let both = pace(415_500);
    assert!(both[0] < ms(1000) + late && both[20] > ms(4900), "{both:?}");
    assert_eq!(pace(600_000).len(), 64);
}

#[test]
fn a_second_writer_is_raised_once_and_cleared_once_the_other_is_gone() {
    let scene = Scene::new().beats(A, 1, 0, 300_000).beats(B, 1, 61_000, 150_000);
    let watched = scene.jitter(ragged()).watch(290_000);
    assert_eq!(watched.names(), ["+second-writer", "-second-writer"], "{:?}", watched.changes);
    let cleared = watched.when("-second-writer");
    assert!((170_000..180_000).contains(&cleared), "{cleared}");
}

#[test]
fn a_thawed_file_system_is_a_second_writer() {
    // A freezes for longer than the guard interval, B takes over, A thaws.
    let scene = Scene::new().beats(A, 1, 0, 60_000).beats(B, 1, 90_000, FOREVER);
    let scene =
        scene.state(89_000, A, Sequence::Active(0x1234_5678)).beats(A, 13, 132_000, 1 << 20);
    let watched = scene.watch(150_000);
    assert_eq!(watched.names(), ["+stalled", "+stalled", "-stalled", "+second-writer"]);
    assert!(watched.when("+second-writer") <= 137_300);
}

#[test]
fn a_rude_writer_over_a_holder_that_defends_is_a_second_writer() {
    let a = Writer::mmpd("oss1", "sdb");
    for rude in [Sequence::Active(0x0BAD_CAFE), Sequence::Clean, Sequence::Fsck] {
        let scene = Scene::new().beats(a, 5000, 0, FOREVER).state(30_300, B, rude);
        let watched = scene.watch(45_000);
        assert_eq!(watched.names(), ["+second-writer", "-second-writer"], "{rude:?}");
    }
}

#[test]
fn a_sequence_that_goes_back_once() {
    let scene = Scene::new().beats(A, 100, 0, 60_000).beats(A, 105, 60_000, FOREVER);
    let watched = scene.watch(120_000);
    assert_eq!(watched.names(), ["+sequence-back", "-sequence-back"]);
    // A late write of somebody who is gone is no sign of life.
    let scene = Scene::new().beats(A, 100, 0, 60_001).state(62_000, A, Sequence::Active(105));
    assert_eq!(scene.watch(83_000).names(), ["+sequence-back"]);
}

#[test]
fn two_of_one_name_that_count_in_step() {
    let scene = Scene::new().beats(A, 100, 0, FOREVER).beats(A, 102, 12_000, FOREVER);
    let watched = scene.watch(60_000);
    assert_eq!(watched.names(), ["+second-writer"], "{:?}", watched.changes);
    assert!(watched.when("+second-writer") <= 13_000);
}

#[test]
fn the_fastest_holder_is_one_holder() {
    let fast = Writer::mmpd("oss1", "sdb").every(100);
    for jitter in [vec![], ragged()] {
        let scene = Scene::new().beats(fast, 5000, 0, 30_000).jitter(jitter);
        let watched = scene.watch(29_000);
        assert!(watched.names().is_empty(), "{:?}", watched.changes);
        let alive = [Condition::Unread, Condition::Active, Condition::InUse];
        assert_eq!(watched.conditions, alive);
    }
}

#[test]
fn a_silent_holder() {
    for (writer, own, guard) in [(A, 15_000, 21_250), (Writer::mmpd("x", "y"), 7_500, 11_250)] {
        let last = 60_000;
        let watched = Scene::new().beats(writer, 1, 0, last + 1).watch(200_000);
        assert_eq!(watched.names(), ["+stalled", "+stalled"]);
        let beyond = watched.causes.iter().map(|cause| match cause {
            Cause::Stalled { beyond_guard, was_alive: true, .. } => *beyond_guard,
            other => panic!("{other:?}"),
        });
        assert_eq!(beyond.collect::<Vec<_>>(), [false, true]);
        let times: Vec<_> = watched.changes.iter().map(|(millis, _)| millis - last).collect();
        let late = Scene::new().beats(writer, 1, 0, last + 1).watch(last + own + 1000);
        assert_eq!(late.conditions.last(), Some(&Condition::InUse));
        assert!((own..own + 600).contains(&times[0]), "{times:?}");
        assert!((guard..guard + 600).contains(&times[1]), "{times:?}");
        assert_eq!(watched.conditions.last(), Some(&Condition::Stale));
        let back = Scene::new().beats(writer, 1, 0, last + 1).beats(writer, 80, 130_000, FOREVER);
        assert_eq!(back.watch(200_000).names(), ["+stalled", "+stalled", "-stalled"]);
        assert_eq!(back.watch(130_500).conditions.last(), Some(&Condition::InUse));
    }
}

#[test]
fn a_block_left_by_a_crash_is_told_once_nobody_can_be_claiming_it() {
    let watched = Scene::new().state(0, A, Sequence::Active(7)).watch(100_000);
    assert_eq!(watched.names(), ["+stalled"]);
    assert!(watched.when("+stalled") > 31_000);
}

#[test]
fn frozen_here() {
    let running = Scene::new().beats(OURS, 1, 0, 60_001).beats(OURS, 14, 130_000, FOREVER);
    for (kmmpd, at_most) in [(Kmmpd::Frozen, 7_600), (Kmmpd::Unknown, 9_600)] {
        let frozen = local(Mounted::ReadWrite, kmmpd);
        let before = if kmmpd == Kmmpd::Frozen { MOUNTED } else { frozen };
        let scene = running.clone().local(0, before).local(61_000, frozen);
        // Its next write may come later than a look.
        let thawed = if kmmpd == Kmmpd::Frozen { 125_500 } else { 129_500 };
        let watched = scene.clone().local(thawed, before).watch(160_000);
        assert_eq!(watched.names(), ["+frozen", "-frozen"], "{:?}", watched.changes);
        let by_kernel = kmmpd == Kmmpd::Frozen;
        assert!(matches!(watched.causes[0], Cause::Frozen { seen, .. } if seen == by_kernel));
        let took = watched.when("+frozen") - 60_000;
        assert!(took <= at_most, "{took}");
    }
    // A heartbeat that is only late, where nobody sees what holds it up.
    let late = Scene::new().beats(OURS, 1, 0, 60_001).beats(OURS, 14, 68_500, FOREVER);
    let late = late.local(0, local(Mounted::ReadWrite, Kmmpd::Unknown));
    assert!(late.watch(100_000).names().is_empty());
    // A writer that is seen to write, or to be gone, is not frozen.
    for kmmpd in [Kmmpd::Running, Kmmpd::Absent] {
        let scene = running.clone().local(0, local(Mounted::ReadWrite, kmmpd));
        assert_eq!(scene.watch(160_000).names(), ["+stalled", "+stalled", "-stalled"]);
    }
}

#[test]
fn a_snapshot_freezes_for_a_moment() {
    let frozen = local(Mounted::ReadWrite, Kmmpd::Frozen);
    let mut scene = Scene::new().beats(OURS, 1, 0, FOREVER).local(0, MOUNTED);
    for begin in (10_000..200_000).step_by(7_300) {
        scene = scene.local(begin, frozen).local(begin + 1_500, MOUNTED);
    }
    assert!(scene.watch(200_000).names().is_empty());
    // It holds up a heartbeat.
    let held_up = Scene::new().beats(OURS, 1, 0, 60_001).beats(OURS, 14, 66_000, FOREVER);
    let held_up = held_up.local(0, MOUNTED).local(64_500, frozen).local(66_000, MOUNTED);
    assert!(held_up.watch(100_000).names().is_empty());
}

#[test]
fn clean_while_mounted_here() {
    let mounted = Scene::new().beats(OURS, 1, 0, 60_001).local(0, MOUNTED);
    // The kernel gave up, or it died: nobody goes on.
    for (left, told) in [
        (local(Mounted::Emergency, Kmmpd::Absent), true),
        (local(Mounted::ReadWrite, Kmmpd::Absent), true),
        (local(Mounted::ReadWrite, Kmmpd::Frozen), true),
        (local(Mounted::ReadOnly, Kmmpd::Absent), false),
        (local(Mounted::No, Kmmpd::Absent), false),
    ] {
        let scene = mounted.clone().clean(62_000, OURS).local(62_000, left);
        let watched = scene.watch(90_000);
        assert_eq!(watched.names(), if told { &["+clean-while-mounted"][..] } else { &[] });
        let expected = match left.mounted {
            Mounted::Emergency => Cleaned::Emergency,
            _ => Cleaned::Stands,
        };
        let is_it = |cause: &Cause| matches!(cause, Cause::CleanWhileMounted { how, .. } if *how == expected);
        assert!(watched.causes.iter().all(is_it), "{:?}", watched.causes);
        let at = watched.changes.first().map(|(millis, _)| *millis);
        assert!(at.is_none_or(|at| (65_000..66_000).contains(&at)), "{at:?}");
    }
    // Somebody else's late unmount: our kernel goes on.
    let scene = Scene::new().beats(OURS, 1, 0, FOREVER).local(0, MOUNTED).clean(61_900, B);
    let watched = scene.watch(100_000);
    assert_eq!(watched.names(), ["+clean-while-mounted", "-clean-while-mounted"]);
    assert!(watched.when("+clean-while-mounted") <= 65_500);
    // What has not been looked at since is not known to stand.
    assert!(scene.hangs(62_500, 71_000).watch(70_000).names().is_empty());
}

#[test]
fn another_node_holds_what_is_mounted_here() {
    let frozen = local(Mounted::ReadWrite, Kmmpd::Frozen);
    let scene = Scene::new().beats(OURS, 1, 0, 60_001).local(0, MOUNTED).local(61_000, frozen);
    let claim = A.block(Sequence::Active(0x0BAD_CAFE), 80_000);
    let watched = scene.put(80_000, claim).beats(B, 1, 101_000, FOREVER).watch(130_000);
    assert_eq!(watched.names(), ["+frozen", "-frozen", "+foreign-holder"]);
    // Not before our own kernel would have written, had it the block.
    let scene =
        Scene::new().beats(OURS, 1, 0, 60_001).local(0, local(Mounted::ReadWrite, Kmmpd::Absent));
    let watched = scene.clean(79_000, B).beats(B, 1, 80_000, FOREVER).watch(100_000);
    assert_eq!(watched.names(), ["+stalled", "-stalled", "+foreign-holder"]);
    assert!((87_000..88_000).contains(&watched.when("+foreign-holder")), "{:?}", watched.changes);
    // A name is ours as a whole, or as much of it as a field holds.
    let frozen = |node, device, here| {
        let scene = Scene::new().beats(Writer::kmmpd(node, device), 1, 0, FOREVER);
        let scene = scene.local(0, local(Mounted::ReadWrite, Kmmpd::Absent)).watched_by(here);
        scene.watch(60_000).names().concat()
    };
    let long = "a-host-name-of-seventy-bytes-which-is-more-than-the-field-of-the-block";
    assert_eq!(frozen("her", "sdb", HERE), "+foreign-holder");
    assert_eq!(frozen(HERE, "sdb", HERE), "");
    assert_eq!((long.len(), frozen(long, "sdb", long)), (70, String::new()));
    // Our own kernel, which has kept the name that this machine had when it mounted.
    let renamed = Scene::new().beats(A, 1, 0, FOREVER).local(0, MOUNTED);
    assert!(renamed.watch(130_000).names().is_empty());
}

#[test]
fn what_says_all_by_itself() {
    for (sequence, condition) in [
        (Sequence::Clean, Condition::Clean),
        (Sequence::Unknown(!0), Condition::Unknown),
        (Sequence::Fsck, Condition::Fsck),
    ] {
        let watched = Scene::new().state(0, A, sequence).watch(60_000);
        assert_eq!(watched.conditions, [Condition::Unread, condition]);
        assert!(watched.names().is_empty(), "{:?}", watched.changes);
    }
}

#[test]
fn e2fsck_lives_or_is_dead() {
    let mut scene = Scene::new();
    for millis in (0..300_000).step_by(61_000) {
        scene = scene.state(millis, A, Sequence::Fsck);
    }
    let watched = scene.clone().watch(600_000);
    assert_eq!(watched.names(), ["+fsck-alive", "-fsck-alive", "+fsck-dead"]);
    assert!((61_000..62_000).contains(&watched.when("+fsck-alive")));
    assert!((376_000..378_000).contains(&watched.when("+fsck-dead")));
    assert_eq!(watched.conditions, [Condition::Unread, Condition::Fsck]);
    let done = scene.clean(310_000, A).watch(600_000);
    assert_eq!(done.names(), ["+fsck-alive", "-fsck-alive"]);
    // That another begins is no sign of life of either.
    let other = Scene::new().state(0, A, Sequence::Fsck).state(30_000, B, Sequence::Fsck);
    assert!(other.watch(90_000).names().is_empty());
}

#[test]
fn clocks_that_differ() {
    for ahead in [-3600, 31, 45, 1_000_000_000] {
        let watched = Scene::new().beats(A.ahead(ahead), 1, 0, FOREVER).watch(60_000);
        assert_eq!(watched.names(), ["+clock-skew"], "{ahead}");
        let set = Scene::new().beats(A.ahead(ahead), 1, 0, 60_000).beats(A, 13, 60_000, FOREVER);
        assert_eq!(set.watch(90_000).names(), ["+clock-skew", "-clock-skew"], "{ahead}");
    }
    let once = Scene::new().beats(A, 1, 0, 30_000).beats(A, 8, 35_000, FOREVER);
    let once = once.state(30_000, A.ahead(3600), Sequence::Active(7));
    assert!(once.watch(60_000).names().is_empty());
    // That of an e2fsck is nobody's concern.
    let fsck = (0..4).fold(Scene::new(), |scene, minute| {
        scene.state(minute * 60_000, A.ahead(3600), Sequence::Fsck)
    });
    assert_eq!(fsck.watch(200_000).names(), ["+fsck-alive"]);
    // Whose clock it is that is wrong is not known once nobody writes.
    let left = Scene::new().beats(A.ahead(3600), 1, 0, 30_000).clean(30_000, A);
    assert_eq!(left.watch(60_000).names(), ["+clock-skew", "-clock-skew"]);
    // A kernel that claims leaves the time that a crash has left.
    let old = |number| A.ahead(-3600).block(Sequence::Active(number), 0);
    let taken =
        Scene::new().put(0, old(9)).put(22_000, old(0x7777_7777)).beats(B, 1, 43_500, FOREVER);
    assert!(taken.watch(90_000).names().is_empty());
    for ahead in [-29, 0, 29] {
        assert!(Scene::new().beats(A.ahead(ahead), 1, 0, FOREVER).watch(60_000).names().is_empty());
    }
}

#[test]
fn what_cannot_be_read() {
    let checksum = Invalid::Checksum { stored: 1, computed: 2 };
    let magic = Invalid::Magic { found: 0 };
    let running = Scene::new().beats(A, 1, 0, 30_000);
    for (scene, told, condition) in [
        (running.clone().invalid(30_000, checksum), "bad-checksum", Condition::Invalid(checksum)),
        (running.clone().invalid(30_000, magic), "bad-magic", Condition::Invalid(magic)),
        (running.clone().fails(30_000), "unreadable", Condition::Unreadable),
    ] {
        let watched = scene.beats(A, 7, 60_000, FOREVER).watch(90_000);
        assert_eq!(watched.names(), [format!("+{told}"), format!("-{told}")]);
        assert!(watched.conditions.contains(&condition), "{:?}", watched.conditions);
        assert!(watched.when(&format!("+{told}")) <= 30_500);
    }
}

#[test]
fn a_device_that_hangs() {
    let watched = Scene::new().beats(A, 1, 0, FOREVER).hangs(30_000, 50_000).watch(90_000);
    assert_eq!(watched.names(), ["+unreadable", "-unreadable"]);
    assert!((40_000..42_000).contains(&watched.when("+unreadable")));
}

#[test]
fn torn_reads_and_single_errors_are_no_alarm() {
    let mut scene = Scene::new().beats(A, 1, 0, 200_000);
    for millis in (5000..200_000).step_by(5000) {
        let number = u32::try_from(millis / 5000).expect("small");
        let torn = Invalid::Checksum { stored: number, computed: 0 };
        let whole = A.block(Sequence::Active(number + 1), millis);
        scene = scene.invalid(millis, torn).put(millis + 60, whole.clone());
        scene = scene.fails(millis + 900).put(millis + 960, whole);
    }
    assert!(scene.watch(200_000).names().is_empty());
}

#[test]
fn the_wall_clock_of_a_scene_moves() {
    assert_eq!(wall(61_000) - wall(0), 61);
}
