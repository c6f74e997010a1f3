//! Features that stock tools refuse or that MMP has nothing to do with, and features nobody knows.

use std::ffi::OsStr;
use std::path::Path;

use crate::common::suite::Suite;
use crate::images::{
    assert_clean, copy, differences, folder, header, mke2fs, mmptune, must, tune2fs,
};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("lustre/dirdata_does_not_matter", dirdata_does_not_matter);
    suite.case(
        "lustre/what_stock_tools_know_is_the_same_with_them",
        what_stock_tools_know_is_the_same_with_them,
    );
    suite.case("lustre/unknown_features_are_refused", unknown_features_are_refused);
}

fn debugfs(image: &Path, request: &str) {
    let image = image.as_os_str();
    must("debugfs", [OsStr::new("-w"), OsStr::new("-R"), OsStr::new(request), image]);
}

/// dirdata is what makes stock e2fsprogs refuse a Lustre MDT.
fn dirdata_does_not_matter() {
    let folder = folder();
    let image = folder.path().join("image");
    for options in
        ["-t ext4", "-t ext4 -O ^metadata_csum,uninit_bg", "-t ext4 -O ea_inode,large_dir"]
    {
        mke2fs(&image, options, "16M").expect("mke2fs");
        debugfs(&image, "feature dirdata");
        assert_ne!(tune2fs("-f -O mmp", &image).code, 0, "stock tune2fs knows dirdata now");
        for arguments in ["-O mmp", "--no-guard -E mmp_update_interval=10", "--no-guard -O ^mmp"] {
            let ended = mmptune(arguments, &image);
            assert_eq!(ended.code, 0, "{options}: {arguments}: {ended:?}");
            let check = folder.path().join("check");
            copy(&image, &check);
            clear_dirdata(&check);
            assert_clean(&check, &format!("{options}: {arguments}"));
        }
    }
}

/// `-f` is debugfs's way past a feature that it does not support, `-c` past claiming.
fn clear_dirdata(image: &Path) {
    let list = image.with_extension("requests");
    let requests = format!("open -w -f -c {}\nfeature -dirdata\nclose\n", image.display());
    std::fs::write(&list, requests).expect("write");
    must("debugfs", [OsStr::new("-f"), list.as_os_str()]);
}

fn what_stock_tools_know_is_the_same_with_them() {
    let folder = folder();
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
    for features in ["ea_inode", "large_dir", "inline_data", "casefold", "project", "verity"] {
        mke2fs(&theirs, &format!("-t ext4 -O {features}"), "16M").expect("mke2fs");
        copy(&theirs, &ours);
        assert_eq!(tune2fs("-f -O mmp", &theirs).code, 0, "{features}");
        assert_eq!(mmptune("-O mmp", &ours).code, 0, "{features}");
        let block = header(&theirs, "MMP block number");
        crate::images::assert_same(&theirs, &ours, block, features);
        assert_clean(&ours, features);
    }
}

/// Nobody can know what a bit of tomorrow does to the bitmaps: it is refused, also with -f.
fn unknown_features_are_refused() {
    let folder = folder();
    let (image, before) = (folder.path().join("image"), folder.path().join("before"));
    for (request, name) in [
        ("feature FEATURE_I30", "FEATURE_I30"),
        ("feature FEATURE_R30", "FEATURE_R30"),
        ("feature compression", "compression"),
    ] {
        mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
        debugfs(&image, request);
        copy(&image, &before);
        for arguments in ["-O mmp", "-f -O mmp", "-f -f -E mmp_update_interval=9"] {
            let ended = mmptune(arguments, &image);
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.err.contains(name), "{ended:?}");
            assert_eq!(differences(&before, &image), []);
        }
    }
    mke2fs(&image, "-t ext4", "16M").expect("mke2fs");
    debugfs(&image, "feature FEATURE_C30");
    assert_eq!(mmptune("-O mmp", &image).code, 0, "a compat feature forbids nothing");
}
