# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What somebody with a ConnectX runs, on tools/testing/mlx5-model.

not_ready() {
	! /selftests/hw.sh 0000:00:04.1 /tmp/report &&
		grep -q "driver_override" /tmp/report
}

mlx5_up 3
check "vfio-mlx5 loads" modprobe vfio-mlx5
check "a VF of another driver is told apart" not_ready
mlx5_bind vfio_mlx5 1
check "the script has nothing to complain of" /selftests/hw.sh 0000:00:04.1 /tmp/report
check "it left a report" grep -q "All of it is as it should be" /tmp/report
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
