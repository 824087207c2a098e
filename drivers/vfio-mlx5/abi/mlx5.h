/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of mlx5_core's interface is inline or looks into its structures: part of
 * what bindgen reads.
 */
#ifndef __VFIO_MLX5_MLX5_H
#define __VFIO_MLX5_MLX5_H

#include <linux/mlx5/cq.h>
#include <linux/mlx5/driver.h>
#include <linux/mlx5/eq.h>
#include <linux/mlx5/mlx5_ifc.h>
#include <linux/mlx5/qp.h>

/* bindgen does not evaluate macros of macros. */
enum {
	VFIO_MLX5_CAP_LEN = MLX5_UN_SZ_BYTES(hca_cap_union),
	VFIO_MLX5_MTU_4096 = IB_MTU_4096,
};

/* A page of the device's capabilities, VFIO_MLX5_CAP_LEN bytes. */
const void *vfio_mlx5_cap(struct mlx5_core_dev *mdev, enum mlx5_cap_type type);
int vfio_mlx5_numa_node(struct mlx5_core_dev *mdev);
bool vfio_mlx5_is_embedded(struct mlx5_core_dev *mdev);
u8 vfio_mlx5_ts_format(struct mlx5_core_dev *mdev);

/*
 * 2^order pages, all 0, that the device may write to, or else read, at *address;
 * NULL. Charged to the memory cgroup in force. The CPU touches them between a sync
 * for the CPU and one for the device.
 */
unsigned int vfio_mlx5_piece_max_order(struct mlx5_core_dev *mdev);
void *vfio_mlx5_piece_alloc(struct mlx5_core_dev *mdev, unsigned int order,
			    bool device_writes, u64 *address);
void vfio_mlx5_piece_free(struct mlx5_core_dev *mdev, void *piece,
			  unsigned int order, bool device_writes, u64 address);
void vfio_mlx5_piece_sync(struct mlx5_core_dev *mdev, u64 address, size_t size,
			  bool device_writes, bool for_cpu);

u32 vfio_mlx5_uar_index(struct mlx5_uars_page *uar);
void vfio_mlx5_cq_arm(struct mlx5_core_cq *cq, struct mlx5_uars_page *uar,
		      u32 counter);
void vfio_mlx5_cq_wait_unused(struct mlx5_core_cq *cq);

/* Is an event about a page tracker, about a queue pair? And about which one? */
bool vfio_mlx5_event_tracker(const void *eqe, u32 *id);
bool vfio_mlx5_event_qp(const void *eqe, u32 *qpn);

#endif
