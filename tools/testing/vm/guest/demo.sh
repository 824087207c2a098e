# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make demo shows. It checks itself what it shows.

modprobe iommufd-dirty
modprobe iommufd-dirty-mock
check "the demo shows what it promises" demo
