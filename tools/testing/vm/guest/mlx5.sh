# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# mlx5_core and both drivers for its VFs on tools/testing/mlx5-model, the devices of
# mlx5.qemu: the same tests for each driver.

# The fast kernel does all 1,000 of them.
if [ "$KERNEL" = debug ]; then
	export MLX5_ROUNDS=50
fi
mlx5_up 3
for DRIVER in mlx5_vfio_pci vfio_mlx5; do
	export DRIVER
	check "$DRIVER loads" modprobe $DRIVER
	mlx5_bind $DRIVER 3
	run mlx5
	# The C driver is there to be compared with, and the fast kernel does that.
	if [ "$KERNEL-$DRIVER" != debug-mlx5_vfio_pci ]; then
		run mlx5_rounds
		run mlx5_tracker
		check "no complaint from that" mlx5_no_complaint
		run mlx5_company
	fi
	if [ $DRIVER = vfio_mlx5 ]; then
		run mlx5_binding
		run mlx5_signals
	fi
	# A third tracker was refused, and mlx5_core said so.
	dmesg -c > /dev/null
	check "$DRIVER unloads" rmmod $DRIVER
done
mlx5_down
check "without a complaint" mlx5_no_complaint
