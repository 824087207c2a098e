# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Live migration between two QEMUs in this VM, with devices that the IOMMU tracks.

check "the modules load" modprobe iommufd-dirty-vfio
migratable_up log
run migrate stock-iommu stock-iommu-emulated off-iommu-remap iommu iommu-emulated iommu-remap broken-harvest
check "it unloads" rmmod iommufd-dirty-migratable
