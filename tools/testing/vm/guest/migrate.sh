# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Live migration between two QEMUs in this VM, with virtual functions of mlx5-model and
# emulated devices: Debian's QEMU, and the one with patches/qemu.

mlx5_up 4
check "vfio-mlx5 loads" modprobe vfio-mlx5
mlx5_bind vfio_mlx5 4
migratable_up plain
CASES="stock-vf-emulated vf-emulated two-vfs vf-no-log vf-no-log-all-dirty tracker-fails"
CASES="$CASES tracker-fails-all-dirty cancel hotplug destination-refuses source-killed"
CASES="$CASES back-and-forth remap viommu"
if [ "$KERNEL" = fast ]; then
	CASES="stock-vf stock-two-vfs stock-vf-no-log off-vf off-vf-emulated vf late broken-final broken-range broken-unmap $CASES"
	CASES="$CASES multifd postcopy only-migratable"
fi
# shellcheck disable=SC2086 # as many arguments as there are words
run migrate $CASES

# As in mlx5-migration, mlx5-vfio-pci is not for the debug kernel.
if [ "$KERNEL" = fast ]; then
	check "mlx5-vfio-pci loads" modprobe mlx5-vfio-pci
	mlx5_rebind 1 mlx5_vfio_pci
	run migrate stock-rust-to-c
	mlx5_rebind 0 mlx5_vfio_pci
	mlx5_rebind 1 vfio_mlx5
	run migrate stock-c-to-rust c-to-rust
	mlx5_rebind 0 vfio_mlx5
	check "mlx5-vfio-pci unloads" rmmod mlx5-vfio-pci
fi
check "iommufd-dirty-migratable unloads" rmmod iommufd-dirty-migratable
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
