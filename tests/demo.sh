#!/bin/sh
# The main job, shown on an image made here: hold it, see the heartbeat, see everybody else
# refused, release it. Each step is checked; the first that is not as it should be ends the demo.
# Usage: tests/demo.sh FOLDER-OF-PROGRAMS   (needs root: loop devices and a mount)
set -eu

PATH=$1:$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
a='' b='' holder=''

clean_up() {
    [ -z "$holder" ] || kill "$holder" 2>/dev/null || true
    ! mountpoint -q "$work/mnt" || umount "$work/mnt"
    for loop in $a $b; do losetup -d "$loop"; done
    rm -rf "$work"
}
trap clean_up EXIT

step() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
refused() {
    printf '$ %s\n' "$*"
    if "$@"; then
        echo "demo: '$*' should have been refused" >&2
        exit 1
    fi
}
sequence() { mmpdump -i "$b" | sed -n 's/^ *mmp_sequence: //p'; }

[ "$(id -u)" = 0 ] || { echo "demo: needs root, for loop devices and a mount" >&2; exit 1; }

step "An ext4 image with MMP, and two loop devices over it: two paths to one disk"
truncate -s 64M "$work/disk.img"
mkdir "$work/mnt"
show mke2fs -q -t ext4 -O mmp "$work/disk.img"
a=$(losetup --find --show --direct-io=on "$work/disk.img")
b=$(losetup --find --show --direct-io=on "$work/disk.img")
show mmpcheck "$b"

step "Hold it through $a: the claim takes one guard interval, 11 s"
printf '$ mmpd hold %s &\n' "$a"
mmpd hold "$a" 2>"$work/log" &
holder=$!
for _ in $(seq 150); do
    ! grep -q ': held' "$work/log" || break
    sleep 0.1
done
cat "$work/log"
grep -q ': held' "$work/log"

step "Seen through $b, the sequence advances once a second"
first=$(sequence)
for _ in 1 2 3 4; do
    echo "mmp_sequence: $(sequence)"
    sleep 1
done
[ $(($(sequence) - first)) -ge 4 ]

step "Everybody else is refused"
refused mmpcheck "$b"
refused mmpd hold "$b"
refused mount "$b" "$work/mnt"

step "Released, the file system is clean and mounts"
show kill -TERM "$holder"
wait "$holder"
holder=''
tail -n 1 "$work/log"
show mmpcheck "$b"
show e2fsck -fn "$b"
show mount "$b" "$work/mnt"
show umount "$work/mnt"

printf '\ndemo: all as it should be\n'
