// SPDX-License-Identifier: GPL-2.0
/*
 * Pre-copy of a guest's memory with /dev/iommufd-dirty: see iommufd-dirty.rst.
 * How memory is sent and how devices are stopped is the VMM's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/iommufd_dirty.h>

#define GUEST_PAGE 4096ULL

/* What the VMM knows. */
struct guest {
	int iommufd;
	/* Each was allocated with IOMMU_HWPT_ALLOC_DIRTY_TRACKING */
	const __u32 *hwpt_ids;
	unsigned int nr_hwpts;
	/* The blocks of RAM as the devices see them, in whole pages */
	const struct iommufd_dirty_range *ram;
	/* The same blocks, with room for a bit for each page */
	const struct iommufd_dirty_bitmap *bitmaps;
	unsigned int nr_ram;
	/* So many pages are sent while the guest is paused without harm */
	__u64 pages_for_pause;
	int max_rounds;
	void (*send)(__u64 iova, __u64 length);
	int (*stop_devices)(void);
};

/* Tracking of one I/O address space. Returns a context, or -1. */
static int track(const struct guest *guest)
{
	struct iommufd_dirty_ranges ranges = {
		.size = sizeof(ranges),
		.nr_ranges = guest->nr_ram,
		.ranges_uptr = (uintptr_t)guest->ram,
	};
	struct iommufd_dirty_start start = {
		.size = sizeof(start),
		.page_size = GUEST_PAGE,
	};
	int context, error;
	unsigned int i;

	context = open("/dev/iommufd-dirty", O_RDWR | O_CLOEXEC);
	if (context == -1)
		return -1;

	for (i = 0; i < guest->nr_hwpts; i++) {
		struct iommufd_dirty_bind_hwpt bind = {
			.size = sizeof(bind),
			.iommufd = guest->iommufd,
			.hwpt_id = guest->hwpt_ids[i],
			.policy = IOMMUFD_DIRTY_POLICY_FAIL,
		};

		if (ioctl(context, IOMMUFD_DIRTY_BIND_HWPT, &bind))
			goto fail;
	}
	if (ioctl(context, IOMMUFD_DIRTY_RANGES, &ranges) ||
	    ioctl(context, IOMMUFD_DIRTY_START, &start))
		goto fail;
	return context;

fail:
	error = errno;
	close(context);
	errno = error;
	return -1;
}

/*
 * ORs what the devices wrote since the last call into guest->bitmaps, one
 * bitmap for each block of RAM. The vCPUs' dirty pages may be in there already.
 */
static int collect(int context, const struct guest *guest, __u32 flags)
{
	struct iommufd_dirty_read read = {
		.size = sizeof(read),
		.flags = flags,
		.nr_ranges = guest->nr_ram,
		.ranges_uptr = (uintptr_t)guest->bitmaps,
		.page_size = GUEST_PAGE,
	};

	/* The kernel keeps in @read how far it came: the same call goes on. */
	while (ioctl(context, IOMMUFD_DIRTY_READ, &read)) {
		if (errno != EINTR)
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
 * Returns 0 when all of the memory was sent and the devices are stopped; -1 when
 * the guest still runs here and the migration is to be given up.
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
		if (collect(context, guest, 0))
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
	if (collect(context, guest, IOMMUFD_DIRTY_READ_FINAL))
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
 * To be called while @context tracks, before guest memory is unmapped from the
 * IOMMU that devices write no longer. Afterwards the range's dirt is in the
 * kernel's residual, from where the next READ delivers it.
 */
int before_unmap(int context, __u64 iova, __u64 length)
{
	struct iommufd_dirty_harvest harvest = {
		.size = sizeof(harvest),
		.iova = iova,
		.length = length,
	};
	int ret;

	do {
		ret = ioctl(context, IOMMUFD_DIRTY_HARVEST, &harvest);
	} while (ret && errno == EINTR);

	/*
	 * These are errors of a tracker. The kernel has noted the whole range as
	 * dirty for it: unmap, and the next READ reports the range.
	 */
	if (ret && (errno == EIO || errno == ESHUTDOWN || errno == ENOMEM))
		ret = 0;
	return ret;
}
