/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two devices behind one HWPT, whose dirty bits the logs of both share, and the model
 * of what each log has to report. They are QEMU's iommu-testdevs, bound to vfio-pci,
 * behind an IOMMU that sets dirty bits.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_DMA_LOG
#define __SELFTEST_IOMMUFD_DIRTY_DMA_LOG

#include "dma.h"
#include "testdev.h"
#include "vfio_log.h"

#define DEVICES 2
#define MAX_RANGES 3

/**
 * struct log - A device, its log and what it has to report
 * @who: Its bit in the model's cells
 * @started: It logs @ranges
 */
struct log {
	int device;
	__u8 *bar;
	__u16 who;
	bool started;
	unsigned int nr;
	struct iommufd_dirty_range ranges[MAX_RANGES];
};

/* @dma has the first device, and a context with the HWPT, not started. */
FIXTURE(dma_log)
{
	struct dma dma;
	struct log log[DEVICES];
};

FIXTURE_SETUP(dma_log)
{
	struct dma *dma = &self->dma;
	unsigned int i;

	dma_open(_metadata, dma);
	for (i = 0; i < DEVICES; i++)
		self->log[i] = (struct log){ .device = -1, .who = 1U << i };
	if (!have_dma_log())
		SKIP(return, NO_DMA_LOG);
	ASSERT_EQ(0, reload_vfio("dma_log=1"));
	for (i = 0; i < DEVICES; i++) {
		self->log[i].device = testdev_open(i);
		if (self->log[i].device == -1)
			SKIP(return, NO_TESTDEV);
	}
	dma->iommu = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, dma->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(dma->iommu, &dma->ioas_id));
	for (i = 0; i < DEVICES; i++) {
		dma->device = self->log[i].device;
		ASSERT_EQ(0, _vfio_bind_iommufd(dma->device, dma->iommu,
						&dma->dev_id));
		if (i) {
			ASSERT_EQ(0, _vfio_attach(dma->device, dma->hwpt_id));
			ASSERT_EQ(0, _vfio_enable_dma(dma->device));
		} else {
			dma_attach(_metadata, dma);
			if (_metadata->exit_code)
				return;
		}
		self->log[i].bar = testdev_map(dma->device);
		ASSERT_NE(MAP_FAILED, self->log[i].bar);
	}
	dma->device = -1;
}

FIXTURE_TEARDOWN(dma_log)
{
	unsigned int i;

	for (i = 0; i < DEVICES; i++) {
		if (self->log[i].bar)
			munmap(self->log[i].bar, TESTDEV_BAR_SIZE);
		if (self->log[i].device != -1)
			close(self->log[i].device);
	}
	self->dma.device = -1;
	dma_close(&self->dma);
	remove_module("iommufd_dirty_vfio");
}

/* Both logs have to report what is dirty in their ranges, whoever wrote it. */
static inline void log_due(struct dma *dma, struct log *log, __u64 iova, __u64 length)
{
	__u64 unit = dma_unit(iova), first, last;
	__u64 from = iova & ~(unit - 1);
	__u64 to = (iova + length + unit - 1) & ~(unit - 1);
	unsigned int i;

	for (i = 0; i < log->nr; i++) {
		first = from > log->ranges[i].iova ? from : log->ranges[i].iova;
		last = log->ranges[i].iova + log->ranges[i].length;
		if (last > to)
			last = to;
		if (first < last)
			model_write(&dma->model, log->who, first, last - first,
				    SZ_4K);
	}
}

#define log_write(by, iova, length)                                          \
	({                                                                   \
		unsigned int __l;                                            \
									     \
		ASSERT_EQ(0, testdev_fire((by)->bar, iova, length));         \
		for (__l = 0; __l < DEVICES; __l++) {                        \
			if (self->log[__l].started)                          \
				log_due(&self->dma, &self->log[__l], iova,   \
					length);                             \
		}                                                            \
	})

/* Anywhere: within a page, and over the end of IOPTEs. */
#define log_write_some(by)                                                   \
	({                                                                   \
		bool __huge = !(next_random(&self->dma.seed) % 4);           \
		__u64 __size = __huge ? DMA_HUGE_SIZE : DMA_SMALL_SIZE;      \
		__u32 __length = 1 + next_random(&self->dma.seed) % SZ_64K;  \
		__u64 __iova = (__huge ? DMA_HUGE_BASE : DMA_BASE) +         \
			next_random(&self->dma.seed) % (__size - __length);  \
									     \
		log_write(by, __iova, __length);                             \
	})

#define log_start(log, ...)                                                  \
	({                                                                   \
		struct iommufd_dirty_range __ranges[] = { __VA_ARGS__ };     \
		__u64 __size = SZ_4K;                                        \
									     \
		(log)->nr = sizeof(__ranges) / sizeof(*__ranges);            \
		memcpy((log)->ranges, __ranges, sizeof(__ranges));           \
		ASSERT_EQ(0, _vfio_log_start_ranges((log)->device,           \
						    (log)->ranges, (log)->nr, \
						    &__size));               \
		EXPECT_EQ(SZ_4K, __size);                                    \
		(log)->started = true;                                       \
	})

#define log_start_all(log) log_start(log, { DMA_BASE, DMA_SIZE })

#define log_stop(log)                                                        \
	({                                                                   \
		test_log_stop((log)->device);                                \
		(log)->started = false;                                      \
		model_clean(&self->dma.model, (log)->who, DMA_BASE,          \
			    DMA_SIZE);                                       \
	})

#define log_report(log, at, bytes, ...)                                      \
	model_report(&self->dma.model, .device = (log)->device,              \
		     .who = (log)->who, .iova = at, .length = bytes,         \
		     .page_size = SZ_4K, ##__VA_ARGS__)

#define log_report_all(log) log_report(log, DMA_BASE, DMA_SIZE)

/* Up to MAX_RANGES of any pages, which do not overlap. */
#define log_start_some(log)                                                  \
	({                                                                   \
		struct iommufd_dirty_range *__range = (log)->ranges;         \
		__u64 __step = SZ_4K << next_random(&self->dma.seed) % 3 * 2; \
		__u64 __at = next_random(&self->dma.seed) % 64;              \
		__u64 __size = __step;                                       \
									     \
		for ((log)->nr = 0; (log)->nr < MAX_RANGES; (log)->nr++) {   \
			__u64 __nr = 1 + next_random(&self->dma.seed) %      \
				(DMA_SIZE / __step / 3);                     \
									     \
			if ((__at + __nr) * __step > DMA_SIZE)               \
				break;                                       \
			*__range++ = (struct iommufd_dirty_range){           \
				DMA_BASE + __at * __step, __nr * __step,     \
			};                                                   \
			__at += __nr + next_random(&self->dma.seed) % 30;    \
		}                                                            \
		if ((log)->nr) {                                             \
			ASSERT_EQ(0, _vfio_log_start_ranges((log)->device,   \
							    (log)->ranges,   \
							    (log)->nr,       \
							    &__size));       \
			EXPECT_EQ(SZ_4K, __size);                            \
			(log)->started = true;                               \
		}                                                            \
	})

#endif
