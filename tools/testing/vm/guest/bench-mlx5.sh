# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make bench measures of the page trackers of mlx5-model's functions, with the C
# driver and with ours in turns, as bench_mlx5 wants it, because the speed of a machine
# changes over time. The model's messages have 4 KiB, as hardware's have. Without
# counting instructions, because the model does not run in the VM's time.

mlx5_up 8
for DRIVER in mlx5_vfio_pci vfio_mlx5 mlx5_vfio_pci vfio_mlx5 mlx5_vfio_pci vfio_mlx5; do
	export DRIVER
	check "$DRIVER loads" modprobe $DRIVER
	mlx5_bind $DRIVER 8
	run bench_mlx5
	check "$DRIVER unloads" rmmod $DRIVER
done
mlx5_down
