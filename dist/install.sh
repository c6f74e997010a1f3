#!/bin/sh
# Puts everything that was built in its place below DESTDIR, or takes it away again.
# Usage: [DESTDIR=… PREFIX=… …] dist/install.sh install|uninstall
set -eu
cd "$(dirname "$0")/.."

job=$1
: "${DESTDIR:=}" "${PREFIX:=/usr/local}"
# Where others look, whatever the prefix.
: "${MOUNTDIR:=/sbin}" "${OCFDIR:=/usr/lib/ocf/resource.d}" "${HADIR:=/etc/ha.d/resource.d}"
: "${STONITHDIR:=/usr/lib/stonith/plugins/external}"
doc=$PREFIX/share/doc/mmp-utils

# put MODE FILE PLACE
put() {
    case $job in
    install) install -D -m "$1" "$2" "$DESTDIR$3" ;;
    uninstall)
        rm -f "$DESTDIR$3"
        # Folders of our own go when they are empty.
        case $3 in
        "$doc"/* | "$OCFDIR"/mmp/*)
            rmdir -p --ignore-fail-on-non-empty "$(dirname "$DESTDIR$3")" 2>/dev/null || true
            ;;
        esac
        ;;
    *) echo "usage: $0 install|uninstall" >&2 && exit 2 ;;
    esac
}

# all MODE FOLDER FILE...: files that may be there, into a folder.
all() {
    mode=$1 folder=$2
    shift 2
    for file in "$@"; do
        [ ! -f "$file" ] || put "$mode" "$file" "$folder/${file##*/}"
    done
}

for binary in bin/*.rs; do
    name=$(basename "$binary" .rs)
    case $name in
    mount-mmp) put 755 target/release/mount-mmp "$MOUNTDIR/mount.mmp" ;;
    *) put 755 "target/release/$name" "$PREFIX/sbin/$name" ;;
    esac
done

(cd target/share && find . -type f) | while read -r file; do
    put 644 "target/share/$file" "$PREFIX/share/${file#./}"
done

all 644 "$PREFIX/lib/systemd/system" dist/systemd/*.service dist/systemd/*.timer
all 755 "$OCFDIR/mmp" dist/ocf/mmp/*
all 755 "$HADIR" dist/heartbeat/*
all 755 "$STONITHDIR" dist/stonith/mmp
all 755 "$PREFIX/sbin" dist/stonith/fence_*

all 644 "$doc" README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE-*
all 644 "$doc/docs" docs/*.md docs/*.svg docs/*.json
# README and CONTRIBUTING refer to it.
all 644 "$doc/man" man/mmp.7.md
all 644 "$doc/examples" dist/systemd/*.mount dist/cron/*
