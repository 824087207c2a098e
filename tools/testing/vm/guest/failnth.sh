# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# Every ioctl with each of its allocations and user copies failing in turn.

check "the kernel can inject faults" test -e /proc/self/fail-nth
check "the modules load" modprobe iommufd-dirty-mock
run fail_nth
