#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Packs what runs in the VM: busybox, the kernel's modules and this repository's,
# the test programs, and guest/.
. "$(dirname "$0")/lib.sh"

name=$1

in_root "$(kernel_entry "$name")" sh -ec '
	built=/repo/build/$1
	mkdir -p /tmp/fs/bin /tmp/fs/dev /tmp/fs/proc /tmp/fs/sys /tmp/fs/tmp
	cp /usr/bin/busybox /tmp/fs/bin
	cp -r /kernel/mods/lib /tmp/fs
	release=$(ls /tmp/fs/lib/modules)
	mkdir "/tmp/fs/lib/modules/$release/updates"
	find "$built/modules" -name "*.ko" -exec cp {} "/tmp/fs/lib/modules/$release/updates" \;
	depmod -b /tmp/fs "$release"
	cp -r tools/testing/vm/guest /tmp/fs/test
	ln -s test/init /tmp/fs/init
	cp -r "$built/selftests" "$built/upstream" /tmp/fs
	for program in crates_kernel mini-migrate; do
		cp "/repo/build/crates/x86_64-unknown-linux-gnu/release/$program" /tmp/fs/selftests
	done
	cd /tmp/fs
	find . | cpio --quiet -o -H newc > "$built/initramfs.new"
	mv "$built/initramfs.new" "$built/initramfs"' sh "$name"
