// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Pre-copy of a guest's memory with /dev/iommufd-dirty, without and with a
 * virtual IOMMU: see iommufd-dirty.rst. The VMM provides how memory is sent,
 * mapped and unmapped, and how devices are stopped. It compiles with
 * -I include/uapi.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/iommufd_dirty.h>
#include <linux/vfio.h>

#define GUEST_PAGE 4096ULL
#define MAX_TRACKERS 64

/* What the VMM knows. */
struct guest {
	int iommufd;
	/* Each was allocated with IOMMU_HWPT_ALLOC_DIRTY_TRACKING */
	const __u32 *hwpt_ids;
	unsigned int nr_hwpts;
	/* VFIO devices whose writes none of these HWPTs sees */
	const int *devices;
	unsigned int nr_devices;
	/* The blocks of RAM as the devices see them, in whole pages */
	const struct iommufd_dirty_range *ram;
	/* The same blocks, with room for a bit for each page */
	const struct iommufd_dirty_bitmap *bitmaps;
	unsigned int nr_ram;
	/* This many pages can be sent while the guest is paused */
	__u64 pages_for_pause;
	int max_rounds;
	void (*send)(__u64 iova, __u64 length);
	int (*stop_devices)(void);
};

/* Binds a VFIO device's own tracker to @context. */
static int bind_device(int context, int device)
{
	struct vfio_device_feature_dirty_tracker tracker = {
		.context_fd = context,
		.policy = IOMMUFD_DIRTY_POLICY_FAIL,
		/* Returned with all that is reported about this tracker */
		.cookie = device,
	};
	/* Both structures are multiples of a u64. */
	__u64 buffer[(sizeof(struct vfio_device_feature) + sizeof(tracker)) / 8];
	struct vfio_device_feature *feature = (void *)buffer;

	feature->argsz = sizeof(buffer);
	feature->flags = VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_DIRTY_TRACKER;
	memcpy(feature->data, &tracker, sizeof(tracker));
	return ioctl(device, VFIO_DEVICE_FEATURE, feature);
}

static int bind_all(int context, const struct guest *guest)
{
	unsigned int i;

	for (i = 0; i < guest->nr_hwpts; i++) {
		struct iommufd_dirty_bind_hwpt bind = {
			.size = sizeof(bind),
			.iommufd = guest->iommufd,
			.hwpt_id = guest->hwpt_ids[i],
			.policy = IOMMUFD_DIRTY_POLICY_FAIL,
			.cookie = guest->hwpt_ids[i],
		};

		if (ioctl(context, IOMMUFD_DIRTY_BIND_HWPT, &bind))
			return -1;
	}
	for (i = 0; i < guest->nr_devices; i++) {
		struct iommufd_dirty_bind_untracked bind = {
			.size = sizeof(bind),
			.policy = IOMMUFD_DIRTY_POLICY_ALL_DIRTY,
			.cookie = guest->devices[i],
		};

		if (!bind_device(context, guest->devices[i]))
			continue;
		/* ENOTTY: nobody sees what it writes. That may be anything. */
		if (errno != ENOTTY ||
		    ioctl(context, IOMMUFD_DIRTY_BIND_UNTRACKED, &bind))
			return -1;
	}
	return 0;
}

/* Starts tracking of one I/O address space. Returns a context, or -1. */
static int track(const struct guest *guest)
{
	struct iommufd_dirty_ranges ranges = {
		.size = sizeof(ranges),
		.nr_ranges = guest->nr_ram,
		.range_len = sizeof(*guest->ram),
		.ranges_uptr = (uintptr_t)guest->ram,
	};
	struct iommufd_dirty_start start = {
		.size = sizeof(start),
		.page_size = GUEST_PAGE,
	};
	int context, error;

	context = open("/dev/iommufd-dirty", O_RDWR | O_CLOEXEC);
	if (context == -1)
		return -1;
	if (!bind_all(context, guest) &&
	    !ioctl(context, IOMMUFD_DIRTY_RANGES, &ranges) &&
	    !ioctl(context, IOMMUFD_DIRTY_START, &start))
		return context;
	error = errno;
	close(context);
	errno = error;
	return -1;
}

/*
 * One round: ORs what the devices wrote since the last round into the bitmaps of
 * the @nr @ranges. The vCPUs' dirty pages may already be in there.
 * @nr @ranges. The vCPUs' dirty pages may be in there already.
 */
static int collect(int context, const struct iommufd_dirty_bitmap *ranges,
		   unsigned int nr, __u32 flags)
{
	struct iommufd_dirty_read_result results[MAX_TRACKERS] = {};
	struct iommufd_dirty_read read = {
		.size = sizeof(read),
		.flags = flags,
		.nr_ranges = nr,
		.ranges_uptr = (uintptr_t)ranges,
		.range_len = sizeof(*ranges),
		.nr_results = MAX_TRACKERS,
		.page_size = GUEST_PAGE,
		.results_uptr = (uintptr_t)results,
		.result_len = sizeof(results[0]),
	};
	int i, error;

	/* The cursor is in @read: the same call continues. */
	while (ioctl(context, IOMMUFD_DIRTY_READ, &read)) {
		error = errno;
		if (error == EINTR)
			continue;
		for (i = 0; i < MAX_TRACKERS; i++) {
			if (results[i].error)
				fprintf(stderr, "tracker %u, cookie %llu: %s\n",
					results[i].tracker_id,
					(unsigned long long)results[i].cookie,
					strerror(-results[i].error));
		}
		errno = error;
		return -1;
	}
	return 0;
}

/* Sends the pages of guest->bitmaps, and clears these. Returns how many. */
static __u64 send_dirty(const struct guest *guest)
{
	__u64 page, pages = 0;
	unsigned int i;

	for (i = 0; i < guest->nr_ram; i++) {
		__u8 *bits = (__u8 *)(uintptr_t)guest->bitmaps[i].bitmap_uptr;

		for (page = 0; page < guest->ram[i].length / GUEST_PAGE; page++) {
			if (!(bits[page / 8] & (1 << page % 8)))
				continue;
			bits[page / 8] &= ~(1 << page % 8);
			guest->send(guest->ram[i].iova + page * GUEST_PAGE,
				    GUEST_PAGE);
			pages++;
		}
	}
	return pages;
}

static void send_all(const struct guest *guest)
{
	unsigned int i;

	for (i = 0; i < guest->nr_ram; i++) {
		memset((void *)(uintptr_t)guest->bitmaps[i].bitmap_uptr, 0,
		       (guest->ram[i].length / GUEST_PAGE + 7) / 8);
		guest->send(guest->ram[i].iova, guest->ram[i].length);
	}
}

/*
 * Returns 0 when all of the memory was sent and the devices are stopped; -1 if
 * the guest still runs here and the migration has to be abandoned.
 */
int precopy(const struct guest *guest)
{
	struct iommufd_dirty_stop stop = { .size = sizeof(stop) };
	int context, round, error, ret = -1;

	context = track(guest);
	if (context == -1)
		return -1;

	/* Tracking is on: what is written from here on will be sent again. */
	send_all(guest);
	for (round = 0; round < guest->max_rounds; round++) {
		if (collect(context, guest->bitmaps, guest->nr_ram, 0))
			goto out;
		if (send_dirty(guest) <= guest->pages_for_pause)
			break;
	}

	if (guest->stop_devices())
		goto out;
	/*
	 * No device writes any more. An error means that something may be dirty
	 * that nobody can name, so all of it has to be sent.
	 */
	if (collect(context, guest->bitmaps, guest->nr_ram,
		    IOMMUFD_DIRTY_READ_FINAL))
		send_all(guest);
	else
		send_dirty(guest);
	ret = 0;
out:
	error = errno;
	ioctl(context, IOMMUFD_DIRTY_STOP, &stop);
	close(context);
	errno = error;
	return ret;
}

/*
 * Call this while @context tracks, before unmapping guest memory for good that
 * devices no longer write to. Afterwards the next READ that asks for the range
 * delivers what was dirty in it, even if RANGES has removed it meanwhile.
 */
int before_unmap(int context, __u64 iova, __u64 length)
{
	struct iommufd_dirty_range range = { .iova = iova, .length = length };
	struct iommufd_dirty_harvest harvest = {
		.size = sizeof(harvest),
		.nr_ranges = 1,
		.ranges_uptr = (uintptr_t)&range,
		.range_len = sizeof(range),
	};
	int ret;

	do {
		ret = ioctl(context, IOMMUFD_DIRTY_HARVEST, &harvest);
	} while (ret && errno == EINTR);

	/*
	 * These are errors of a tracker. The kernel has recorded the whole range as
	 * dirty for it: unmap, and the next READ reports the range.
	 */
	if (ret && (errno == EIO || errno == ESHUTDOWN || errno == EXDEV ||
		    errno == ENOMEM))
		ret = 0;
	return ret;
}

/*
 * A guest with a virtual IOMMU: one of these for each of its I/O address spaces,
 * each with its own context (IOMMUFD_DIRTY_NEW creates more of them from one).
 * Everything below is called with a lock of the VMM held.
 */
struct viommu {
	/* Started; its trackers are page tables of iommufd */
	int context;
	/* A bit for each page of the guest's memory, whatever wrote to it */
	__u8 *dirty;
	/* What is currently mapped; at most INFO's out_max_read_ranges */
	struct iommufd_dirty_bitmap *maps;
	unsigned int nr_maps;
	int (*map)(__u64 iova, __u64 length, __u64 gpa);
	int (*unmap)(__u64 iova, __u64 length);
};

static int change_ranges(const struct viommu *v, __u64 iova, __u64 length,
			 __u32 flags)
{
	struct iommufd_dirty_range range = { .iova = iova, .length = length };
	struct iommufd_dirty_ranges ranges = {
		.size = sizeof(ranges),
		.flags = flags,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
	};
	int ret;

	do {
		ret = ioctl(v->context, IOMMUFD_DIRTY_RANGES, &ranges);
	} while (ret && errno == EINTR);
	return ret;
}

/* The guest maps @gpa at @iova. */
int viommu_map(struct viommu *v, __u64 iova, __u64 length, __u64 gpa)
{
	/*
	 * First, so that no write comes before tracking. Nothing was mapped
	 * here: what was written there before was another page, and was read.
	 */
	if (change_ranges(v, iova, length, IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN))
		return -1;
	if (v->map(iova, length, gpa)) {
		change_ranges(v, iova, length, IOMMUFD_DIRTY_RANGES_REMOVE);
		return -1;
	}
	/* bit_offset translates: @iova is the guest's page gpa / GUEST_PAGE. */
	v->maps[v->nr_maps++] = (struct iommufd_dirty_bitmap){
		.iova = iova,
		.length = length,
		.bitmap_uptr = (uintptr_t)v->dirty,
		.bit_offset = gpa / GUEST_PAGE,
	};
	return 0;
}

/* The guest unmaps v->maps[at]. It is done for the guest when this returns. */
int viommu_unmap(struct viommu *v, unsigned int at)
{
	const struct iommufd_dirty_bitmap map = v->maps[at];
	__u64 page;

	/* Before the unmap: later this IOVA may be another page, or have no dirty bits. */
	if (collect(v->context, &map, 1, 0)) {
		/* A tracker failed: any page of it may have been written. */
		for (page = 0; page < map.length / GUEST_PAGE; page++) {
			__u64 bit = map.bit_offset + page;

			v->dirty[bit / 8] |= 1 << bit % 8;
		}
	}
	if (v->unmap(map.iova, map.length))
		return -1;
	v->maps[at] = v->maps[--v->nr_maps];
	return change_ranges(v, map.iova, map.length,
			     IOMMUFD_DIRTY_RANGES_REMOVE);
}

/* A round, into v->dirty. The last one has IOMMUFD_DIRTY_READ_FINAL. */
int viommu_round(struct viommu *v, __u32 flags)
{
	return collect(v->context, v->maps, v->nr_maps, flags);
}
