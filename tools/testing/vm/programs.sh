#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the static test programs for one kernel: this project's into
# build/KERNEL/selftests/, those of the kernel's own iommufd suite, from the
# source that the kernel was built from, into build/KERNEL/upstream/.
. "$(dirname "$0")/lib.sh"

name=$1
kernel=$(kernel_entry "$name")

say "Test programs for the $name kernel (usually 20 s the first time)"
mkdir -p "$OUT/$name/upstream"
logged "$LOGS/programs-$name.log" in_root "$kernel" sh -ec '
	make -j"$(nproc)" -C tools/testing/selftests/iommufd-dirty KSRC=/kernel/src \
		KHDR=/kernel/build/usr/include OUTPUT="/repo/build/$1/selftests"
	make -j"$(nproc)" -C /kernel/src/tools/testing/selftests/iommu \
		CC=gcc LDFLAGS=-static KHDR_INCLUDES="-isystem /kernel/build/usr/include" \
		OUTPUT="/repo/build/$1/upstream"' sh "$name"
