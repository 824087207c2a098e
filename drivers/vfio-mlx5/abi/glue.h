/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust part of the module takes from C, and C from Rust: read by
 * bindgen.
 */
#ifndef __VFIO_MLX5_GLUE_H
#define __VFIO_MLX5_GLUE_H

#include <linux/iommufd_dirty.h>
#include <linux/vfio.h>

#include "mlx5.h"

/* The PCI driver. */
int vfio_mlx5_register(void);
void vfio_mlx5_unregister(void);

#endif
