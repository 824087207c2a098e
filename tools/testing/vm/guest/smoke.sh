# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# The module loads, has its device node, and unloads.

check "iommufd-dirty loads" modprobe iommufd-dirty
check "there is /dev/iommufd-dirty" test -c /dev/iommufd-dirty
