// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the module that must be C: VFIO's ops, because the feature is an
 * inline function, and looks into struct vfio_device.
 */
#include <linux/iommufd_dirty_vfio.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

#include "glue.h"

static int dirty_feature(struct vfio_device *device, void *made, u32 flags,
			 void __user *arg, size_t argsz)
{
	if (!(flags & VFIO_DEVICE_FEATURE_PROBE) &&
	    vfio_device_log_in_use(device))
		return -EBUSY;
	return iommufd_dirty_vfio_rs_feature(made, flags, arg, argsz);
}

static const struct vfio_dirty_ops dirty_ops = {
	.owner = THIS_MODULE,
	.create = iommufd_dirty_vfio_rs_create,
	.feature = dirty_feature,
	.destroy = iommufd_dirty_vfio_rs_destroy,
};

int iommufd_dirty_vfio_register(void)
{
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

/* That of whoever opened the context, if he is the one who is charged now. */
struct mem_cgroup *iommufd_dirty_memcg_get(void)
{
	return get_mem_cgroup_from_mm(NULL);
}

void iommufd_dirty_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

struct mem_cgroup *iommufd_dirty_memcg_enter(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

void iommufd_dirty_memcg_leave(struct mem_cgroup *old)
{
	set_active_memcg(old);
}
