# Everything a fresh machine needs for these is installed by tests/setup.sh.

.PHONY: all pages demo test test-vm soak fuzz lint clean

all:
	cargo build --release --locked

# Manual pages and completions, in target/share.
pages:
	cargo run --quiet --release --locked --example pages target/share

# The main job on an image it makes.
demo: all
	tests/demo.sh target/release

demo all pages test lint: | setup
.PHONY: setup
setup:
	tests/setup.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# Real waits (a guard interval is 11 s and more) run side by side; the test programs know how many.
test: lint
	tests/setup.sh mandoc=mandoc jq=jq fio=fio tmux=tmux
	cargo test --locked
	$(MAKE) demo

# Two kernels that share disks, in software-emulated machines.
test-vm:
	tests/vm/run

# The proof at length: hours.
soak: | setup
	MMP_MODEL_DEEPER=1 MMP_SCHEDULES=50000000 cargo test --locked --test model -- --nocapture

# What reads a device, over any bytes: an hour.
fuzz:
	fuzz/run

clean:
	cargo clean
