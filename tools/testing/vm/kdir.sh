#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Takes what a VM needs from the user's built kernel tree, KDIR.
. "$(dirname "$0")/lib.sh"

entry=$(kernel_entry kdir)
image=$KDIR/arch/x86/boot/bzImage

[ -f "$KDIR/.config" ] || die "KDIR=$KDIR has no .config: it is not a built kernel tree"
[ -f "$image" ] || die "KDIR=$KDIR has no kernel: run 'make bzImage modules' there"
[ -f "$(kdir_source)/tools/testing/selftests/kselftest_harness.h" ] ||
	die "KDIR=$KDIR has only headers, no source: it can only be used for 'make modules'"

mkdir -p "$entry/src"
cp "$image" "$entry/bzImage"
rm -rf "$entry/mods"
say "Modules and headers of $KDIR"
take() {
	make -C "$KDIR" LLVM="$(kdir_llvm)" INSTALL_MOD_PATH="$entry/mods" modules_install &&
		make -C "$KDIR" LLVM="$(kdir_llvm)" headers &&
		mkdir -p "$entry/build/usr" &&
		cp -r "$KDIR/usr/include" "$entry/build/usr"
}
logged "$LOGS/kdir.log" take
