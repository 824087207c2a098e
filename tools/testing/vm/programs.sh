#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the static test programs for one kernel: this project's into
# build/KERNEL/selftests/, those of the kernel's own iommufd and VFIO suites, from
# the source that the kernel was built from, into build/KERNEL/upstream/.
. "$(dirname "$0")/lib.sh"

name=$1
kernel=$(kernel_entry "$name")

# Nothing uses those of the tree: the fast kernel has the same.
suites='iommu vfio'
if [ "$name" = tree ]; then
	suites=
fi
say "Test programs for the $name kernel (usually 20 s the first time)"
mkdir -p "$OUT/$name/upstream"
logged "$LOGS/programs-$name.log" in_root "$kernel" sh -ec '
	for suite in $3; do
		make -j"$(nproc)" -C "/kernel/src/tools/testing/selftests/$suite" \
			CC=gcc LDFLAGS="-static -pthread" OUTPUT="/repo/build/$1/upstream" \
			KHDR_INCLUDES="-isystem /kernel/build/usr/include"
	done
	ours="make -C $2 KSRC=/kernel/src
		KHDR=/kernel/build/usr/include OUTPUT=/repo/build/$1/selftests
		VFIO=${3:+/repo/build/$1/upstream} TEST_GEN_MODS_DIR="
	mkdir -p "build/$1/selftests"
	$ours -j"$(nproc)"
	$ours -s COLLECTION=ours emit_tests | sed "s/.*://" > "build/$1/selftests/kselftest-list.txt"
	cp "$2/connectx/hw.sh" "build/$1/selftests"' sh "$name" "$(selftests_of "$name")" "$suites"
