# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# crates/ against the kernel: first the tests that need no device, then a migration of
# what two VFs of tools/testing/mlx5-model, the devices of crates.qemu, write.

migrate() {
	/selftests/mini-migrate "$PF/virtfn0" "$PF/virtfn1" > /tmp/migrated 2>&1
	set -- $?
	sed 's/^/# /' /tmp/migrated
	return "$1"
}

check "the tests' devices load" \
	modprobe -a iommufd-dirty-mock iommufd-dirty-emulated iommufd-dirty-vfio
run crates_kernel

mlx5_up 2
check "vfio-mlx5 loads" modprobe vfio-mlx5
mlx5_bind vfio_mlx5 2
check "mini-migrate migrates what two VFs write" migrate
check "each of them wrote until the end" grep -q "last round: .* (device 0: [1-9].*, device 1: [1-9]" /tmp/migrated
check "and the memory is the same" grep -q "has the same memory" /tmp/migrated
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
check "without a complaint" mlx5_no_complaint
