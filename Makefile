# Everything a fresh machine needs for these is installed by tests/setup.sh.

.PHONY: all static pages install uninstall deb rpm picture demo setup lint clean
.PHONY: test test-vm test-ha test-packages soak fuzz bench

all:
	cargo build --release --locked

# Programs that need no library, for a rescue system; shown by the demo.
static: | setup
	rustup target add $(MUSL)
	cargo build --release --locked --target $(MUSL)
	tests/demo.sh target/$(MUSL)/release
MUSL = $(shell uname -m)-unknown-linux-musl

# Manual pages and completions, in target/share.
pages:
	cargo run --quiet --locked --example pages target/share

# DESTDIR=, PREFIX=/usr/local and the rest: see dist/install.sh.
install: all pages
	dist/install.sh install
uninstall:
	dist/install.sh uninstall

# Packages, in target/packages.
deb: | target/tools/bin/cargo-deb
	dist/stage.sh
	target/tools/bin/cargo-deb --no-build --quiet --output target/packages/
rpm: | target/tools/bin/cargo-generate-rpm
	dist/stage.sh
	target/tools/bin/cargo-generate-rpm --output target/packages/
target/tools/bin/cargo-deb: | setup
	cargo install --quiet --locked --root target/tools cargo-deb@3.8.0
target/tools/bin/cargo-generate-rpm: | setup
	cargo install --quiet --locked --root target/tools cargo-generate-rpm@0.21.1

# README's picture, from a session of now.
picture: all
	docs/picture.sh target/release >docs/picture.svg

# The main job on an image it makes.
demo: all
	tests/demo.sh target/release

demo all pages picture test lint: | setup
setup:
	tests/setup.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test ha --test vm -- -D warnings

# Real waits (a guard interval is 11 s and more) run side by side; the test programs know how many.
test: lint
	tests/setup.sh mandoc=mandoc jq=jq fio=fio tmux=tmux systemd-analyze=systemd \
	    /usr/lib/python3/dist-packages/prometheus_client/parser.py=python3-prometheus-client
	tests/run "cargo test --locked --no-fail-fast" "make demo"

# Two kernels that share disks, in software-emulated machines.
test-vm:
	tests/vm/run

# The packages in a Debian of their own: installed, used, removed.
test-packages: deb rpm
	tests/packages/run

# Clusters of two nodes under Heartbeat v1 and under Pacemaker, in namespaces of this machine.
test-ha:
	tests/ha/run

# The proof at length, hours; before it, half an hour of healthy load without a false alarm.
soak: | setup
	tests/setup.sh fio=fio
	MMP_SOAK_SECONDS=1800 cargo test --locked --test watch healthy -- --nocapture
	MMP_MODEL_DEEPER=1 MMP_SCHEDULES=50000000 cargo test --locked --test model -- --nocapture

# What reads a device, over any bytes: an hour.
fuzz:
	fuzz/run

# Beside what there is today, in one run; docs/performance.md has what it found. On a quiet machine.
bench: | setup
	cargo bench --locked --bench heartbeat
	cargo bench --locked --bench tune

clean:
	cargo clean
