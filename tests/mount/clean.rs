//! A clean file system: every way to ask for it, every option, the time each takes.

use std::fs;
use std::time::Duration;

use crate::common::disk::{CLEAN, Disk};
use crate::common::image::Image;
use crate::common::program::{run, tool};
use crate::common::suite::Suite;
use crate::stage::{Stage, staged};
use crate::{GUARD, SLACK, assert_ended, assert_took};

/// What mounting without any guard takes at most.
const AT_ONCE: Duration = Duration::from_secs(1);

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("by hand: mount, write, unmount", || staged(by_hand));
    suite.case("through fstab, one by one and all", || staged(through_fstab));
    for name in ["LABEL", "UUID"] {
        suite.case(format!("by {name}"), move || staged(move |stage| by_tag(stage, name)));
    }
    for options in ["rw", "loop"] {
        for by_mount in [true, false] {
            let by = if by_mount { "mount(8)" } else { "the helper" };
            suite.case(format!("an image by {by} with -o {options}"), move || {
                staged(move |stage| image(stage, options, by_mount));
            });
        }
    }
    suite.case("an image at an offset", || staged(image_at_an_offset));
    for (options, at_least, at_most) in [
        ("mmp.mode=guard", GUARD, GUARD + SLACK),
        ("mmp.wait=30", GUARD, GUARD + SLACK),
        ("ro", GUARD, GUARD + SLACK),
        ("ro,mmp.mode=check", Duration::ZERO, AT_ONCE),
        ("mmp.mode=strict", 2 * GUARD, 2 * GUARD + SLACK),
        ("mmp.mode=check", Duration::ZERO, AT_ONCE),
        ("mmp.mode=off", Duration::ZERO, AT_ONCE),
    ] {
        suite.case(format!("clean, {options}"), move || {
            staged(move |stage| {
                let ended = stage.mount(&stage.a, "a", options);
                assert_ended(&ended, 0, &[]);
                assert_took(&ended, at_least, at_most);
                assert_eq!(stage.mounted("a"), "ext4");
                stage.umount("a");
                assert_eq!(Disk::open(stage.image.path()).mmp().sequence(), CLEAN);
                stage.image.assert_fsck_clean();
            });
        });
    }
    suite.case("fake: nothing is mounted or claimed", || staged(fake));
    suite.case("without MMP: refused with what to do, unless off", || staged(without_mmp));
    suite.case("remount: watched only when it makes a file system writable", || staged(remount));
}

fn by_hand(stage: &Stage) {
    let mut arguments = stage.arguments(&stage.a, "a", "noatime");
    arguments.insert(0, "-v".to_owned());
    let ended = run("mount", &arguments);
    assert_ended(&ended, 0, &["claim written; watching for 11 s", "after 11.", "handed to mount"]);
    assert_took(&ended, GUARD, GUARD + SLACK);
    assert_eq!(stage.mounted("a"), "ext4");
    fs::write(stage.dir("a").join("file"), "content").expect("write");
    stage.umount("a");
    stage.image.assert_fsck_clean();
    let guard = stage.guard_interval();
    let ended = stage.mount(&stage.b, "a", "");
    assert_took(&ended, guard, guard + SLACK);
    assert_eq!(fs::read(stage.dir("a").join("file")).expect("read"), b"content");
}

fn through_fstab(stage: &Stage) {
    let other = Image::with(&[], "64M");
    let (fstab, a, b) = (stage.dir("fstab"), stage.dir("a"), stage.dir("b"));
    let lines = format!(
        "{} {} mmp.ext4 noauto,x-test.case=1,mmp.wait=5 0 0\n{} {} mmp.ext4 loop,noatime 0 0\n",
        stage.a.name(),
        a.display(),
        other.name(),
        b.display(),
    );
    fs::write(&fstab, lines).expect("write");
    let fstab = fstab.to_str().expect("UTF-8");
    assert_ended(&run("mount", &["-T", fstab, a.to_str().expect("UTF-8")]), 0, &[]);
    for _ in 0..2 {
        // The second time it finds that there is nothing to do.
        assert_ended(&run("mount", &["-T", fstab, "-a"]), 0, &[]);
    }
    assert_eq!((stage.mounted("a"), stage.mounted("b")), ("ext4".into(), "ext4".into()));
    stage.umount("b");
    assert!(!tool("losetup", &["-a"]).contains(other.name()), "the loop device is still bound");
}

fn by_tag(stage: &Stage, tag: &str) {
    let value = format!("mmp-{tag}-{}", std::process::id());
    tool("e2label", &[stage.image.name(), &value]);
    // Two paths would be two devices of one name.
    stage.b.detach();
    let value = match tag {
        "UUID" => tool("dumpe2fs", &["-h", stage.image.name()])
            .lines()
            .find_map(|line| line.strip_prefix("Filesystem UUID:"))
            .map(|uuid| uuid.trim().to_owned())
            .expect("UUID"),
        _ => value,
    };
    let spec = format!("{tag}={value}");
    let dir = stage.dir("a");
    let ended = stage.helper(&[&spec, dir.to_str().expect("UTF-8"), "-t", "mmp.ext4"]);
    assert_ended(&ended, 0, &[]);
    assert_took(&ended, GUARD, GUARD + SLACK);
    let source =
        tool("findmnt", &["-n", "-o", "SOURCE", "--mountpoint", dir.to_str().expect("UTF-8")]);
    assert_eq!(source.trim(), stage.a.name());
}

fn image(stage: &Stage, options: &str, by_mount: bool) {
    let image = Image::with(&[], "64M");
    let dir = stage.dir("a");
    let dir = dir.to_str().expect("UTF-8");
    let ended = match by_mount {
        true => run("mount", &["-t", "mmp.ext4", "-o", options, image.name(), dir]),
        false => stage.helper(&[image.name(), dir, "-o", options, "-t", "mmp.ext4"]),
    };
    assert_ended(&ended, 0, &[]);
    let source = tool("findmnt", &["-n", "-o", "SOURCE", "--mountpoint", dir]);
    assert!(source.starts_with("/dev/loop"), "{source}");
    // kmmpd names the device that is mounted, the helper before it the one it claimed.
    let name = Disk::open(image.path()).mmp().device();
    assert_eq!(format!("/dev/{name}"), source.trim());
    stage.umount("a");
    assert!(!tool("losetup", &["-a"]).contains(image.name()), "still bound");
}

fn image_at_an_offset(stage: &Stage) {
    let content = [&vec![0; 1 << 20][..], &Image::with(&[], "64M").content()].concat();
    let image = Image::bytes(&content);
    let dir = stage.dir("a");
    let options = "loop,offset=1MiB,sizelimit=64MiB,noatime";
    let ended = stage.helper(&[image.name(), dir.to_str().expect("UTF-8"), "-o", options]);
    assert_ended(&ended, 0, &[]);
    assert_eq!(stage.mounted("a"), "ext4");
}

fn fake(stage: &Stage) {
    let before = stage.image.content();
    let mut arguments = stage.arguments(&stage.a, "a", "");
    arguments.insert(0, "-f".to_owned());
    let ended = run("mount", &arguments);
    assert_ended(&ended, 0, &[]);
    assert_took(&ended, Duration::ZERO, AT_ONCE);
    assert_eq!(stage.mounted("a"), "");
    assert!(stage.image.content() == before);
}

fn without_mmp(stage: &Stage) {
    let image = Image::with(&["-O", "^mmp"], "64M");
    let dir = stage.dir("a");
    let arguments = [image.name(), dir.to_str().expect("UTF-8"), "-o"];
    let ended = stage.helper(&[&arguments[..], &["rw"]].concat());
    // By the image's name: the loop device may be somebody else's by now.
    let advice = format!("mmptune -O mmp {}", image.name());
    assert_ended(&ended, 32, &["MMP is not enabled", &advice, "mmp.mode=off"]);
    let ended = stage.helper(&[&arguments[..], &["loop,mmp.mode=off"]].concat());
    assert_ended(&ended, 0, &[]);
    assert_eq!(stage.mounted("a"), "ext4");
}

fn remount(stage: &Stage) {
    let dir = stage.dir("a");
    let dir = dir.to_str().expect("UTF-8");
    assert_ended(&stage.mount(&stage.a, "a", "ro,mmp.mode=check"), 0, &[]);
    let remount = |options: &str| {
        let ended = stage.helper(&[stage.a.name(), dir, "-o", options, "-t", "mmp.ext4"]);
        assert_ended(&ended, 0, &[]);
        ended
    };
    assert_took(&remount("remount,rw"), GUARD, GUARD + SLACK);
    assert_took(&remount("remount,rw,noatime"), Duration::ZERO, AT_ONCE);
    assert_took(&remount("remount,ro"), Duration::ZERO, AT_ONCE);
    // By the image's name it is the same: the device is what is mounted there.
    let image = [stage.image.name(), dir, "-o", "remount,rw", "-t", "mmp.ext4"];
    let other = stage.helper(&image);
    assert_ended(&other, 0, &[]);
    assert_took(&other, Duration::from_secs(10), 2 * GUARD + SLACK);
    assert_took(&remount("remount,ro"), Duration::ZERO, AT_ONCE);
    // Another node takes it while it is read-only here.
    assert_ended(&stage.plain(&stage.b, "b"), 0, &[]);
    let ended = stage.helper(&[stage.a.name(), dir, "-o", "remount,rw", "-t", "mmp.ext4"]);
    assert_ended(&ended, 32, &["in use", stage.b.kernel_name()]);
}
