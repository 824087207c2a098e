/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO_DEVICE_FEATURE_DIRTY_TRACKER for a VFIO driver whose device has a dirty
 * tracker. It is separate from linux/iommufd_dirty.h because trackers do not need
 * VFIO.
 */
#ifndef __LINUX_IOMMUFD_DIRTY_VFIO_H
#define __LINUX_IOMMUFD_DIRTY_VFIO_H

#include <linux/iommufd_dirty.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>

/**
 * iommufd_dirty_vfio_feature() - For use in &vfio_device_ops.device_feature
 * @tracker: The device's tracker, registered
 * @flags: As passed to device_feature: VFIO_DEVICE_FEATURE_SET or _PROBE
 * @arg: As passed to device_feature: struct vfio_device_feature_dirty_tracker
 * @argsz: As passed to device_feature: bytes at @arg
 *
 * Context: Process context of the task that made the request, may sleep.
 *
 * Return: What device_feature has to return: 0 or a negative errno, see
 * iommufd_dirty_bind().
 */
static inline int
iommufd_dirty_vfio_feature(struct iommufd_dirty_tracker *tracker, u32 flags,
			   void __user *arg, size_t argsz)
{
	struct vfio_device_feature_dirty_tracker __user *uarg = arg;
	struct vfio_device_feature_dirty_tracker feature;
	int ret;

	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_SET,
				 sizeof(feature));
	if (ret != 1)
		return ret;
	if (copy_from_user(&feature, uarg, sizeof(feature)))
		return -EFAULT;
	/* If its id could not be returned, the tracker could not be unbound. */
	if (put_user(0, &uarg->out_tracker_id))
		return -EFAULT;
	ret = iommufd_dirty_bind(tracker, feature.context_fd, feature.flags,
				 feature.policy, feature.cookie);
	if (ret < 0)
		return ret;
	return put_user(ret, &uarg->out_tracker_id);
}

#endif
