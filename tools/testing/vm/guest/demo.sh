# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make demo shows, with the devices of demo.qemu. It checks what it shows.

mlx5_up 3
modprobe vfio-mlx5
mlx5_bind vfio_mlx5 3
for module in iommufd-dirty-mock iommufd-dirty-emulated iommufd-dirty-vfio; do
	modprobe $module
done
check "the demo shows what it promises" demo
rmmod iommufd-dirty-emulated
migratable_up plain
check "QEMU's part as well" migrate --demo
check "iommufd-dirty-migratable unloads" rmmod iommufd-dirty-migratable
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
