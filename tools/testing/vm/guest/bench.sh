# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make bench measures.

check "the modules load" modprobe iommufd-dirty-mock
echo "# bench-machine $(nproc) $(uname -r) $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo |
	head -n 1)"
run bench_hwpt
run bench_wait
run bench_sparse
if modprobe -q iommufd-dirty-emulated nr=8; then
	check "the module for VFIO devices loads" modprobe iommufd-dirty-vfio
	run bench_software
fi
run bench_stopped
