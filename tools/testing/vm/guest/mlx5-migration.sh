# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Migration of VFs of tools/testing/mlx5-model with vfio-mlx5, and from and to
# mlx5-vfio-pci.

mlx5_up 3
check "vfio-mlx5 loads" modprobe vfio-mlx5
mlx5_rebind 0 vfio_mlx5
mlx5_rebind 1 vfio_mlx5
DRIVER=vfio_mlx5 run mlx5_migration
DRIVER=vfio_mlx5 run mlx5_image
DRIVER=vfio_mlx5 run mlx5_precopy
DRIVER=vfio_mlx5 run mlx5_migration_faults

# If it is reset while its stream is read, mlx5-vfio-pci takes its locks in two orders:
# lockdep reports it, and the debug kernel stops.
if [ "$KERNEL" != debug ]; then
	check "mlx5-vfio-pci loads" modprobe mlx5-vfio-pci
	mlx5_rebind 1 mlx5_vfio_pci
	echo "# from mlx5-vfio-pci to vfio-mlx5"
	DRIVER=mlx5_vfio_pci DRIVER_TO=vfio_mlx5 run mlx5_image
	DRIVER=mlx5_vfio_pci DRIVER_TO=vfio_mlx5 run mlx5_precopy
	echo "# from vfio-mlx5 to mlx5-vfio-pci"
	DRIVER=vfio_mlx5 DRIVER_TO=mlx5_vfio_pci run mlx5_image
	DRIVER=vfio_mlx5 DRIVER_TO=mlx5_vfio_pci run mlx5_precopy
	mlx5_rebind 0 mlx5_vfio_pci
	echo "# mlx5-vfio-pci by itself"
	DRIVER=mlx5_vfio_pci run mlx5_migration
	DRIVER=mlx5_vfio_pci run mlx5_image
	DRIVER=mlx5_vfio_pci run mlx5_precopy
	check "mlx5-vfio-pci unloads" rmmod mlx5-vfio-pci
fi
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
