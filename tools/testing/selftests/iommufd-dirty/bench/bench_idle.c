// SPDX-License-Identifier: GPL-2.0
/*
 * What a READ costs if nothing was touched: 1 GiB of IOPTEs of 4 KiB of an IOMMU whose
 * tables say which of them were used, for a device that does DMA. If all of them were, a
 * READ walks them all, as it does with a format whose tables do not say.
 */
#include "bench.h"
#include "dma.h"
#include "testdev.h"

#define LENGTH SZ_1G
#define PAGES (LENGTH / SZ_4K)
#define BYTES (PAGES / 8)
#define REPS 5

/* What the device writes to: 1 % of the pages, in 2 % of the 2 MiB blocks. */
#define BLOCKS (LENGTH / SZ_2M)
#define BUSY_BLOCKS (BLOCKS / 50)
#define BUSY_PAGES (PAGES / 100)

FIXTURE(idle)
{
	struct dma dma;
	__u64 *bitmap;
	__u64 *expected;
};

FIXTURE_SETUP(idle)
{
	struct dma *dma = &self->dma;
	char *map;
	int memfd;
	__u64 at;

	dma->device = testdev_open(0);
	if (dma->device == -1)
		SKIP(return, NO_TESTDEV);
	dma->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, dma->fd);
	dma->iommu = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, dma->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(dma->iommu, &dma->ioas_id));
	ASSERT_EQ(0, _iommu_no_huge_pages(dma->iommu, dma->ioas_id));
	ASSERT_EQ(0, _vfio_bind_iommufd(dma->device, dma->iommu, &dma->dev_id));
	/* 1 GiB of addresses that takes 2 MiB of memory. */
	memfd = memfd_create("bench", MFD_CLOEXEC);
	ASSERT_NE(-1, memfd);
	ASSERT_EQ(0, ftruncate(memfd, SZ_2M));
	map = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	for (at = 0; at < LENGTH; at += SZ_2M)
		ASSERT_EQ(map + at, mmap(map + at, SZ_2M, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_FIXED, memfd, 0));
	close(memfd);
	ASSERT_EQ(0, _iommu_ioas_map(dma->iommu, dma->ioas_id, map, LENGTH, DMA_BASE));
	ASSERT_EQ(0, dma_hwpt_alloc(dma));
	ASSERT_EQ(0, _vfio_attach(dma->device, dma->hwpt_id));
	ASSERT_EQ(0, _vfio_enable_dma(dma->device));
	dma->private = testdev_map(dma->device);
	ASSERT_NE(MAP_FAILED, dma->private);
	test_cmd_bind_hwpt(dma->fd, dma->iommu, dma->hwpt_id, POLICY_FAIL, NULL);
	test_cmd_range_add(dma->fd, DMA_BASE, LENGTH);
	self->bitmap = bench_alloc(BYTES);
	self->expected = bench_alloc(BYTES);
}

FIXTURE_TEARDOWN(idle)
{
	close(self->dma.device);
	close(self->dma.fd);
	close(self->dma.iommu);
}

static void let_write(struct __test_metadata *_metadata, struct _test_data_idle *self,
		      unsigned int pages)
{
	unsigned int i;

	memset(self->expected, 0, BYTES);
	for (i = 0; i < pages; i++) {
		__u64 block = i % BUSY_BLOCKS * (BLOCKS / BUSY_BLOCKS);
		__u64 page = block * (SZ_2M / SZ_4K) + i / BUSY_BLOCKS;

		ASSERT_EQ(0, testdev_fire(self->dma.private, DMA_BASE + page * SZ_4K, 4));
		bit_set((__u8 *)self->expected, page);
	}
}

static void read_all(struct __test_metadata *_metadata, struct _test_data_idle *self)
{
	test_cmd_read(self->dma.fd, 0, 0, DMA_BASE, LENGTH, SZ_4K, self->bitmap, NULL, NULL);
}

/* The READ after @idle others that found nothing, before which each table was used. */
static void read_after(struct __test_metadata *_metadata, struct _test_data_idle *self,
		       unsigned int idle, unsigned int pages, struct bench *bench,
		       unsigned int rep)
{
	struct bench_count count = {
		.calls = 1,
		.user_bytes = BYTES + sizeof(struct iommufd_dirty_read),
	};
	__u64 begin, at;

	for (at = 0; at < LENGTH; at += SZ_2M)
		ASSERT_EQ(0, testdev_fire(self->dma.private, DMA_BASE + at, 4));
	read_all(_metadata, self);
	while (idle--)
		read_all(_metadata, self);
	let_write(_metadata, self, pages);
	memset(self->bitmap, 0, BYTES);
	count.pinned = bench_pinned(_metadata);
	begin = bench_now();
	read_all(_metadata, self);
	bench->ns[rep] = bench_now() - begin;
	count.pinned = bench_pinned(_metadata) - count.pinned;
	count.kernel_bytes = bench_kernel_bytes(_metadata, self->dma.fd);
	ASSERT_EQ(0, memcmp(self->bitmap, self->expected, BYTES));
	bench_count(bench, rep, &count);
}

static void compare(struct __test_metadata *_metadata, struct _test_data_idle *self,
		    const char *name, unsigned int pages, double goal)
{
	struct bench used = { .method = "all-used" }, idle_one = { .method = "idle" };
	unsigned int rep;

	test_cmd_start(self->dma.fd, SZ_4K);
	for (rep = 0; rep < REPS; rep++) {
		read_after(_metadata, self, 0, pages, &used, rep);
		read_after(_metadata, self, 2, pages, &idle_one, rep);
	}
	bench_report(name, &idle_one, NULL, 0, REPS);
	bench_report(name, &used, &idle_one, goal, REPS);
}

TEST_F_TIMEOUT(idle, nothing_was_touched, 600)
{
	compare(_metadata, self, "idle-4K-0%", 0, 0.05);
}

TEST_F_TIMEOUT(idle, one_percent_in_few_blocks, 600)
{
	compare(_metadata, self, "idle-4K-1%", BUSY_PAGES, 0.1);
}

TEST_HARNESS_MAIN
