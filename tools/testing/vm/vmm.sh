#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Packs what the stage migrate needs besides the initramfs of a kernel: two QEMUs, Debian's
# and the one with patches/qemu, their libraries and firmware, the guest that they run,
# and the program that migrates it. The kernel takes both as one initramfs.
. "$(dirname "$0")/lib.sh"

name=$1

"$VM/qemu.sh" "$name"
use_entry "$(qemu_entry)"
lock "$OUT/vmm"
say "The guest and the program that migrates it (usually 30 s the first time)"
mkdir -p "$OUT/migrate"
cp "$(qemu_entry)"/qemu-* "$OUT/migrate"
logged "$LOGS/vmm.log" in_root "$(kernel_entry "$name")" sh -ec '
	make -C tools/testing/migrate/guest OUTPUT=/repo/build/migrate
	cargo build --release --locked --manifest-path tools/testing/migrate/Cargo.toml \
		--target-dir /repo/build/migrate/target
	mkdir -p /tmp/fs/selftests /tmp/fs/usr/bin /tmp/fs/usr/share/qemu /tmp/fs/migrate
	cp build/migrate/target/release/migrate /tmp/fs/selftests
	cp /usr/bin/qemu-system-x86_64 build/migrate/qemu-* /tmp/fs/usr/bin
	cp /usr/share/seabios/bios-256k.bin /usr/share/qemu/kvmvapic.bin \
		/usr/share/qemu/linuxboot_dma.bin /usr/share/qemu/multiboot_dma.bin \
		/tmp/fs/usr/share/qemu
	cp build/migrate/guest.elf /tmp/fs/migrate
	ldd /tmp/fs/selftests/* /tmp/fs/usr/bin/* | awk "/=> \\// { print \$3 } /^\t\\// { print \$1 }" | sort -u |
		while read -r library; do
			mkdir -p "/tmp/fs${library%/*}"
			cp -L "$library" "/tmp/fs$library"
		done
	cd /tmp/fs
	find . | cpio --quiet -o -H newc > /repo/build/migrate/vmm.new
	mv /repo/build/migrate/vmm.new /repo/build/migrate/vmm'
cat "$OUT/$name/initramfs" "$OUT/migrate/vmm" > "$OUT/$name/initramfs-vmm.new"
mv "$OUT/$name/initramfs-vmm.new" "$OUT/$name/initramfs-vmm"
