#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Unpacks the kernel's source, as Debian has it, once for all that is made of it.
. "$(dirname "$0")/lib.sh"

lock "$CACHE/source"
if [ -d "$(pristine)" ]; then
	exit 0
fi
part=$(pristine).part
say "Kernel source: linux-source-$LINUX_SERIES (usually 1 minute, 2 GB)"
rm -rf "$part"
mkdir -p "$part/src"
logged "$LOGS/source.log" in_root "$part" \
	tar -C /kernel/src --strip-components 1 \
	-xf "/usr/src/linux-source-$LINUX_SERIES.tar.xz"
mv "$part" "$(pristine)"
