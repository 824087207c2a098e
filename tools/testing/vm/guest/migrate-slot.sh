# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# As migrate, with a firmware that has one page tracker.

mlx5_up 4
check "vfio-mlx5 loads" modprobe vfio-mlx5
mlx5_bind vfio_mlx5 4
run migrate stock-one-slot one-slot one-slot-all-dirty
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
