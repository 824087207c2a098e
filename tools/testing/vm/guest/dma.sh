# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Dirty pages of real DMA, with the devices of dma.qemu; and the kernel's own tests of
# the page table's format.

printf x86_64_fmt_test > /sys/module/kunit/parameters/filter_glob
check "generic_pt's KUnit tests load" modprobe iommu_pt_kunit_test
check "x86_64_fmt_test passes" \
	grep -q '^ok 1 x86_64_fmt_test' /sys/kernel/debug/kunit/x86_64_fmt_test/results

# The fast kernel does all 1,000 of them.
if [ "$KERNEL" = debug ]; then
	export DMA_ROUNDS=100
fi
check "vfio-pci loads" modprobe vfio-pci ids=1b36:0005,8086:10c9
check "it takes all three devices" test -c /dev/vfio/devices/vfio2
check "iommufd-dirty loads" modprobe iommufd-dirty
check "and its tests' devices" modprobe iommufd-dirty-mock
{
	run dma
	run dma_log
	run dma_log_race
	run dma_igb
	run scenarios
} | tee /tmp/output

# The same device, with the driver that can migrate it.
check "iommufd-dirty-testdev loads" modprobe iommufd-dirty-testdev
for device in /sys/bus/pci/drivers/vfio-pci/*:*; do
	if [ "$(cat "$device/vendor"):$(cat "$device/device")" = 0x1b36:0x0005 ]; then
		echo iommufd-dirty-testdev > "$device/driver_override"
		basename "$device" > "$device/driver/unbind"
		basename "$device" > /sys/bus/pci/drivers_probe
	fi
done
run testdev_migration | tee -a /tmp/output
check "the devices and the IOMMU are there: no test is skipped" \
	sh -c '! grep -q "# SKIP" /tmp/output'
