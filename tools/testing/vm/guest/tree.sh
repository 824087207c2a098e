# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make series makes: the modules and the selftests come from a kernel tree. Every
# test has run elsewhere, with the same files; here it is seen that they are all there.

check "the core is the kernel's own module" \
	test -e "/lib/modules/$(uname -r)/kernel/drivers/iommu/iommufd-dirty/iommufd-dirty.ko"
check "the test modules load" modprobe iommufd-dirty-mock
run session
run hwpt
run software
run vfio_log
check "vfio-mlx5 loads" modprobe vfio-mlx5
