#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make fuzz: uses cargo-fuzz to feed the driver of drivers/vfio-mlx5 what firmware, or a
# program that migrates a VF, may say.
#
# fuzz.sh SECONDS KERNEL: runs each target for SECONDS, with the layouts of KERNEL's source.
# Interesting inputs are kept in build/fuzz/, and the next run begins with them.
. "$(dirname "$0")/lib.sh"

# One that the root's rustc builds.
CARGO_FUZZ=0.12.0

seconds=$1
name=$2

need_root
entry=$(kernel_entry "$name")
if [ ! -e "$entry" ]; then
	"$VM/setup.sh" "$name"
fi
use_entry "$entry"

# There is neither a nightly rustc nor a sanitizer in the root: rustc accepts the options
# all the same, and finds panics, overflows, and failed assertions of the targets.
in_root "$entry" sh -ec '
	export PATH="/cargo/bin:$PATH" RUSTC_BOOTSTRAP=1 CXX=clang++
	cargo fuzz --version 2> /dev/null | grep -qF "'$CARGO_FUZZ'" ||
		cargo install cargo-fuzz --version "'$CARGO_FUZZ'" --locked --force \
			--target-dir /repo/build/cargo-fuzz
	cd tools/testing/vfio-mlx5
	for target in report reply image; do
		mkdir -p "/repo/build/fuzz/$target"
		cargo fuzz run --sanitizer none "$target" "/repo/build/fuzz/$target" -- \
			-max_total_time="'"$seconds"'" -max_len=8192 -timeout=10 \
			-artifact_prefix=/repo/build/fuzz/
	done'
