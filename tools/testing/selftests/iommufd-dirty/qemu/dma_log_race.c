// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO's own DMA logging of two devices behind one HWPT, with much at a time.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "dma_log.h"

/* A device that writes on and on; see dma.c. */
struct writer {
	pthread_t thread;
	__u8 *bar;
	__u64 seed;
	atomic_ulong clock;
	atomic_bool stop;
	atomic_ulong begun[DMA_SMALL_SIZE / SZ_4K];
};

static void *writer_run(void *data)
{
	struct writer *writer = data;
	unsigned long page, now;

	while (!atomic_load(&writer->stop)) {
		page = next_random(&writer->seed) % (DMA_SMALL_SIZE / SZ_4K);
		now = atomic_fetch_add(&writer->clock, 1);
		if (testdev_fire(writer->bar, DMA_BASE + page * SZ_4K, 64))
			continue;
		atomic_store(&writer->begun[page], now);
	}
	return NULL;
}

/* One log, read again and again: when each page was reported last. */
struct reporter {
	pthread_t thread;
	struct writer *writers;
	int device;
	int error;
	atomic_bool *last;
	unsigned int reports;
	unsigned long reported[DEVICES][DMA_SMALL_SIZE / SZ_4K];
};

static void *reporter_run(void *data)
{
	struct reporter *reporter = data;
	static const unsigned long pages = DMA_SMALL_SIZE / SZ_4K;
	__u8 bits[DMA_SMALL_SIZE / SZ_4K / 8];
	unsigned long page, now[DEVICES];
	unsigned int i;
	bool last;

	do {
		last = atomic_load(reporter->last);
		memset(bits, 0, sizeof(bits));
		if (_vfio_log_report(reporter->device, DMA_BASE, DMA_SMALL_SIZE,
				     SZ_4K, bits)) {
			reporter->error = errno;
			return NULL;
		}
		for (i = 0; i < DEVICES; i++)
			now[i] = atomic_load(&reporter->writers[i].clock);
		for (page = 0; page < pages; page++) {
			for (i = 0; i < DEVICES && bit_test(bits, page); i++)
				reporter->reported[i][page] = now[i];
		}
		reporter->reports++;
	} while (!last);
	return NULL;
}

TEST_F_TIMEOUT(dma_log, writes_while_both_report, 300)
{
	static struct reporter reporters[DEVICES];
	static struct writer writers[DEVICES];
	atomic_bool last = false;
	unsigned int i, w;
	unsigned long page;

	for (i = 0; i < DEVICES; i++) {
		log_start_all(&self->log[i]);
		writers[i].bar = self->log[i].bar;
		writers[i].seed = self->dma.seed + i;
		writers[i].clock = 1;
		reporters[i].writers = writers;
		reporters[i].device = self->log[i].device;
		reporters[i].last = &last;
	}
	for (i = 0; i < DEVICES; i++) {
		ASSERT_EQ(0, pthread_create(&writers[i].thread, NULL,
					    writer_run, &writers[i]));
		ASSERT_EQ(0, pthread_create(&reporters[i].thread, NULL,
					    reporter_run, &reporters[i]));
	}
	for (i = 0; i < DEVICES; i++) {
		while (atomic_load(&writers[i].clock) < 20000)
			usleep(1000);
	}
	for (i = 0; i < DEVICES; i++) {
		atomic_store(&writers[i].stop, true);
		pthread_join(writers[i].thread, NULL);
	}
	atomic_store(&last, true);
	for (i = 0; i < DEVICES; i++) {
		pthread_join(reporters[i].thread, NULL);
		ASSERT_EQ(0, reporters[i].error);
		EXPECT_LT(1, reporters[i].reports);
	}
	/* What began after the last report of its page was never reported. */
	for (i = 0; i < DEVICES; i++) {
		for (w = 0; w < DEVICES; w++) {
			for (page = 0; page < DMA_SMALL_SIZE / SZ_4K; page++) {
				ASSERT_LE(writers[w].begun[page],
					  reporters[i].reported[w][page])
				{
					TH_LOG("log %u lost a write of device %u to page %lu",
					       i, w, page);
				}
			}
		}
	}
}

/* One of those who start, report, move and stop without looking at each other. */
struct meddler {
	pthread_t thread;
	struct dma *dma;
	struct log *log;
	__u32 hwpt_ids[2];
	__u64 seed;
	int error;
};

static int meddle(struct meddler *meddler, __u8 *bits)
{
	int device = meddler->log->device;
	__u64 page_size = SZ_4K;
	__u32 hwpt_id;

	switch (next_random(&meddler->seed) % 8) {
	case 0:
	case 1:
		return _vfio_log_start(device, DMA_BASE, DMA_SIZE, &page_size);
	case 2:
		return _vfio_log_stop(device);
	case 3:
		hwpt_id = meddler->hwpt_ids[next_random(&meddler->seed) % 2];
		return _vfio_attach(device, hwpt_id);
	case 4:
		return _test_cmd_start(meddler->dma->fd, 0, SZ_4K);
	case 5:
		return _test_cmd_stop(meddler->dma->fd);
	case 6:
		/* Where it is attached now, it is mapped. */
		return testdev_fire(meddler->log->bar, DMA_BASE, 64);
	default:
		return _vfio_log_report(device, DMA_BASE, DMA_SIZE, SZ_4K,
					bits);
	}
}

static void *meddler_run(void *data)
{
	__u8 bits[DMA_SIZE / SZ_4K / 8];
	struct meddler *meddler = data;
	unsigned int i;

	for (i = 0; i < 300; i++) {
		if (!meddle(meddler, bits))
			continue;
		/* Not started, or started; by somebody else; moved. */
		if (errno != EINVAL && errno != EBUSY && errno != EXDEV)
			meddler->error = errno;
	}
	return NULL;
}

TEST_F_TIMEOUT(dma_log, all_at_once, 300)
{
	static struct meddler meddlers[2 * DEVICES];
	__u32 other, hwpt_id = self->dma.hwpt_id;
	unsigned int i;

	ASSERT_EQ(0, dma_hwpt_alloc(&self->dma));
	other = self->dma.hwpt_id;
	for (i = 0; i < 2 * DEVICES; i++) {
		meddlers[i] = (struct meddler){
			.dma = &self->dma,
			.log = &self->log[i % DEVICES],
			.hwpt_ids = { hwpt_id, other },
			.seed = self->dma.seed + i,
		};
		ASSERT_EQ(0, pthread_create(&meddlers[i].thread, NULL,
					    meddler_run, &meddlers[i]));
	}
	for (i = 0; i < 2 * DEVICES; i++) {
		pthread_join(meddlers[i].thread, NULL);
		EXPECT_EQ(0, meddlers[i].error)
		{
			TH_LOG("%s", strerror(meddlers[i].error));
		}
	}
	/* Nothing is left behind, and all goes on. */
	_test_cmd_stop(self->dma.fd);
	for (i = 0; i < DEVICES; i++) {
		test_log_stop(self->log[i].device);
		ASSERT_EQ(0, _vfio_attach(self->log[i].device, hwpt_id));
	}
	EXPECT_EQ(0, logs_count("iommu-domain"));
	ASSERT_EQ(0, _iommu_destroy(self->dma.iommu, other));
	log_start_all(&self->log[0]);
	log_start_all(&self->log[1]);
	log_write(&self->log[1], DMA_BASE, SZ_64K);
	log_report_all(&self->log[0]);
	log_report_all(&self->log[1]);
}

TEST_HARNESS_MAIN
