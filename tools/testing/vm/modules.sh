#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds this repository's modules for one kernel, into build/KERNEL/modules/.
. "$(dirname "$0")/lib.sh"

name=$1
kernel=$(kernel_entry "$name")
dir=$OUT/$name

# kbuild would find them instead of those that it has to make.
stray=$(find "$REPO/drivers" "$REPO/tools" -name '*.o' -print -quit)
if [ -n "$stray" ]; then
	die "$stray comes from a build inside the source and is in the way: run 'make clean'"
fi

# What was built for another kernel looks up to date to make.
made_for="$kernel $KDIR"
if [ "$(cat "$dir/made-for" 2> /dev/null)" != "$made_for" ]; then
	rm -rf "$dir"
	mkdir -p "$dir"
	printf '%s\n' "$made_for" > "$dir/made-for"
fi

say "Modules for the $name kernel (usually 1 minute the first time)"
if [ "$name" = kdir ]; then
	# With the tools of the machine that built the tree.
	logged "$LOGS/modules-$name.log" make -j"$(nproc)" -C "$KDIR" \
		LLVM="$(kdir_llvm)" M="$REPO" MO="$dir/modules" \
		IOMMUFD_DIRTY_TESTS=y modules
else
	what=/repo
	if [ "$name" = tree ]; then
		what=$(selftests_of "$name")/modules
	fi
	logged "$LOGS/modules-$name.log" in_root "$kernel" make -j"$(nproc)" -C /kernel/build \
		LLVM=1 M="$what" MO="/repo/build/$name/modules" IOMMUFD_DIRTY_TESTS=y modules
fi
