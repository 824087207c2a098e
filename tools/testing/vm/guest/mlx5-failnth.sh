# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# vfio-mlx5 on tools/testing/mlx5-model, with each of its allocations failing in turn.

check "the kernel can inject faults" test -e /proc/self/fail-nth
# Every second allocation would be one of its own, whose failure does no harm.
check "kmemleak is off" sh -c 'echo off > /sys/kernel/debug/kmemleak'
mlx5_up 2
export DRIVER=vfio_mlx5
check "$DRIVER loads" modprobe $DRIVER
mlx5_bind $DRIVER 2
# The other way has the same code below it.
run mlx5_fail_nth -v context
run mlx5_migration_fail_nth
check "$DRIVER unloads" rmmod $DRIVER
mlx5_down
