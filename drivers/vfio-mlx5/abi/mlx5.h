/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of mlx5_core's interface is inline or looks into its structures: part of
 * what bindgen reads.
 */
#ifndef __VFIO_MLX5_MLX5_H
#define __VFIO_MLX5_MLX5_H

#include <linux/mlx5/driver.h>
#include <linux/mlx5/mlx5_ifc.h>

#endif
