# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make demo shows, with the devices of demo.qemu. It checks itself what it shows.

mlx5_up 3
modprobe vfio-mlx5
mlx5_bind vfio_mlx5 1
for module in iommufd-dirty-mock iommufd-dirty-emulated iommufd-dirty-vfio; do
	modprobe $module
done
check "the demo shows what it promises" demo
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
