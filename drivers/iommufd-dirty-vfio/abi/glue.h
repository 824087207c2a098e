/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust part of the module takes from C, and C from Rust: read by
 * bindgen.
 */
#ifndef __IOMMUFD_DIRTY_VFIO_GLUE_H
#define __IOMMUFD_DIRTY_VFIO_GLUE_H

#include <linux/iommufd_dirty.h>
#include <linux/vfio.h>

int iommufd_dirty_vfio_register(void);
void iommufd_dirty_vfio_unregister(void);

/* struct vfio_device is none of Rust's business. */
const char *iommufd_dirty_vfio_name(struct vfio_device *device);
u64 iommufd_dirty_vfio_space(struct vfio_device *device);
bool iommufd_dirty_vfio_emulated(struct vfio_device *device);
bool iommufd_dirty_vfio_has_log(struct vfio_device *device);

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
struct mem_cgroup *iommufd_dirty_memcg_get(void);
void iommufd_dirty_memcg_put(struct mem_cgroup *memcg);
struct mem_cgroup *iommufd_dirty_memcg_enter(struct mem_cgroup *memcg);
void iommufd_dirty_memcg_leave(struct mem_cgroup *old);

/* struct vfio_dirty_ops: what glue.c leaves to Rust. */
void *iommufd_dirty_vfio_rs_create(struct vfio_device *device);
int iommufd_dirty_vfio_rs_feature(void *made, u32 flags, void __user *arg,
				  size_t argsz);
void iommufd_dirty_vfio_rs_destroy(void *made);

#endif
