#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds QEMU with patches/qemu, from Debian's source and with no more than the stage
# migrate needs, into the cache: once as it is, and once so that it can leave something
# out (tools/testing/migrate/break.sh). The first argument is a kernel that is built: its
# name is needed to enter the toolchain root.
. "$(dirname "$0")/lib.sh"

build() {
	qemu_patches | sed "s,^$REPO,/repo," | in_root "$(kernel_entry "$1")" sh -ec '
		rm -rf build/qemu
		mkdir -p build/qemu
		cd build/qemu
		dpkg-source --no-check -x /usr/src/qemu_*.dsc src
		cd src
		xargs -r -n 1 patch -p1 -i
		cat > configs/devices/x86_64-softmmu/migrate.mak << END
CONFIG_PCI=y
CONFIG_Q35=y
CONFIG_I440FX=y
CONFIG_VFIO=y
CONFIG_VFIO_PCI=y
CONFIG_IOMMUFD=y
CONFIG_VTD=y
CONFIG_DIMM=y
CONFIG_MEM_DEVICE=y
CONFIG_ISA_DEBUG=y
CONFIG_PCI_TESTDEV=y
END
		mkdir ../out
		cd ../out
		../src/configure --target-list=x86_64-softmmu --without-default-features \
			--without-default-devices --with-devices-x86_64=migrate --enable-tcg \
			--enable-trace-backends=log --disable-docs --disable-install-blobs
		ninja qemu-system-x86_64
		strip -o ../qemu-dirty qemu-system-x86_64
		/repo/tools/testing/migrate/break.sh ../src
		ninja qemu-system-x86_64
		strip -o ../qemu-broken qemu-system-x86_64'
}

lock "$CACHE/qemu"
entry=$(qemu_entry)
if [ -d "$entry" ]; then
	exit 0
fi
say "QEMU with patches/qemu (usually 2 minutes)"
logged "$LOGS/qemu.log" build "$1"
rm -rf "$entry.part"
mkdir "$entry.part"
mv "$OUT/qemu/qemu-dirty" "$OUT/qemu/qemu-broken" "$entry.part"
mv "$entry.part" "$entry"
rm -rf "$OUT/qemu"
prune 2 "$CACHE"/qemu-????????????????
