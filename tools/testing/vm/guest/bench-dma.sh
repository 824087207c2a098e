# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make bench measures of an IOMMU's dirty bits, with the device of bench-dma.qemu.

check "vfio-pci loads" modprobe vfio-pci ids=1b36:0005
check "iommufd-dirty loads" modprobe iommufd-dirty
run bench_idle
