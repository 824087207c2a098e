#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the programs of crates/ that run in a VM, static, into build/crates/.
. "$(dirname "$0")/lib.sh"

say "crates/ (usually 30 s the first time)"
logged "$LOGS/crates.log" in_root "$(kernel_entry "$1")" \
	env RUSTC_WRAPPER=/repo/tools/testing/vm/rustc-let-chains.sh \
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static' \
	cargo build --release --locked --target x86_64-unknown-linux-gnu \
	--manifest-path crates/Cargo.toml --target-dir /repo/build/crates \
	-p mini-migrate -p vm-tests
