# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Dirty pages of real DMA, with the devices of dma.qemu.

check "vfio-pci loads" modprobe vfio-pci ids=1b36:0005,8086:10c9
check "it takes both devices" test -c /dev/vfio/devices/vfio1
check "iommufd-dirty loads" modprobe iommufd-dirty
run dma
run dma_igb
