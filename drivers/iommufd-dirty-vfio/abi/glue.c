// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the module that must be C: VFIO's ops, because the feature is an
 * inline function, and looks into struct vfio_device.
 */
#include <linux/interval_tree.h>
#include <linux/iommufd_dirty_vfio.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

#include "glue.h"

static int dirty_feature(struct vfio_device *device, void *state, u32 flags,
			 void __user *arg, size_t argsz)
{
	if (!(flags & VFIO_DEVICE_FEATURE_PROBE) &&
	    vfio_device_log_in_use(device))
		return -EBUSY;
	return iommufd_dirty_vfio_rs_feature(state, flags, arg, argsz);
}

static int log_start(struct vfio_device *device, struct rb_root_cached *ranges,
		     u32 nr, u64 *page_size)
{
	return iommufd_dirty_vfio_rs_log_start(device->dirty_tracker, ranges,
					       nr, page_size);
}

static int log_stop(struct vfio_device *device)
{
	return iommufd_dirty_vfio_rs_log_stop(device->dirty_tracker);
}

static int log_read_and_clear(struct vfio_device *device, unsigned long iova,
			      unsigned long length, struct iova_bitmap *bitmap)
{
	return iommufd_dirty_vfio_rs_log_report(device->dirty_tracker, iova,
						length, bitmap);
}

static bool has_log(struct vfio_device *device, void *state)
{
	return iommufd_dirty_vfio_rs_has_log(state);
}

static const struct vfio_log_ops log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};

static struct vfio_dirty_ops dirty_ops = {
	.owner = THIS_MODULE,
	.create = iommufd_dirty_vfio_rs_create,
	.feature = dirty_feature,
	.has_log = has_log,
	.destroy = iommufd_dirty_vfio_rs_destroy,
};

int iommufd_dirty_vfio_register(bool logs)
{
	if (logs)
		dirty_ops.log_ops = &log_ops;
	return vfio_dirty_register(&dirty_ops);
}

void iommufd_dirty_vfio_unregister(void)
{
	vfio_dirty_unregister(&dirty_ops);
}

int iommufd_dirty_vfio_bind(struct iommufd_dirty_tracker *tracker, u32 flags,
			    void __user *arg, size_t argsz)
{
	return iommufd_dirty_vfio_feature(tracker, flags, arg, argsz);
}

const char *iommufd_dirty_vfio_name(struct vfio_device *device)
{
	return dev_name(device->dev);
}

u64 iommufd_dirty_vfio_space(struct vfio_device *device)
{
	return vfio_device_dirty_space(device);
}

bool iommufd_dirty_vfio_emulated(struct vfio_device *device)
{
	return device->iommufd_access;
}

bool iommufd_dirty_vfio_has_log(struct vfio_device *device)
{
	return device->log_ops;
}

struct iommufd_hwpt_paging *iommufd_dirty_vfio_hwpt(struct vfio_device *device,
						    u64 *moves)
{
	if (!device->iommufd_device)
		return NULL;
	return iommufd_device_dirty_get(device->iommufd_device, moves);
}

struct iommufd_ctx *iommufd_dirty_vfio_ictx_get(struct vfio_device *device)
{
	struct iommufd_ctx *ictx = vfio_iommufd_device_ictx(device);

	if (ictx)
		iommufd_ctx_get(ictx);
	return ictx;
}

u64 iommufd_dirty_vfio_moves(struct vfio_device *device)
{
	if (!device->iommufd_device)
		return 0;
	return iommufd_device_dirty_moves(device->iommufd_device);
}

void iommufd_dirty_vfio_ranges(struct rb_root_cached *root,
			       struct iommufd_dirty_range *ranges, u32 nr)
{
	struct interval_tree_node *node;

	for (node = interval_tree_iter_first(root, 0, ULONG_MAX); node && nr;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		ranges->iova = node->start;
		ranges->length = node->last - node->start + 1;
		ranges++;
		nr--;
	}
}

int iommufd_dirty_vfio_bitmap_set(struct iova_bitmap *bitmap, u64 iova,
				  u64 length)
{
	return iova_bitmap_set(bitmap, iova, length);
}

/* The one that is charged now: that of the task that opened the context. */
struct mem_cgroup *iommufd_dirty_vfio_memcg_get(void)
{
	return get_mem_cgroup_from_mm(NULL);
}

void iommufd_dirty_vfio_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

struct mem_cgroup *iommufd_dirty_vfio_memcg_enter(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

void iommufd_dirty_vfio_memcg_leave(struct mem_cgroup *old)
{
	set_active_memcg(old);
}
