//! What happens every day, and raises nothing.

use mmp::layout::Sequence;
use mmp::protocol::{Kmmpd, Mounted};

use super::scene::{MOUNTED, Scene, Writer, ragged};
use super::{A, B, FOREVER, OURS, local};

#[test]
fn no_alarm() {
    let claim = |writer: Writer, millis: u64| {
        writer.block(Sequence::Active(0x00C0_FFEE), millis).with_check_interval(10)
    };
    let d = Writer::mmpd("oss2", "sdc");
    let scenes = [
        ("a takeover by a kernel after a crash is told as a crash only", {
            let random = A.block(Sequence::Active(0x7777_7777), 60_000);
            Scene::new()
                .put(0, A.block(Sequence::Active(9), 0))
                .put(20_000, random)
                .beats(B, 1, 41_500, FOREVER)
        }),
        (
            "mounted elsewhere after an unmount",
            Scene::new().beats(A, 1, 0, 60_000).clean(60_000, A).beats(B, 1, 60_100, FOREVER),
        ),
        (
            "unmounted and mounted again between two looks",
            (0..20).fold(Scene::new(), |scene, turn| {
                let from = turn * 6_000 + turn * 77;
                scene.beats(A, 1, from, from + 5_900).clean(from + 5_990, A)
            }),
        ),
        (
            "handed back and forth",
            (0..10).fold(Scene::new(), |scene, turn| {
                let (from, writer) = (turn * 30_000, if turn % 2 == 0 { A } else { B });
                scene.beats(writer, 1, from, from + 29_000).clean(from + 29_900, writer)
            }),
        ),
        (
            "kmmpd held up for five seconds",
            Scene::new()
                .beats(A, 1, 0, 60_000)
                .beats(A, 13, 65_000, 66_000)
                .beats(A, 14, 80_000, FOREVER),
        ),
        (
            "claimed by mmpd, held, released",
            Scene::new()
                .clean(0, A)
                .put(10_000, claim(d, 10_000))
                .beats(d, 0x00C0_FFEF, 31_100, 60_000)
                .clean(60_200, d),
        ),
        (
            "a claim taken back",
            Scene::new()
                .clean(0, A)
                .put(10_000, claim(d, 10_000))
                .put(15_000, A.block(Sequence::Clean, 0)),
        ),
        (
            "a claim over a stale block taken back",
            Scene::new()
                .put(0, A.block(Sequence::Active(9), 0))
                .put(22_000, claim(d, 22_000))
                .put(30_000, A.block(Sequence::Active(9), 0))
                .clean(40_000, A),
        ),
        (
            "mmpd started anew",
            Scene::new().beats(d, 900_000_000, 0, 30_000).put(30_050, claim(d, 30_050)).beats(
                d,
                0x00C0_FFEF,
                51_100,
                FOREVER,
            ),
        ),
        (
            "a claim over a stale block taken back, seen soon after the watch began",
            Scene::new()
                .put(0, A.block(Sequence::Active(9), 0))
                .put(1_000, claim(d, 1_000))
                .put(9_000, A.block(Sequence::Active(9), 0))
                .clean(20_000, A),
        ),
        (
            "mmpd started anew at once, its random number a little ahead",
            Scene::new()
                .beats(d, 5000, 0, 30_000)
                .clean(30_000, d)
                .put(30_900, claim(d, 30_900).with_sequence(Sequence::Active(5037)))
                .clean(40_000, d),
        ),
        (
            "mmpd started anew a minute later, its random number a little ahead",
            Scene::new()
                .beats(d, 5000, 0, 30_000)
                .clean(30_000, d)
                .put(90_000, claim(d, 90_000).with_sequence(Sequence::Active(5049)))
                .clean(100_000, d),
        ),
        (
            "two that claim at once",
            Scene::new()
                .clean(0, A)
                .put(10_000, claim(A, 10_000))
                .put(10_300, claim(d, 10_300).with_sequence(Sequence::Active(0x0123_4567)))
                .beats(d, 0x0123_4568, 31_400, FOREVER),
        ),
        ("e2fsck for a moment", {
            let scene = Scene::new().clean(0, A).put(10_000, claim(A, 10_000));
            scene.state(21_100, A, Sequence::Fsck).clean(70_000, A)
        }),
        (
            "a watcher that was suspended while others took over",
            Scene::new()
                .beats(A, 1, 0, 60_000)
                .clean(60_000, A)
                .beats(B, 1, 80_000, 300_000)
                .clean(300_000, B)
                .beats(A, 3, 310_000, FOREVER)
                .paused(50_000, 59_500)
                .paused(70_000, 79_000)
                .paused(290_000, 299_900),
        ),
        (
            "mounted again while the watcher was suspended",
            Scene::new()
                .beats(A, 1, 0, 9_000)
                .clean(6_000, A)
                .beats(A, 1, 6_500, FOREVER)
                .paused(5_500, 12_000),
        ),
        (
            "a machine that was suspended with everything mounted",
            Scene::new()
                .beats(OURS, 1, 0, 60_000)
                .beats(OURS, 13, 124_000, FOREVER)
                .local(0, MOUNTED)
                .paused(60_500, 69_900)
                .paused(70_000, 79_900)
                .paused(80_000, 89_900)
                .paused(90_000, 99_900)
                .paused(100_000, 109_900)
                .paused(110_000, 119_900),
        ),
        (
            "remounted read-only and back",
            Scene::new()
                .local(0, MOUNTED)
                .beats(OURS, 1, 0, 30_000)
                .clean(30_000, OURS)
                .local(30_700, local(Mounted::ReadOnly, Kmmpd::Absent))
                .local(60_300, MOUNTED)
                .beats(OURS, 1, 60_200, FOREVER),
        ),
    ];
    for (name, scene) in scenes {
        for jitter in [vec![], ragged()] {
            let watched = scene.clone().jitter(jitter).watch(200_000);
            assert!(watched.names().is_empty(), "{name}: {:?}", watched.changes);
        }
    }
}
