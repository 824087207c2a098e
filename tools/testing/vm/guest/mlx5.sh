# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# mlx5_core and mlx5-vfio-pci on tools/testing/mlx5-model, the devices of mlx5.qemu.

PF=/sys/bus/pci/devices/0000:00:04.0

# Nothing that mlx5_core says is a warning, or worse.
no_complaint() {
	dmesg -r | grep mlx5_core | grep '^<[0-4]>' | sed 's/^/# /' > /tmp/complaints
	cat /tmp/complaints
	[ ! -s /tmp/complaints ]
}

driver_of() { basename "$(readlink "$1/driver")"; }

check "the PF can have VFs" modprobe mlx5-model-sriov
check "they are none yet" [ "$(cat $PF/sriov_totalvfs):$(cat $PF/sriov_numvfs)" = 2:0 ]
check "mlx5_core loads" modprobe mlx5_core
check "it drives the PF" [ "$(driver_of $PF)" = mlx5_core ]
check "and has no complaint" no_complaint
echo 0 > $PF/sriov_drivers_autoprobe
echo 2 > $PF/sriov_numvfs
check "there are two VFs" test -e $PF/virtfn1
check "and no complaint" no_complaint

check "mlx5-vfio-pci loads" modprobe mlx5-vfio-pci
for vf in 0 1; do
	echo mlx5_vfio_pci > $PF/virtfn$vf/driver_override
	basename "$(readlink $PF/virtfn$vf)" > /sys/bus/pci/drivers_probe
	check "it drives VF $vf" [ "$(driver_of $PF/virtfn$vf)" = mlx5_vfio_pci ]
done
run mlx5
check "no complaint from that" no_complaint
run mlx5_migration
# It has refused a damaged image, and said so.
dmesg -c > /dev/null
check "mlx5-vfio-pci unloads" rmmod mlx5-vfio-pci

echo 0 > $PF/sriov_numvfs
check "and none" test ! -e $PF/virtfn0
check "mlx5_core unloads" rmmod mlx5_core
check "without a complaint" no_complaint
