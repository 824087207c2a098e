# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make demo shows, with the devices of demo.qemu. It checks itself what it shows.

vfs 1 vfio-mlx5
for module in iommufd-dirty-mock iommufd-dirty-emulated iommufd-dirty-vfio; do
	modprobe $module
done
check "the demo shows what it promises" demo
