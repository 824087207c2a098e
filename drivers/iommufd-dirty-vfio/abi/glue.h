/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust part of the module takes from C, and C from Rust: read by
 * bindgen.
 */
#ifndef __IOMMUFD_DIRTY_VFIO_GLUE_H
#define __IOMMUFD_DIRTY_VFIO_GLUE_H

#include <linux/iommufd.h>
#include <linux/iommufd_dirty.h>
#include <linux/iova_bitmap.h>
#include <linux/vfio.h>

/* @logs: VFIO's DMA logging of all devices as well. */
int iommufd_dirty_vfio_register(bool logs);
void iommufd_dirty_vfio_unregister(void);

/* struct vfio_device is none of Rust's business. */
const char *iommufd_dirty_vfio_name(struct vfio_device *device);
u64 iommufd_dirty_vfio_space(struct vfio_device *device);
bool iommufd_dirty_vfio_emulated(struct vfio_device *device);
bool iommufd_dirty_vfio_has_log(struct vfio_device *device);

/* See iommufd_device_dirty_get(); NULL if it is no device of iommufd's. */
struct iommufd_hwpt_paging *iommufd_dirty_vfio_hwpt(struct vfio_device *device,
						    u64 *moves);
struct iommufd_ctx *iommufd_dirty_vfio_ictx_get(struct vfio_device *device);
u64 iommufd_dirty_vfio_moves(struct vfio_device *device);

/* Lists the @nr ranges of the tree, ascending. */
void iommufd_dirty_vfio_ranges(struct rb_root_cached *root,
			       struct iommufd_dirty_range *ranges, u32 nr);

/* It is inline. */
int iommufd_dirty_vfio_bitmap_set(struct iova_bitmap *bitmap, u64 iova,
				  u64 length);

/* iommufd_dirty_vfio_feature() is inline. */
int iommufd_dirty_vfio_bind(struct iommufd_dirty_tracker *tracker, u32 flags,
			    void __user *arg, size_t argsz);

/* bindgen does not evaluate sizeof(), nor what is in parentheses. */
enum {
	IOMMUFD_DIRTY_VFIO_PROBE = VFIO_DEVICE_FEATURE_PROBE,
	IOMMUFD_DIRTY_VFIO_MAX_RANGES = VFIO_LOG_MAX_RANGES,
};

/* linux/sched/mm.h and linux/memcontrol.h have these inline only. */
struct mem_cgroup;
struct mem_cgroup *iommufd_dirty_vfio_memcg_get(void);
void iommufd_dirty_vfio_memcg_put(struct mem_cgroup *memcg);
struct mem_cgroup *iommufd_dirty_vfio_memcg_enter(struct mem_cgroup *memcg);
void iommufd_dirty_vfio_memcg_leave(struct mem_cgroup *old);

/* struct vfio_dirty_ops: what glue.c leaves to Rust. */
void *iommufd_dirty_vfio_rs_create(struct vfio_device *device);
int iommufd_dirty_vfio_rs_feature(void *state, u32 flags, void __user *arg,
				  size_t argsz);
void iommufd_dirty_vfio_rs_destroy(void *state);

/* struct vfio_log_ops: likewise. */
bool iommufd_dirty_vfio_rs_has_log(void *state);
int iommufd_dirty_vfio_rs_log_start(void *state, struct rb_root_cached *root,
				    u32 nr, u64 *page_size);
int iommufd_dirty_vfio_rs_log_stop(void *state);
int iommufd_dirty_vfio_rs_log_report(void *state, unsigned long iova,
				     unsigned long length,
				     struct iova_bitmap *bitmap);

#endif
