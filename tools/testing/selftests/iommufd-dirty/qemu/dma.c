// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty pages of real DMA: QEMU's iommu-testdev behind an IOMMU that sets dirty
 * bits. It has to be bound to vfio-pci.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "dma.h"
#include "testdev.h"

static int testdev_write(struct dma *dma, __u64 iova, __u32 length)
{
	static const __u8 pattern[] = { 0x78, 0x56, 0x34, 0x12 };
	const __u8 *at = dma_at(dma, iova);
	__u32 i;

	memset(dma_at(dma, iova), 0, length);
	if (testdev_fire(dma->private, iova, length))
		return -1;
	for (i = 0; i < length; i++) {
		if (at[i] != pattern[i % 4])
			return -1;
	}
	return 0;
}

FIXTURE(dma)
{
	struct dma dma;
};

FIXTURE_SETUP(dma)
{
	struct dma *dma = &self->dma;

	dma_open(_metadata, dma);
	dma->device = testdev_open(0);
	if (dma->device == -1)
		SKIP(return, NO_TESTDEV);
	dma->iommu = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, dma->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(dma->iommu, &dma->ioas_id));
	ASSERT_EQ(0, _vfio_bind_iommufd(dma->device, dma->iommu, &dma->dev_id));
	dma_attach(_metadata, dma);
	if (_metadata->exit_code)
		return;

	dma->private = testdev_map(dma->device);
	ASSERT_NE(MAP_FAILED, dma->private);
	dma->write = testdev_write;
	dma->min_length = 1;
	dma->max_length = SZ_64K;
}

FIXTURE_TEARDOWN(dma)
{
	if (self->dma.private)
		munmap(self->dma.private, TESTDEV_BAR_SIZE);
	dma_close(&self->dma);
}

TEST_F_TIMEOUT(dma, rounds_get_dirty_bitmap, 600)
{
	ASSERT_EQ(0, _set_dirty_tracking(&self->dma, true));
	dma_rounds(&self->dma, __dma_get_bitmap);
}

TEST_F_TIMEOUT(dma, rounds_read, 600)
{
	test_cmd_start(self->dma.fd, SZ_4K);
	dma_rounds(&self->dma, __dma_read);
}

/* The IOMMU has the page in its IOTLB, and that it was written to. */
TEST_F(dma, same_page_again_after_each_read)
{
	struct dma *dma = &self->dma;
	unsigned int i;

	test_cmd_start(dma->fd, SZ_4K);
	for (i = 0; i < 10; i++) {
		dma_write(dma, DMA_BASE + SZ_4K, 64);
		dma_write(dma, DMA_HUGE_BASE + SZ_64K, 64);
		dma_read_all(dma);
		dma_read_all(dma);
	}
}

TEST_F(dma, no_clear_leaves_it_dirty)
{
	struct dma *dma = &self->dma;

	test_cmd_start(dma->fd, SZ_4K);
	dma_write(dma, DMA_BASE, SZ_64K);
	dma_write(dma, DMA_HUGE_BASE, 1);
	model_read(&dma->model, .fd = dma->fd, .who = MODEL_ALL,
		   .flags = IOMMUFD_DIRTY_READ_NO_CLEAR, .iova = DMA_BASE,
		   .length = DMA_SIZE, .page_size = SZ_4K);
	dma_read_all(dma);
	dma_read_all(dma);
}

TEST_F(dma, session_begins_clean)
{
	struct dma *dma = &self->dma;

	/* The hardware sets dirty bits also while nobody tracks. */
	ASSERT_EQ(0, dma->write(dma, DMA_BASE, SZ_64K));
	ASSERT_EQ(0, dma->write(dma, DMA_HUGE_BASE, 64));
	test_cmd_start(dma->fd, SZ_4K);
	dma_read_all(dma);
	dma_write(dma, DMA_BASE, SZ_4K);
	test_cmd_stop(dma->fd);
	ASSERT_EQ(0, dma->write(dma, DMA_BASE, SZ_64K));
	model_clean(&dma->model, MODEL_ALL, DMA_BASE, DMA_SIZE);
	test_cmd_start(dma->fd, SZ_4K);
	dma_read_all(dma);
	dma_write(dma, DMA_BASE + SZ_4K, 64);
	dma_read_all(dma);
}

TEST_F(dma, mapped_while_tracking_is_clean)
{
	struct dma *dma = &self->dma;

	test_cmd_start(dma->fd, SZ_4K);
	ASSERT_EQ(0, _iommu_ioas_unmap(dma->iommu, dma->ioas_id, DMA_BASE,
				       DMA_SMALL_SIZE));
	ASSERT_EQ(0, _iommu_ioas_unmap(dma->iommu, dma->ioas_id, DMA_HUGE_BASE,
				       DMA_HUGE_SIZE));
	ASSERT_EQ(0, dma_map_small(dma));
	ASSERT_EQ(0, _iommu_ioas_map(dma->iommu, dma->ioas_id,
				     dma_at(dma, DMA_HUGE_BASE), DMA_HUGE_SIZE,
				     DMA_HUGE_BASE));
	dma_read_all(dma);
	dma_write(dma, DMA_BASE + 5 * SZ_4K, 8);
	dma_write(dma, DMA_HUGE_BASE + SZ_2M, 8);
	dma_read_all(dma);
}

TEST_F(dma, not_mapped_is_a_fault_and_not_dirt)
{
	__u64 hole = DMA_BASE + DMA_SMALL_SIZE;
	struct dma *dma = &self->dma;
	unsigned int i;

	test_cmd_start(dma->fd, SZ_4K);
	for (i = 0; i < 20; i++)
		EXPECT_EQ(-1, testdev_fire(dma->private, hole + i * SZ_4K, 64));
	dma_read_all(dma);

	/* Over the end of what is mapped: the part before it is written. */
	EXPECT_EQ(-1, testdev_fire(dma->private, hole - SZ_4K, SZ_64K));
	model_write(&dma->model, 1, hole - SZ_4K, SZ_4K, SZ_4K);
	dma_read_all(dma);
	dma_write(dma, DMA_BASE, SZ_64K);
	dma_read_all(dma);
}

/*
 * A device that writes on and on. Times are counts of an ever growing clock, so
 * that of two events of the two threads one is known to be later.
 */
struct writer {
	pthread_t thread;
	struct dma *dma;
	__u64 seed;
	__u64 size;
	atomic_ulong clock;
	atomic_bool stop;
	/* Of each page: when the first write began, the last began, it ended. */
	atomic_ulong first[DMA_SIZE / SZ_4K];
	atomic_ulong begun[DMA_SIZE / SZ_4K];
	atomic_ulong ended[DMA_SIZE / SZ_4K];
};

static void *writer_run(void *data)
{
	struct writer *writer = data;
	unsigned long page, now;
	__u64 iova;

	while (!atomic_load(&writer->stop)) {
		page = next_random(&writer->seed) % (writer->size / SZ_4K);
		iova = DMA_BASE + page * SZ_4K;
		if (iova >= DMA_BASE + DMA_SMALL_SIZE && iova < DMA_HUGE_BASE)
			continue;
		now = atomic_fetch_add(&writer->clock, 1);
		if (!atomic_load(&writer->first[page]))
			atomic_store(&writer->first[page], now);
		/* It may fail: to be unmapped meanwhile is a part of the test. */
		if (testdev_fire(writer->dma->private, iova, 64))
			continue;
		/* Who sees that it began must not see the end of an earlier one. */
		atomic_store(&writer->ended[page],
			     atomic_fetch_add(&writer->clock, 1));
		atomic_store(&writer->begun[page], now);
	}
	return NULL;
}

static struct writer *__writer_start(struct __test_metadata *_metadata,
				     struct dma *dma, __u64 size)
{
	struct writer *writer = calloc(1, sizeof(*writer));

	ASSERT_NE(NULL, writer);
	writer->dma = dma;
	writer->seed = dma->seed;
	writer->size = size;
	writer->clock = 1;
	ASSERT_EQ(0, pthread_create(&writer->thread, NULL, writer_run, writer));
	return writer;
}

#define writer_start(dma, size) __writer_start(_metadata, dma, size)

static void writer_stop(struct writer *writer)
{
	atomic_store(&writer->stop, true);
	pthread_join(writer->thread, NULL);
}

/* The IOPTE of a page: its first page, and how many it has. */
static unsigned long iopte(unsigned long page, unsigned long *pages)
{
	__u64 iova = DMA_BASE + page * SZ_4K;

	*pages = dma_unit(iova) / SZ_4K;
	return ((iova & ~(dma_unit(iova) - 1)) - DMA_BASE) / SZ_4K;
}

TEST_F_TIMEOUT(dma, writes_while_it_is_read, 300)
{
	unsigned long nr = DMA_SIZE / SZ_4K, page, pages, i, now;
	static unsigned long reported[DMA_SIZE / SZ_4K];
	static __u8 bits[DMA_SIZE / SZ_4K / 8];
	struct dma *dma = &self->dma;
	struct writer *writer;
	unsigned int reads;

	test_cmd_start(dma->fd, SZ_4K);
	writer = writer_start(dma, DMA_SIZE);
	for (reads = 0; reads <= 300; reads++) {
		if (reads == 300)
			writer_stop(writer);
		memset(bits, 0, sizeof(bits));
		test_cmd_read(dma->fd, 0, 0, DMA_BASE, DMA_SIZE, SZ_4K, bits,
			      NULL, NULL);
		now = atomic_load(&writer->clock);
		for (page = 0; page < nr; page = i) {
			bool written = false;

			i = iopte(page, &pages);
			for (pages += i; i < pages; i++)
				written |= writer->first[i];
			for (i = page; i < pages; i++) {
				if (!bit_test(bits, i))
					continue;
				reported[i] = now;
				ASSERT_TRUE(written)
				{
					TH_LOG("page %lu was never written", i);
				}
			}
		}
	}
	/* What began after the last report of its page was never reported. */
	for (page = 0; page < nr; page++) {
		ASSERT_LE(writer->begun[page], reported[page])
		{
			TH_LOG("a write to page %lu was lost", page);
		}
	}
	free(writer);
}

TEST_F_TIMEOUT(dma, harvest_then_unmap_while_it_writes, 300)
{
	unsigned long nr = DMA_SMALL_SIZE / SZ_4K, page, before, since, some = 0;
	static __u8 bits[DMA_SMALL_SIZE / SZ_4K / 8];
	struct dma *dma = &self->dma;
	struct writer *writer;
	unsigned int round;
	__u32 status;

	test_cmd_start(dma->fd, SZ_4K);
	writer = writer_start(dma, DMA_SMALL_SIZE);
	for (round = 0; round < 50; round++) {
		since = atomic_load(&writer->clock);
		while (atomic_load(&writer->clock) < since + 200)
			;
		before = atomic_load(&writer->clock);
		test_cmd_harvest(dma->fd, 0, DMA_BASE, DMA_SMALL_SIZE, &status);
		EXPECT_EQ(0, status);
		ASSERT_EQ(0, _iommu_ioas_unmap(dma->iommu, dma->ioas_id,
					       DMA_BASE, DMA_SMALL_SIZE));
		memset(bits, 0, sizeof(bits));
		test_cmd_read(dma->fd, 0, 0, DMA_BASE, DMA_SMALL_SIZE, SZ_4K,
			      bits, &status, NULL);
		EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
		for (page = 0; page < nr; page++) {
			bool dirty = bit_test(bits, page);

			if (writer->begun[page] >= since &&
			    writer->ended[page] < before) {
				some++;
				ASSERT_TRUE(dirty)
				{
					TH_LOG("a write to page %lu was lost",
					       page);
				}
			}
			if (dirty) {
				ASSERT_NE(0, writer->first[page])
				{
					TH_LOG("page %lu was never written",
					       page);
				}
			}
		}
		ASSERT_EQ(0, dma_map_small(dma));
	}
	writer_stop(writer);
	EXPECT_LT(50, some);
	free(writer);
}

TEST_HARNESS_MAIN
