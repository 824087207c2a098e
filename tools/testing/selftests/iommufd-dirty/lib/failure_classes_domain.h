/* SPDX-License-Identifier: GPL-2.0 */
/* A mock domain of iommufd with dirty tracking, for failure_classes.c */
#ifndef __FAILURE_CLASSES_DOMAIN
#define __FAILURE_CLASSES_DOMAIN

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/iommufd_dirty.h>

#include "iommufd_test.h"
#include "kselftest.h"

#define PAGE_SIZE 4096UL
#define SZ_256K (256UL << 10)
#define SZ_1M (1024UL << 10)
#define SZ_32M (32 * SZ_1M)

#define BASE ((uint64_t)MOCK_APERTURE_START)
#define NR_PAGES (SZ_32M / PAGE_SIZE)
#define HOLE_START (8 * SZ_1M)
#define HOLE_END (12 * SZ_1M)

struct request {
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	void *bitmap;
};

/* A mock domain with 32 MiB mapped at BASE, and dirty tracking on */
struct domain {
	int iommufd;
	uint32_t hwpt_id;
	/* -1 if GET_DIRTY_BITMAP reads */
	int dirty_fd;
	void *memory;
	bool hole;
};

static void must(bool ok, const char *what)
{
	if (!ok)
		ksft_exit_fail_perror(what);
}

static void *map_memory(bool huge)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;

	if (huge)
		flags |= MAP_HUGETLB;
	return mmap(NULL, SZ_32M, PROT_READ | PROT_WRITE, flags, -1, 0);
}

static void ioas_map(struct domain *dom, uint32_t ioas_id, uint64_t offset,
		     uint64_t length)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)dom->memory + offset,
		.length = length,
		.iova = BASE + offset,
	};

	must(!ioctl(dom->iommufd, IOMMU_IOAS_MAP, &cmd), "IOMMU_IOAS_MAP");
}

static void track_upstream(struct domain *dom)
{
	struct iommu_hwpt_set_dirty_tracking cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
		.hwpt_id = dom->hwpt_id,
	};

	must(!ioctl(dom->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd),
	     "IOMMU_HWPT_SET_DIRTY_TRACKING");
}

static void track_dirty(struct domain *dom)
{
	struct iommufd_dirty_bind_hwpt bind = {
		.size = sizeof(bind),
		.iommufd = dom->iommufd,
		.hwpt_id = dom->hwpt_id,
		.policy = IOMMUFD_DIRTY_POLICY_FAIL,
	};
	struct iommufd_dirty_range range = { .iova = BASE, .length = SZ_32M };
	struct iommufd_dirty_ranges ranges = {
		.size = sizeof(ranges),
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_range),
		.ranges_uptr = (uintptr_t)&range,
	};
	struct iommufd_dirty_start start = {
		.size = sizeof(start),
		.page_size = PAGE_SIZE,
	};

	must(!ioctl(dom->dirty_fd, IOMMUFD_DIRTY_BIND_HWPT, &bind),
	     "IOMMUFD_DIRTY_BIND_HWPT");
	must(!ioctl(dom->dirty_fd, IOMMUFD_DIRTY_RANGES, &ranges),
	     "IOMMUFD_DIRTY_RANGES");
	must(!ioctl(dom->dirty_fd, IOMMUFD_DIRTY_START, &start),
	     "IOMMUFD_DIRTY_START");
}

/*
 * @upstream: track by IOMMU_HWPT_SET_DIRTY_TRACKING, not by /dev/iommufd-dirty.
 * False if there are no huge pages for the memory.
 */
static bool domain_open(struct domain *dom, bool hole, bool huge, bool upstream)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
	};
	struct iommu_test_cmd mock = {
		.size = sizeof(mock),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};
	struct iommu_hwpt_selftest data = {
		.pagetable_type = huge ? MOCK_IOMMUPT_HUGE :
					 MOCK_IOMMUPT_DEFAULT,
	};
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt),
		.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};

	*dom = (struct domain){ .dirty_fd = -1, .hole = hole };
	dom->memory = map_memory(huge);
	if (dom->memory == MAP_FAILED) {
		must(huge, "mmap");
		return false;
	}

	dom->iommufd = open("/dev/iommu", O_RDWR);
	must(dom->iommufd != -1, "/dev/iommu (CONFIG_IOMMUFD)");
	must(!ioctl(dom->iommufd, IOMMU_IOAS_ALLOC, &ioas), "IOMMU_IOAS_ALLOC");

	option.object_id = ioas.out_ioas_id;
	if (!huge)
		must(!ioctl(dom->iommufd, IOMMU_OPTION, &option),
		     "IOMMU_OPTION");

	mock.id = ioas.out_ioas_id;
	must(!ioctl(dom->iommufd, IOMMU_TEST_CMD, &mock),
	     "IOMMU_TEST_OP_MOCK_DOMAIN (CONFIG_IOMMUFD_TEST)");

	if (hole) {
		ioas_map(dom, ioas.out_ioas_id, 0, HOLE_START);
		ioas_map(dom, ioas.out_ioas_id, HOLE_END, SZ_32M - HOLE_END);
	} else {
		ioas_map(dom, ioas.out_ioas_id, 0, SZ_32M);
	}

	hwpt.dev_id = mock.mock_domain.out_idev_id;
	hwpt.pt_id = ioas.out_ioas_id;
	must(!ioctl(dom->iommufd, IOMMU_HWPT_ALLOC, &hwpt), "IOMMU_HWPT_ALLOC");
	dom->hwpt_id = hwpt.out_hwpt_id;

	if (upstream) {
		track_upstream(dom);
	} else {
		dom->dirty_fd = open("/dev/iommufd-dirty", O_RDWR);
		must(dom->dirty_fd != -1, "/dev/iommufd-dirty");
		track_dirty(dom);
	}
	return true;
}

static void domain_close(struct domain *dom)
{
	if (dom->dirty_fd != -1)
		close(dom->dirty_fd);
	close(dom->iommufd);
	munmap(dom->memory, SZ_32M);
}

static int get_dirty_bitmap(struct domain *dom, const struct request *req,
			    uint32_t flags)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = dom->hwpt_id,
		.flags = flags,
		.iova = req->iova,
		.length = req->length,
		.page_size = req->page_size,
		.data = (uintptr_t)req->bitmap,
	};

	return ioctl(dom->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd);
}

/* What the interface under test does */
static int read_dirty(struct domain *dom, const struct request *req)
{
	struct iommufd_dirty_bitmap range = {
		.iova = req->iova,
		.length = req->length,
		.bitmap_uptr = (uintptr_t)req->bitmap,
	};
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = req->page_size,
	};

	if (dom->dirty_fd == -1)
		return get_dirty_bitmap(dom, req, 0);
	return ioctl(dom->dirty_fd, IOMMUFD_DIRTY_READ, &cmd);
}

#endif
