#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes everything that the VMs of the kernels KERNEL... need and that does not exist yet.
#
# setup.sh fast|debug|stock|tree|kdir...
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
	if [ "$name" = tree ]; then
		"$REPO/tools/series/make.sh" > "$LOGS/series.log" || {
			cat "$LOGS/series.log"
			exit 1
		}
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
	case $name in
	stock | tree) ;;
	*) "$VM/vmm.sh" "$name" ;;
	esac
done
