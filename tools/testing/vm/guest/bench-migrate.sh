# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# What make bench measures of live migrations with VFs of mlx5-model. The model's messages
# have 4 KiB, as hardware's have.

mlx5_up 8
check "vfio-mlx5 loads" modprobe vfio-mlx5
mlx5_bind vfio_mlx5 8
check "migrations are measured, and lose nothing" migrate --bench 5
check "vfio-mlx5 unloads" rmmod vfio-mlx5
mlx5_down
