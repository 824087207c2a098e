# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make bench measures.

check "the modules load" modprobe iommufd-dirty-mock
run bench_hwpt
