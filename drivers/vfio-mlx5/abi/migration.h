/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of the migration of a VF is inline, or not for modules in Rust: part of
 * what bindgen reads.
 */
#ifndef __VFIO_MLX5_MIGRATION_H
#define __VFIO_MLX5_MIGRATION_H

#include <linux/mlx5/driver.h>

struct file;
struct file_operations;
struct page;

/* Lends a page to the PF: for it to write to, or to read. */
int vfio_mlx5_map_page(struct mlx5_core_dev *mdev, struct page *page,
		       bool device_writes, u64 *address);
void vfio_mlx5_unmap_page(struct mlx5_core_dev *mdev, u64 address,
			  bool device_writes);

/* A stream with the state of a VF. */
struct file *vfio_mlx5_stream(const struct file_operations *fops, void *data,
			      bool reads);

#endif
