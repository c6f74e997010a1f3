#!/bin/sh
# Two servers, one disk: a real session, drawn as it was on the terminal.
# Usage: docs/picture.sh FOLDER-OF-PROGRAMS >docs/picture.svg   (needs root)
#
# The servers are namespaces of this machine with a host name and a path to the disk of their own. A
# kernel writes the machine's name into the block, whatever the namespace: it is shown as oss1, who
# has it mounted.
set -eu

programs=$(cd "$1" && pwd)
work=$(mktemp -d)
disk=/dev/mapper/ost0001
servers=''

clean_up() {
    for server in $servers; do kill "$server"; done
    losetup -nO NAME -j "$work/disk.img" | while read -r loop; do losetup -d "$loop"; done
    rm -rf "$work"
}
trap clean_up EXIT

truncate -s 64M "$work/disk.img"
mke2fs -q -t ext4 "$work/disk.img"
mkdir -p /dev/mapper

# boot NAME: a server; its process is in the variable of its name.
boot() {
    loop=$(losetup --find --show --direct-io=on "$work/disk.img")
    mkdir "$work/$1"
    unshare -m -u sh -eu -c '
        hostname "$1"
        mount -t tmpfs none "$2"
        mkdir "$2/upper" "$2/work"
        mount -t overlay overlay -o "lowerdir=$(realpath /sbin),upperdir=$2/upper,workdir=$2/work" \
            "$(realpath /sbin)"
        for name in mmpcheck mmpdump mmptune mmpd; do cp "$4/$name" /sbin; done
        cp "$4/mount-mmp" /sbin/mount.mmp
        mount -t tmpfs none /dev/mapper
        cp -a "$3" /dev/mapper/ost0001
        mount -t tmpfs none /srv
        mkdir /srv/ost0001
        : >"$5"
        exec sleep 600' sh "$1" "$work/$1" "$loop" "$programs" "$work/$1.up" >&2 &
    servers="$servers $!"
    eval "$1=$!"
    while ! [ -e "$work/$1.up" ]; do sleep 0.1; done
}

# on SERVER COMMAND: types it there, and notes what it says and how long it takes.
on() {
    eval "server=\$$1"
    printf 'prompt\t%s# %s\n' "$1" "$2"
    began=$(date +%s%N)
    nsenter -t "$server" -m -u env LC_ALL=C PATH=/sbin:/usr/sbin:/bin:/usr/bin \
        sh -c "$2" 2>&1 </dev/null | sed "s/node '$(hostname)'/node 'oss1'/g" | fold -s -w 96 | sed 's/^/said\t/'
    printf 'took\t%s\n' $((($(date +%s%N) - began) / 100000000))
}

session() {
    on oss1 "mmptune -O mmp $disk"
    on oss1 "mount -t mmp.ext4 $disk /srv/ost0001"
    on oss2 "mmpcheck $disk"
    on oss2 "mount -t mmp.ext4 $disk /srv/ost0001"
    on oss1 "umount /srv/ost0001"
    on oss2 "mount -t mmp.ext4 -o mmp.wait=60 $disk /srv/ost0001"
    on oss2 "findmnt -n -o SOURCE,FSTYPE,TARGET /srv/ost0001"
}

boot oss1
boot oss2
session >"$work/session"

awk -F '\t' '
function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }
$1 == "prompt" { kind[++n] = "prompt"; line[n] = $2; at = n; next }
$1 == "said" { kind[++n] = "said"; line[n] = $2; next }
$1 == "took" { if ($2 >= 5) time[at] = sprintf("%.1f s", $2 / 10) }
END {
    height = n * 18 + 34
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"" height "\" viewBox=\"0 0 860 " height "\">"
    print "<title>Two servers, one disk: the second is refused until the first lets go</title>"
    print "<style>text{font:13px ui-monospace,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;white-space:pre;fill:#c9d1d9}.prompt{fill:#7ee787;font-weight:bold}.took{fill:#8b949e;text-anchor:end}</style>"
    print "<rect width=\"860\" height=\"" height "\" rx=\"8\" fill=\"#0d1117\"/>"
    for (i = 1; i <= n; i++) {
        y = i * 18 + 14
        print "<text class=\"" kind[i] "\" x=\"18\" y=\"" y "\">" escaped(line[i]) "</text>"
        if (time[i]) print "<text class=\"took\" x=\"842\" y=\"" y "\">" time[i] "</text>"
    }
    print "</svg>"
}' "$work/session"
