//! Images made to harm: nothing may panic, and no plan may write outside the file system.

use std::fs;

use mmp::layout::{Names, Superblock};
use mmp::tune::{Change, Plan, Stamp, Step, Survey};
use proptest::prelude::*;

use crate::common::suite::Suite;
use crate::images::{Memory, folder, mke2fs, tune2fs};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("hostile/any_bytes_are_survived", any_bytes_are_survived);
}

/// Small images without checksums, so that a changed byte is not found at once; MMP off and on.
fn images() -> &'static [Vec<u8>] {
    static IMAGES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    IMAGES.get_or_init(|| {
        let folder = folder();
        let image = folder.path().join("image");
        let layouts = ["flex_bg", "meta_bg,^resize_inode", "bigalloc,^resize_inode", "64bit"];
        let mut images = Vec::new();
        for layout in layouts {
            let options =
                format!("-t ext4 -b 1024 -N 32 -O ^has_journal,^metadata_csum,^uninit_bg,{layout}");
            mke2fs(&image, &options, "2M").expect("mke2fs");
            images.push(fs::read(&image).expect("read"));
            assert_eq!(tune2fs("-f -O mmp", &image).code, 0);
            images.push(fs::read(&image).expect("read"));
        }
        images
    })
}

/// Where a changed byte matters: the superblock's numbers, and the descriptors.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![1024usize..1024 + 0x180, 1024usize + 0x24C..1024 + 0x278, 2048usize..4096]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    fn any_bytes_are_survived(
        index in 0usize..8,
        changes in proptest::collection::vec((place(), any::<u8>()), 1..5),
        on: bool,
        clear: bool,
        interval in proptest::option::of(1u16..300),
    ) {
        let mut image = images()[index].clone();
        for (place, byte) in changes {
            image[place] = byte;
        }
        let raw: [u8; 1024] = image[1024..2048].try_into().expect("1 KiB");
        let Ok(superblock) = Superblock::parse(raw) else { return Ok(()) };
        let change = Change { mmp: Some(on), interval, clear: clear && on };
        let mut disk = Memory(image);
        let Ok(survey) = Survey::new(&mut disk, &superblock, &change) else { return Ok(()) };
        let stamp = Stamp { time: 0, names: Names::new(b"", b"") };
        let Ok(plan) = Plan::new(&survey, &change, &stamp) else { return Ok(()) };
        let end = superblock.blocks_count() * u64::from(superblock.block_size());
        for step in plan.steps().take(10_000) {
            if let Step::Write(write) = step {
                prop_assert!(write.offset.0 >= 1024, "the boot sector: {write}");
                let past = write.offset.0 + write.bytes.len() as u64;
                prop_assert!(past <= end, "outside the file system: {write}");
            }
        }
    }
}
