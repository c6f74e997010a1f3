#!/bin/sh
# Installs from Debian what building, the demo and the tests need and is not there yet.
# Usage: tests/setup.sh [COMMAND=PACKAGE ...]   further commands, or files, that a test tier needs
set -eu

missing=
for need in cc=gcc mke2fs=e2fsprogs debugfs=e2fsprogs losetup=util-linux mount=mount "$@"; do
    [ -f "${need%%=*}" ] || PATH=$PATH:/usr/sbin:/sbin command -v "${need%%=*}" >/dev/null ||
        missing="$missing ${need#*=}"
done
if [ -n "$missing" ]; then
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # Package names hold no blanks.
    # shellcheck disable=SC2086
    { apt-get update && apt-get install -y --no-install-recommends $missing; } >/dev/null
fi
if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install Rust 1.88 or later, see https://rustup.rs" >&2
    exit 1
fi
