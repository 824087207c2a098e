# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Dirty pages of real DMA, with the devices of dma.qemu.

check "vfio-pci takes the device" modprobe vfio-pci ids=1b36:0005
check "there is a VFIO device" test -c /dev/vfio/devices/vfio0
check "iommufd-dirty loads" modprobe iommufd-dirty
run dma
