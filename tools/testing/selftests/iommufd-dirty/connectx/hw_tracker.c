// SPDX-License-Identifier: GPL-2.0
/*
 * What hw.sh runs with a VF: everything that its tracker does but for the one
 * thing that it is for, because nothing here makes the VF write. It prints a line
 * for each step, and its exit status is 0 if all of them are as they should be.
 *
 * hw_tracker SYSFS_DIRECTORY_OF_THE_VF
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The helpers bring the harness with them, and this has a main() of its own. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "bench.h"
#include "vfio_device.h"

#define BASE 0x100000000ULL
#define MAPPED (4 * SZ_1M)
#define READS 100
#define STARTS 10

static int fd, iommu, device, wrong;
static __u32 id;
static struct iommufd_dirty_tracker_info info;

static __printf(2, 3) bool step(bool good, const char *format, ...)
{
	int err = errno;
	va_list args;

	printf("  %s ", good ? "[ok]" : "[NO]");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	if (!good) {
		printf(": %s", strerror(err));
		wrong++;
	}
	printf("\n");
	fflush(stdout);
	return good;
}

static void need(bool good, const char *what)
{
	if (step(good, "%s", what))
		return;
	printf("  Cannot go on.\n");
	exit(1);
}

static int track(const struct iommufd_dirty_range *ranges, __u32 nr, __u64 page_size)
{
	int ret = _test_cmd_ranges(fd, 0, ranges, nr) ?: _test_cmd_start(fd, 0, page_size);
	int err = errno;

	if (ret)
		_test_cmd_ranges(fd, IOMMUFD_DIRTY_RANGES_REMOVE, ranges, nr);
	errno = err;
	return ret;
}

static int untrack(const struct iommufd_dirty_range *ranges, __u32 nr)
{
	return _test_cmd_stop(fd) ?:
	       _test_cmd_ranges(fd, IOMMUFD_DIRTY_RANGES_REMOVE, ranges, nr);
}

static int read_dirty(__u64 length, __u64 page_size, __u64 *dirty)
{
	void *bitmap = calloc(1, length / page_size / 8 + 8);
	int ret = _test_cmd_read(fd, id, 0, BASE, length, page_size, bitmap, NULL, dirty);

	free(bitmap);
	return ret;
}

static void open_device(const char *directory)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.length = MAPPED,
		.iova = BASE,
	};
	void *memory;

	device = vfio_device_open(directory);
	need(device != -1, "open the VF's VFIO device");
	iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	need(iommu != -1, "open /dev/iommu");
	need(!_vfio_bind_iommufd(device, iommu, NULL), "bind the VF to it");
	need(!_iommu_ioas_alloc(iommu, &map.ioas_id), "allocate an I/O address space");
	need(!_vfio_attach(device, map.ioas_id), "attach the VF to it");
	memory = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	map.user_va = (uintptr_t)memory;
	need(memory != MAP_FAILED && !ioctl(iommu, IOMMU_IOAS_MAP, &map),
	     "map 4 MiB of memory");
}

static void open_tracker(void)
{
	need(!_vfio_dirty_probe(device),
	     "the VF has a tracker (if not: it was not made migratable before its driver was bound)");
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	need(fd != -1, "open " DEV_PATH);
	need(!_vfio_dirty_bind(device, fd, POLICY_FAIL, &id), "bind the tracker to a context");
	need(!_test_cmd_tracker_info(fd, id, &info), "ask what it can do");
	need(info.out_kind == IOMMUFD_DIRTY_KIND_DEVICE, "it is the device's own log");
	printf("       name %s, granules 0x%llx, ranges up to %u, span 0x%llx to 0x%llx bytes\n",
	       info.out_name, info.out_pgsizes, info.out_max_ranges, info.out_min_span,
	       info.out_max_span);
}

static __u64 span(void)
{
	return info.out_min_span > SZ_1G ? info.out_min_span : SZ_1G;
}

static void each_granule(void)
{
	struct iommufd_dirty_range range = { .iova = BASE, .length = span() };
	__u64 page_size, began, dirty = 0;
	bool good;

	for (page_size = SZ_4K; page_size <= 1ULL << 40; page_size <<= 1) {
		if (!(info.out_pgsizes & page_size))
			continue;
		began = bench_now();
		good = !track(&range, 1, page_size);
		step(good, "start with a granule of %llu KiB, %llu us", page_size >> 10,
		     (bench_now() - began) / 1000);
		if (!good)
			continue;
		step(!read_dirty(range.length, page_size, &dirty),
		     "read it: %llu dirty (0 if nothing drives the VF)", dirty);
		step(!untrack(&range, 1), "stop");
	}
}

static void as_many_ranges_as_it_can(void)
{
	struct iommufd_dirty_range *ranges;
	__u32 i, nr = info.out_max_ranges;
	__u64 dirty;

	if (!nr || nr > 4096)
		return;
	ranges = calloc(nr, sizeof(*ranges));
	for (i = 0; i < nr; i++) {
		ranges[i].iova = BASE + 2 * i * span();
		ranges[i].length = span() / nr < SZ_2M ? SZ_2M : span() / nr & -SZ_2M;
	}
	if (step(!track(ranges, nr, SZ_4K), "start with %u ranges", nr)) {
		step(!read_dirty(span(), SZ_4K, &dirty), "read them");
		step(!untrack(ranges, nr), "stop");
	}
	free(ranges);
}

static void repeated(void)
{
	struct iommufd_dirty_range range = { .iova = BASE, .length = span() };
	double us[READS];
	__u64 began, dirty;
	unsigned int i;

	if (!step(!track(&range, 1, SZ_4K), "start"))
		return;
	for (i = 0; i < READS; i++) {
		began = bench_now();
		if (read_dirty(range.length, SZ_4K, &dirty))
			break;
		us[i] = (bench_now() - began) / 1000.0;
	}
	if (step(i == READS, "read %llu MiB %d times", range.length >> 20, READS)) {
		bench_median(us, READS);
		printf("       least %.0f us, median %.0f us, most %.0f us\n", us[0],
		       us[READS / 2], us[READS - 1]);
	}
	step(!untrack(&range, 1), "stop");

	for (i = 0; i < STARTS && !track(&range, 1, SZ_4K) && !untrack(&range, 1); i++)
		;
	step(i == STARTS, "start and stop %d times", STARTS);
}

/* A second tracker of the firmware, or the first one anew. */
static void ranges_while_tracking(void)
{
	struct iommufd_dirty_range first = { .iova = BASE, .length = span() };
	struct iommufd_dirty_range second = { .iova = BASE + 2 * span(), .length = span() };
	struct iommufd_dirty_stats stats;
	__u64 dirty = 0;

	if (!step(!track(&first, 1, SZ_4K), "start"))
		return;
	if (step(!_test_cmd_ranges(fd, IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN, &second, 1),
		 "add a range while it tracks")) {
		if (!_test_cmd_stats(fd, id, &stats))
			printf("       by %s\n", stats.out_overreported ?
			       "starting it anew: the firmware has no second one" :
			       "a second tracker of the firmware");
		step(!read_dirty(span(), SZ_4K, &dirty), "read: %llu dirty", dirty);
		step(!_test_cmd_ranges(fd, IOMMUFD_DIRTY_RANGES_REMOVE, &second, 1),
		     "remove it");
		step(!read_dirty(span(), SZ_4K, &dirty), "read: %llu dirty", dirty);
	}
	step(!untrack(&first, 1), "stop");
}

static void for_other_programs(void)
{
	struct iommufd_dirty_range range = { .iova = BASE, .length = span() };
	__u64 page_size = SZ_4K;
	void *bitmap = calloc(1, range.length / SZ_4K / 8);
	bool busy;

	if (step(!_vfio_log_start(device, BASE, range.length, &page_size),
		 "start VFIO's own DMA logging, as an unchanged VMM does")) {
		busy = track(&range, 1, SZ_4K) && errno == EBUSY;
		step(busy, "meanwhile the tracker is busy");
		if (!busy)
			untrack(&range, 1);
		step(!_vfio_log_report(device, BASE, range.length, SZ_4K, bitmap),
		     "read that log");
		step(!_vfio_log_stop(device), "stop it");
	}
	if (step(!track(&range, 1, SZ_4K), "start the tracker")) {
		page_size = SZ_4K;
		step(_vfio_log_start(device, BASE, range.length, &page_size) && errno == EBUSY,
		     "meanwhile VFIO's own DMA logging is busy");
		step(!untrack(&range, 1), "stop");
	}
	free(bitmap);
}

static void reset_while_tracking(void)
{
	struct iommufd_dirty_range range = { .iova = BASE, .length = span() };
	__u64 dirty;

	if (!step(!track(&range, 1, SZ_4K), "start"))
		return;
	step(!ioctl(device, VFIO_DEVICE_RESET), "reset the VF");
	if (read_dirty(range.length, SZ_4K, &dirty))
		step(errno == EIO, "the tracker says that it was lost");
	else
		step(true, "the tracker goes on: %llu dirty", dirty);
	step(!untrack(&range, 1), "stop");
	if (step(!track(&range, 1, SZ_4K), "start again")) {
		step(!read_dirty(range.length, SZ_4K, &dirty), "read");
		step(!untrack(&range, 1), "stop");
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s SYSFS_DIRECTORY_OF_THE_VF\n", argv[0]);
		return 2;
	}
	open_device(argv[1]);
	open_tracker();
	each_granule();
	as_many_ranges_as_it_can();
	repeated();
	ranges_while_tracking();
	for_other_programs();
	reset_while_tracking();
	printf("  %d wrong\n", wrong);
	return !!wrong;
}
