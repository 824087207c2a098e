/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The two ways to the page tracker of a function: VFIO's DMA logging, and a context
 * of /dev/iommufd-dirty. What a test does by either is the same.
 */
#ifndef SELFTESTS_MLX5_WAYS_H
#define SELFTESTS_MLX5_WAYS_H

#include "mlx5.h"

#define NO_DIRTY_TRACKER "the device has no tracker for a context"
#define WAY_MAX_RANGES 64

enum way {
	WAY_LOG,
	WAY_CONTEXT,
};

/**
 * struct tracking - A function that is or can be tracked
 * @way: How
 * @device: File descriptor of the VFIO device
 * @fd: The context, or -1
 * @id: The device's tracker in it
 * @granule: Bytes per bit, once it is started
 * @ranges: Those that the context has
 */
struct tracking {
	enum way way;
	int device;
	int fd;
	__u32 id;
	__u64 granule;
	struct iommufd_dirty_range ranges[WAY_MAX_RANGES];
	unsigned int nr_ranges;
};

static inline bool is_our_driver(void)
{
	return !strcmp(vf_driver(), VFIO_MLX5);
}

static inline void tracking_init(struct tracking *tracking)
{
	*tracking = (struct tracking){ .fd = -1 };
}

/* 0 or a negative errno, as all of these. ENOTTY: there is no such way. */
static inline int tracking_open(struct tracking *tracking, enum way way, const struct vf *vf,
				__u32 policy)
{
	int err;

	*tracking = (struct tracking){ .way = way, .device = vf->device, .fd = -1 };
	if (way == WAY_LOG)
		return 0;
	tracking->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	if (tracking->fd == -1)
		return errno == ENOENT ? -ENOTTY : -errno;
	if (!_vfio_dirty_bind(vf->device, tracking->fd, policy, &tracking->id))
		return 0;
	err = -errno;
	close(tracking->fd);
	tracking->fd = -1;
	return err;
}

/* In a fixture's setup. */
#define test_tracking_open(tracking, way, vf, policy)                      \
	({                                                                 \
		int __err = tracking_open(tracking, way, vf, policy);      \
									   \
		if (__err == -ENOTTY)                                      \
			SKIP(return, NO_DIRTY_TRACKER);                    \
		ASSERT_EQ(0, __err);                                       \
	})

static inline void tracking_close(struct tracking *tracking)
{
	if (tracking->fd != -1)
		close(tracking->fd);
	tracking->fd = -1;
}

static inline int log_start(int device, __u64 *page_size,
			    const struct iommufd_dirty_range *ranges, unsigned int count)
{
	/* It has the layout of struct vfio_device_feature_dma_logging_range. */
	struct vfio_device_feature_dma_logging_control data = {
		.page_size = *page_size,
		.num_ranges = count,
		.ranges = (uintptr_t)ranges,
	};
	int err = vf_feature(device,
			     VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			     &data, sizeof(data));

	if (!err)
		*page_size = data.page_size;
	return err;
}

static inline int context_set_ranges(struct tracking *tracking,
				     const struct iommufd_dirty_range *ranges,
				     unsigned int count)
{
	if (count > WAY_MAX_RANGES)
		return -E2BIG;
	if (tracking->nr_ranges &&
	    _test_cmd_ranges(tracking->fd, IOMMUFD_DIRTY_RANGES_REMOVE, tracking->ranges,
			     tracking->nr_ranges))
		return -errno;
	tracking->nr_ranges = 0;
	if (_test_cmd_ranges(tracking->fd, 0, ranges, count))
		return -errno;
	memcpy(tracking->ranges, ranges, count * sizeof(*ranges));
	tracking->nr_ranges = count;
	return 0;
}

static inline int tracking_start(struct tracking *tracking, __u64 page_size,
				 const struct iommufd_dirty_range *ranges, unsigned int count)
{
	__u32 nr = 0;
	int err;

	if (tracking->way == WAY_LOG) {
		err = log_start(tracking->device, &page_size, ranges, count);
		tracking->granule = page_size;
		return err;
	}
	err = context_set_ranges(tracking, ranges, count);
	if (err)
		return err;
	return _test_cmd_start_results(tracking->fd, 0, page_size, &tracking->granule, NULL,
				       &nr) ? -errno : 0;
}

/* Into a bitmap that has a bit for each 4 KiB. */
static inline int tracking_read(struct tracking *tracking, __u64 iova, __u64 length,
				void *bitmap)
{
	int ret;

	if (tracking->way == WAY_LOG)
		ret = _vfio_log_report(tracking->device, iova, length, SZ_4K, bitmap);
	else
		ret = _test_cmd_read(tracking->fd, 0, 0, iova, length, SZ_4K, bitmap, NULL,
				     NULL);
	return ret ? -errno : 0;
}

static inline int tracking_stop(struct tracking *tracking)
{
	int ret = tracking->way == WAY_LOG ? _vfio_log_stop(tracking->device) :
					     _test_cmd_stop(tracking->fd);

	return ret ? -errno : 0;
}

/* The default of the model's page tracker. */
#define MAX_RANGES 16

/* Ranges of half a @step. */
static inline void scatter(struct iommufd_dirty_range *ranges, unsigned int count,
			   __u64 step)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		ranges[i] = (struct iommufd_dirty_range){ IOVA + i * step, step / 2 };
}

#endif
