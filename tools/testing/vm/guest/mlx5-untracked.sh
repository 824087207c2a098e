# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# VFs of tools/testing/mlx5-model that can be migrated but not tracked, with either
# driver.

said() { dmesg | grep "$1" > /tmp/said; }

mlx5_up 2
export UNTRACKED=1
for DRIVER in vfio_mlx5 mlx5_vfio_pci; do
	export DRIVER
	check "$DRIVER loads" modprobe $DRIVER
	mlx5_bind $DRIVER 2
	run mlx5_migration
	check "$DRIVER unloads" rmmod $DRIVER
done
check "vfio-mlx5 says why" said "cannot be tracked: the firmware has no page tracker"
mlx5_down
