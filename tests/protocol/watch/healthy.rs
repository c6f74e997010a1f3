//! Whatever healthy writers do, in any order and at any pace of looks, raises nothing.

use mmp::layout::Sequence;
use proptest::prelude::*;

use super::scene::{Scene, Writer};

/// Who holds it, for how long, and how it is handed on.
#[derive(Clone, Debug)]
enum Spell {
    /// A kernel, which writes a little late each time, and unmounts.
    Kernel { who: usize, beats: Vec<u64> },
    /// mmpd: claims, holds, releases.
    Daemon { who: usize, draw: u32, beats: u32 },
    /// A claim that is given up.
    GivenUp { who: usize, draw: u32, after: u64 },
    /// Nobody.
    Nobody { millis: u64 },
}

const KERNELS: [Writer; 3] =
    [Writer::kmmpd("oss1", "sdb"), Writer::kmmpd("oss2", "sdb"), Writer::kmmpd("oss1", "dm-3")];
const DAEMONS: [Writer; 3] =
    [Writer::mmpd("oss1", "sdb"), Writer::mmpd("oss2", "sdb"), Writer::mmpd("oss1", "dm-3")];

fn spell() -> impl Strategy<Value = Spell> {
    prop_oneof![
        (0..3usize, prop::collection::vec(0..4000u64, 0..12))
            .prop_map(|(who, beats)| Spell::Kernel { who, beats }),
        (0..3usize, any::<u32>(), 0..40u32).prop_map(|(who, draw, beats)| Spell::Daemon {
            who,
            draw,
            beats
        }),
        (0..3usize, any::<u32>(), 20..9000u64).prop_map(|(who, draw, after)| Spell::GivenUp {
            who,
            draw,
            after
        }),
        (10..40_000u64).prop_map(|millis| Spell::Nobody { millis }),
    ]
}

/// Plays a spell from `millis` on, over a clean block; tells when the block is clean again.
fn play(scene: Scene, spell: &Spell, millis: u64) -> (Scene, u64) {
    match spell {
        Spell::Nobody { millis: length } => (scene, millis + length),
        Spell::Kernel { who, beats } => {
            let writer = KERNELS[*who];
            let (mut scene, mut at, mut number) = (scene, millis, 1);
            for late in beats {
                scene = scene.state(at, writer, Sequence::Active(number));
                (at, number) = (at + 5000 + late, number + 1);
            }
            (scene.clean(at, writer), at + 3)
        }
        Spell::Daemon { who, draw, beats } => {
            let writer = DAEMONS[*who];
            let claim = Sequence::active(*draw);
            let Sequence::Active(first) = claim else { unreachable!() };
            let held = millis + 11_050;
            let scene = scene.state(millis, writer, claim);
            let end = held + u64::from(*beats) * 1000;
            (scene.beats(writer, first.saturating_add(1), held, end).clean(end, writer), end + 3)
        }
        Spell::GivenUp { who, draw, after } => {
            let writer = DAEMONS[*who];
            let scene = scene.state(millis, writer, Sequence::active(*draw));
            (scene.clean(millis + after, writer), millis + after + 3)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn healthy_histories_raise_nothing(
        spells in prop::collection::vec(spell(), 1..12),
        jitter in prop::collection::vec((1..400u64, 0..900u64), 1..7),
    ) {
        let mut scene = Scene::new().clean(0, KERNELS[0]);
        let mut millis = 1000;
        for spell in &spells {
            (scene, millis) = play(scene, spell, millis);
        }
        let watched = scene.jitter(jitter).watch(millis + 30_000);
        prop_assert!(watched.names().is_empty(), "{:?}", watched.changes);
    }
}
