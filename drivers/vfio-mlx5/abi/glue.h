/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust part of the module takes from C, and C from Rust: read by
 * bindgen.
 */
#ifndef __VFIO_MLX5_GLUE_H
#define __VFIO_MLX5_GLUE_H

#include <linux/iommufd_dirty.h>
#include <linux/iova_bitmap.h>
#include <linux/mlx5/vport.h>
#include <linux/notifier.h>
#include <linux/pci.h>
#include <linux/vfio.h>

#include "migration.h"
#include "mlx5.h"

/* The PCI driver. */
int vfio_mlx5_register(void);
void vfio_mlx5_unregister(void);

/* Is the current task about to be killed? */
bool vfio_mlx5_killed(void);

/* bindgen does not evaluate macros of macros. */
enum {
	VFIO_MLX5_QUERY_CAP_LEN = MLX5_ST_SZ_BYTES(query_hca_cap_out),
	VFIO_MLX5_QUERY_CAP_AT = MLX5_BYTE_OFF(query_hca_cap_out, capability),
};

/* struct vfio_device and struct pci_dev are none of Rust's business. */
bool vfio_mlx5_has_moved(struct vfio_device *device);
const char *vfio_mlx5_name(struct pci_dev *pdev);
int vfio_mlx5_vf_id(struct pci_dev *pdev);

/* Where VFIO's DMA logging is reported to, and what it is started with. */
int vfio_mlx5_bitmap_set(struct iova_bitmap *bitmap, u64 iova, u64 length);
u32 vfio_mlx5_ranges(struct rb_root_cached *root,
		     struct iommufd_dirty_range *ranges, u32 max);

/*
 * What glue.c leaves to Rust. A VF that can be migrated is an opaque pointer
 * there, from probe to remove.
 */
void *vfio_mlx5_rs_probe(struct pci_dev *pdev);
void vfio_mlx5_rs_remove(void *vf);
int vfio_mlx5_rs_open(void *vf, struct vfio_device *device);
void vfio_mlx5_rs_close(void *vf);
bool vfio_mlx5_rs_tracks(void *vf);
struct iommufd_dirty_tracker *vfio_mlx5_rs_tracker(void *vf);
bool vfio_mlx5_rs_logs(void *vf);
int vfio_mlx5_rs_log_start(void *vf, struct rb_root_cached *root, u32 nr,
			   u64 *page_size);
int vfio_mlx5_rs_log_stop(void *vf);
int vfio_mlx5_rs_log_read(void *vf, unsigned long iova, unsigned long length,
			  struct iova_bitmap *bitmap);

/* The migration of such a VF. */
struct file *vfio_mlx5_rs_set_state(void *vf, struct vfio_device *device,
				    enum vfio_device_mig_state state);
enum vfio_device_mig_state vfio_mlx5_rs_get_state(void *vf);
int vfio_mlx5_rs_data_size(void *vf, unsigned long *size);
void vfio_mlx5_rs_reset(void *vf);

#endif
