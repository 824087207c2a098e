# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# VFs of tools/testing/mlx5-model whose firmware misbehaves, and that go away. The fast
# kernel does it with both drivers; lines "# mlx5-fault" show what each of them does.

LEAKS="what a firmware does not give back is leaked on purpose"
mlx5_up 2
set --
if [ "$KERNEL" = debug ]; then
	# Starting a tracker takes seconds there. And lockdep misses a lock of the PCI core
	# when mlx5_core is unbound that has VFs.
	set -- -T pf_loses_its_driver -v context
fi
export DRIVER=vfio_mlx5
check "$DRIVER loads" modprobe $DRIVER report_timeout_ms=1000
mlx5_bind $DRIVER 2
run mlx5_faults "$@"
run mlx5_removal "$@"
check "$DRIVER unloads" rmmod $DRIVER

if [ "$KERNEL" != debug ]; then
	export DRIVER=mlx5_vfio_pci
	check "$DRIVER loads" modprobe $DRIVER
	mlx5_bind $DRIVER 2
	run mlx5_faults
	run mlx5_removal
	check "$DRIVER unloads" rmmod $DRIVER
fi
mlx5_down
