# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What somebody with a ConnectX runs, on tools/testing/mlx5-model.

not_ready() {
	! /selftests/hw.sh 0000:00:04.1 /tmp/report &&
		grep -q "driver_override" /tmp/report
}

# Somebody has the script, and has not built the program yet.
not_built() {
	mkdir -p /tmp/script
	cp /selftests/hw.sh /tmp/script/
	! /tmp/script/hw.sh 0000:00:04.1 /tmp/report-not-built &&
		grep -q "vfio_mlx5 drives it" /tmp/report-not-built &&
		grep -q "make -C .* headers_install" /tmp/report-not-built &&
		grep -q "prerequisites missing: 1" /tmp/report-not-built
}

mlx5_up 3
check "vfio-mlx5 loads" modprobe vfio-mlx5
check "a VF of another driver is recognized" not_ready
mlx5_bind vfio_mlx5 1
check "it checks all that it can without its program" not_built
check "the script has no complaints" /selftests/hw.sh 0000:00:04.1 /tmp/report
check "it left a report" grep -q "Everything is as it should be" /tmp/report
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
