// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO's own DMA logging of two devices behind one HWPT.
 */
#include "dma_log.h"

/*
 * Two logs of other ranges that begin, report and end at any time: each reports
 * what is written while it logs, in its ranges, and nothing else.
 */
TEST_F_TIMEOUT(dma_log, rounds, 600)
{
	const char *rounds = getenv("DMA_ROUNDS");
	unsigned int nr = rounds ? atoi(rounds) : DMA_ROUNDS;
	__u64 pages, at;
	unsigned int i;

	while (nr--) {
		struct log *log = &self->log[next_random(&self->dma.seed) % 2];

		for (i = next_random(&self->dma.seed) % 6; i < 6; i++)
			log_write_some(&self->log[i % 2]);
		if (!log->started) {
			log_start_some(log);
		} else if (!(next_random(&self->dma.seed) % 10)) {
			log_stop(log);
		} else {
			pages = 1 + next_random(&self->dma.seed) %
					    (DMA_SIZE / SZ_4K);
			at = next_random(&self->dma.seed) %
			     (DMA_SIZE / SZ_4K - pages + 1);
			model_report(&self->dma.model, .device = log->device,
				     .who = log->who,
				     .iova = DMA_BASE + at * SZ_4K,
				     .length = pages * SZ_4K,
				     .page_size = SZ_4K << nr % 4,
				     .misalign = nr % 5 * 8);
		}
	}
	for (i = 0; i < DEVICES; i++) {
		if (!self->log[i].started)
			continue;
		log_report_all(&self->log[i]);
		log_report_all(&self->log[i]);
	}
}

/* What one log reports is still to be reported by the other. */
TEST_F(dma_log, what_one_reports_is_owed_to_the_other)
{
	struct log *a = &self->log[0], *b = &self->log[1];
	unsigned int i;

	log_start_all(a);
	log_start_all(b);
	for (i = 0; i < 10; i++) {
		log_write(i % 2 ? a : b, DMA_BASE + i * SZ_64K, SZ_4K);
		log_write(a, DMA_HUGE_BASE + i * SZ_1M, 1);
		log_report_all(a);
		log_report_all(a);
	}
	log_report(b, DMA_BASE, SZ_64K);
	log_report_all(b);
	log_report_all(b);
	log_report_all(a);
}

TEST_F(dma_log, begins_clean_beside_the_other)
{
	struct log *a = &self->log[0], *b = &self->log[1];

	ASSERT_EQ(0, testdev_fire(a->bar, DMA_BASE, SZ_64K));
	log_start_all(a);
	log_report_all(a);
	log_write(a, DMA_BASE + SZ_64K, SZ_64K);
	log_write(b, DMA_HUGE_BASE, 64);
	log_start_all(b);
	log_report_all(b);
	log_report_all(a);
	log_write(b, DMA_BASE, 64);
	log_report_all(a);
	log_report_all(b);
}

TEST_F(dma_log, one_ends_and_the_other_goes_on)
{
	struct log *a = &self->log[0], *b = &self->log[1];

	log_start_all(a);
	log_start_all(b);
	EXPECT_EQ(2, logs_count("iommu-domain"));
	log_write(b, DMA_BASE, SZ_64K);
	log_report_all(b);
	log_stop(b);
	EXPECT_EQ(1, logs_count("iommu-domain"));
	/* What the one that ended has taken out is not lost for the other. */
	log_write(b, DMA_BASE + SZ_1M, SZ_4K);
	log_report_all(a);

	log_start_all(b);
	log_write(a, DMA_HUGE_BASE, 1);
	log_report_all(b);
	munmap(b->bar, TESTDEV_BAR_SIZE);
	close(b->device);
	b->bar = NULL;
	b->device = -1;
	b->started = false;
	EXPECT_EQ(1, logs_count("iommu-domain"));
	log_report_all(a);
	log_write(a, DMA_BASE, 1);
	log_report_all(a);
	log_stop(a);
	/* Now userspace can have it. */
	ASSERT_EQ(0, _set_dirty_tracking(&self->dma, true));
	ASSERT_EQ(0, _set_dirty_tracking(&self->dma, false));
}

TEST_F(dma_log, a_bitmap_that_cannot_be_written)
{
	struct log *a = &self->log[0], *b = &self->log[1];
	__u8 *bitmap = mmap(NULL, SZ_4K, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	ASSERT_NE(MAP_FAILED, bitmap);
	log_start_all(a);
	log_start_all(b);
	log_write(a, DMA_BASE, SZ_64K);
	test_err_log_report(EFAULT, a->device, DMA_BASE, DMA_SIZE, bitmap);
	log_write(a, DMA_HUGE_BASE, 1);
	test_err_log_report(EFAULT, a->device, DMA_BASE, DMA_SIZE, NULL);
	log_report_all(b);
	log_report_all(a);
	log_report_all(a);
	munmap(bitmap, SZ_4K);
}

/* One owner at a time: a context, userspace, or the logs. */
TEST_F(dma_log, others_have_the_dirty_bits)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = self->dma.hwpt_id,
		.iova = DMA_BASE,
		.length = DMA_SIZE,
		.page_size = SZ_4K,
	};
	struct log *a = &self->log[0], *b = &self->log[1];
	__u8 bits[DMA_SIZE / SZ_4K / 8] = {};
	struct dma *dma = &self->dma;

	cmd.data = (uintptr_t)bits;
	test_cmd_start(dma->fd, SZ_4K);
	test_err_log_start(EBUSY, a->device, DMA_BASE, DMA_SIZE, SZ_4K);
	test_cmd_stop(dma->fd);
	ASSERT_EQ(0, _set_dirty_tracking(dma, true));
	test_err_log_start(EBUSY, a->device, DMA_BASE, DMA_SIZE, SZ_4K);
	ASSERT_EQ(0, _set_dirty_tracking(dma, false));

	log_start_all(a);
	log_write(b, DMA_BASE, 1);
	test_err_start(EBUSY, dma->fd, 0, SZ_4K);
	EXPECT_ERRNO(EBUSY, _set_dirty_tracking(dma, true));
	EXPECT_ERRNO(EBUSY, _set_dirty_tracking(dma, false));
	EXPECT_ERRNO(EBUSY, ioctl(dma->iommu, IOMMU_HWPT_GET_DIRTY_BITMAP,
				  &cmd));
	cmd.flags = IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
	EXPECT_EQ(0, ioctl(dma->iommu, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd));
	EXPECT_EQ(1, bits[0]);
	log_report_all(a);
	/* It is no tracker of a context, and never was. */
	EXPECT_ERRNO(ENOTTY, _vfio_dirty_probe(a->device));
	log_stop(a);
	test_cmd_start(dma->fd, SZ_4K);
}

TEST_F(dma_log, moved_to_another_page_table)
{
	struct log *a = &self->log[0], *b = &self->log[1];
	__u8 bits[DMA_SIZE / SZ_4K / 8] = {};
	__u32 hwpt_id = self->dma.hwpt_id;

	log_start_all(a);
	log_start_all(b);
	log_write(a, DMA_BASE, SZ_64K);
	/* Of the same IOAS: the same memory, and other dirty bits. */
	ASSERT_EQ(0, dma_hwpt_alloc(&self->dma));
	ASSERT_EQ(0, _vfio_attach(b->device, self->dma.hwpt_id));
	test_err_log_report(EXDEV, b->device, DMA_BASE, DMA_SIZE, bits);
	ASSERT_EQ(0, testdev_fire(b->bar, DMA_BASE + SZ_1M, 1));
	/* It came back, and what it wrote elsewhere is known to nobody. */
	ASSERT_EQ(0, _vfio_attach(b->device, hwpt_id));
	test_err_log_report(EXDEV, b->device, DMA_BASE, DMA_SIZE, bits);
	ASSERT_EQ(0, _vfio_detach(b->device));
	test_err_log_report(EXDEV, b->device, DMA_BASE, DMA_SIZE, bits);
	ASSERT_EQ(0, _vfio_attach(b->device, hwpt_id));
	test_err_log_report(EXDEV, b->device, DMA_BASE, DMA_SIZE, bits);
	EXPECT_EQ(0, bits[0]);

	/* The other one stayed. */
	log_write(b, DMA_BASE + SZ_2M, 1);
	log_report_all(a);
	log_stop(b);
	log_start_all(b);
	log_write(b, DMA_BASE + SZ_2M, 1);
	log_report_all(b);
	log_report_all(a);

	/* It is no move to attach it where it is. */
	ASSERT_EQ(0, _vfio_attach(b->device, hwpt_id));
	log_write(b, DMA_BASE, 1);
	log_report_all(b);
}

TEST_F(dma_log, only_where_the_page_table_tracks)
{
	struct log *a = &self->log[0];

	EXPECT_EQ(0, _vfio_log_probe(a->device));
	ASSERT_EQ(0, _vfio_detach(a->device));
	EXPECT_ERRNO(ENOTTY, _vfio_log_probe(a->device));
	/* What iommufd makes by itself does not. */
	ASSERT_EQ(0, _vfio_attach(a->device, self->dma.ioas_id));
	EXPECT_ERRNO(ENOTTY, _vfio_log_probe(a->device));
	test_err_log_start(ENOTTY, a->device, DMA_BASE, DMA_SIZE, SZ_4K);
	ASSERT_EQ(0, _vfio_attach(a->device, self->dma.hwpt_id));
	EXPECT_EQ(0, _vfio_log_probe(a->device));
}

TEST_F(dma_log, off_by_default)
{
	struct log *a = &self->log[0];
	__u32 dev_id;

	munmap(a->bar, TESTDEV_BAR_SIZE);
	a->bar = NULL;
	close(a->device);
	/* Nobody has asked the other for a log. */
	ASSERT_EQ(0, reload_vfio(""));
	a->device = testdev_open(0);
	ASSERT_NE(-1, a->device);
	ASSERT_EQ(0, _vfio_bind_iommufd(a->device, self->dma.iommu, &dev_id));
	ASSERT_EQ(0, _vfio_attach(a->device, self->dma.hwpt_id));
	EXPECT_ERRNO(ENOTTY, _vfio_log_probe(a->device));
	test_err_log_start(ENOTTY, a->device, DMA_BASE, DMA_SIZE, SZ_4K);
	EXPECT_ERRNO(ENOTTY, _vfio_dirty_probe(a->device));
}

/* The log keeps its page table, and nothing of it when it ends. */
TEST_F(dma_log, page_table_stays_while_it_is_logged)
{
	struct log *a = &self->log[0], *b = &self->log[1];
	__u32 id;

	/* The context has it, too. */
	test_cmd_unbind(self->dma.fd, self->dma.id, 0);
	log_start_all(a);
	EXPECT_EQ(1, logs_count("iommu-domain"));
	ASSERT_EQ(0, _vfio_detach(a->device));
	ASSERT_EQ(0, _vfio_detach(b->device));
	EXPECT_ERRNO(EBUSY, _iommu_destroy(self->dma.iommu, self->dma.hwpt_id));
	log_stop(a);
	EXPECT_EQ(0, logs_count("iommu-domain"));
	id = self->dma.hwpt_id;
	ASSERT_EQ(0, _iommu_destroy(self->dma.iommu, id));
}

TEST_HARNESS_MAIN
