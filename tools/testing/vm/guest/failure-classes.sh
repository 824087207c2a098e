# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# The requests that upstream's read of dirty pages gets wrong.

if [ "$KERNEL" = stock ]; then
	run failure_classes stock
else
	check "iommufd-dirty loads" modprobe iommufd-dirty
	run failure_classes patched
fi
