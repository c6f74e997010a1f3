#!/bin/sh
# Lays the files of a package out in target/stage/root as a system has them, and beside them a
# changelog in Debian's form.
set -eu
cd "$(dirname "$0")/.."

stage=target/stage
rm -rf "$stage"
# Every system with packages has /sbin in /usr/sbin.
make --no-print-directory install DESTDIR="$PWD/$stage/root" PREFIX=/usr MOUNTDIR=/usr/sbin
for file in "$stage"/root/usr/sbin/*; do
    case $(head -c4 "$file") in *ELF*) strip --strip-unneeded "$file" ;; esac
done
# A .deb has its copyright file, an .rpm a folder for licences.
mkdir "$stage/licenses"
mv "$stage"/root/usr/share/doc/mmp-utils/LICENSE-* "$stage/licenses"
mv "$stage/root/usr/share/doc/mmp-utils/CHANGELOG.md" "$stage/root/usr/share/doc/mmp-utils/changelog"
find "$stage/root/usr/share/man" "$stage/root/usr/share/doc/mmp-utils/changelog" -type f \
    -exec gzip -9n {} +

release=$(grep -m1 '^## \[' CHANGELOG.md)
version=${release#*[}
version=${version%%]*}
{
    echo "mmp-utils ($version-1) unstable; urgency=medium"
    echo
    echo "  * Release $version; see /usr/share/doc/mmp-utils/changelog.gz."
    echo
    sed -n 's/^maintainer = "\(.*\)"/ -- \1/p' Cargo.toml | tr '\n' ' '
    LC_ALL=C date -u -d "${release##* }" '+ %a, %d %b %Y 00:00:00 +0000'
} >"$stage/changelog"
