#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes everything that the VMs of the kernels KERNEL... need and that does not exist yet.
#
# setup.sh fast|debug|stock|kdir...
. "$(dirname "$0")/lib.sh"

need_root
"$VM/prereqs.sh"
"$VM/root.sh"
use_entry "$ROOT"
for name; do
	if [ "$name" = kdir ]; then
		"$VM/kdir.sh"
		continue
	fi
	"$VM/kernel.sh" "$name"
	use_entry "$(kernel_entry "$name")"
done
lock "$OUT/crates"
"$VM/crates.sh" "$1"
for name; do
	lock "$OUT/$name"
	"$VM/modules.sh" "$name"
	"$VM/programs.sh" "$name"
	"$VM/initramfs.sh" "$name"
done
lock "$OUT/mlx5-model"
"$VM/model.sh" "$1"
for name; do
	if [ "$name" != stock ]; then
		"$VM/vmm.sh" "$name"
	fi
done
