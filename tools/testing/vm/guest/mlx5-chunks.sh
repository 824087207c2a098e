# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Migration of VFs whose firmware saves in chunks, 30 MB in all: with vfio-mlx5, with
# mlx5-vfio-pci, and from one to the other.

# run_with DRIVER [DRIVER_TO]: VF 0 is of the first one, VF 1 of the second one.
run_with() {
	mlx5_rebind 0 "$1"
	mlx5_rebind 1 "${2:-$1}"
	echo "# from $1 to ${2:-$1}"
	DRIVER=$1 DRIVER_TO=${2:-$1} run mlx5_precopy
}

export CHUNKS=1
mlx5_up 3
check "vfio-mlx5 loads" modprobe vfio-mlx5
run_with vfio_mlx5
if [ "$KERNEL" != debug ]; then
	check "mlx5-vfio-pci loads" modprobe mlx5-vfio-pci
	run_with vfio_mlx5 mlx5_vfio_pci
	mlx5_rebind 1 vfio_mlx5
	run_with mlx5_vfio_pci vfio_mlx5
	run_with mlx5_vfio_pci
	check "mlx5-vfio-pci unloads" rmmod mlx5-vfio-pci
fi
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
