/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A context with a device that logs its DMA through vfio_log_ops, and the model of
 * what the log holds.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_LOG_OPS
#define __SELFTEST_IOMMUFD_DIRTY_LOG_OPS

#include "modules.h"
#include "quirks.h"

#define BASE 0x40000000ULL
#define SIZE (4 * SZ_1M)
#define NO_LOG_OPS "this kernel's VFIO lacks vfio_device_log_read()"

FIXTURE(log_ops)
{
	int fd;
	int iommu;
	__u32 ioas_id;
	int device;
	__u32 id;
	struct model model;
	__u64 seed;
};

#define quirks_set(quirk, value)                                        \
	ASSERT_EQ(0, _quirks_cmd(self->device, QUIRKS_SET, quirk, value, 0))

FIXTURE_SETUP(log_ops)
{
	self->seed = 0x9e3779b97f4a7c15;
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	if (system("modprobe iommufd-dirty-vfio 2>/dev/null"))
		SKIP(return, NO_LOG_OPS);
	ASSERT_EQ(0, system("modprobe " QUIRKS_NAME));
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &self->ioas_id));
	self->device = quirks_open(self->iommu, self->ioas_id, 0);
	ASSERT_NE(-1, self->device);
	test_vfio_dirty_bind(self->device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_range_add(self->fd, BASE, SIZE);
	ASSERT_TRUE(model_init(&self->model, BASE, SIZE, 12));
}

FIXTURE_TEARDOWN(log_ops)
{
	/* Nobody called the driver when its state did not allow that. */
	if (self->device != -1) {
		EXPECT_EQ(0, quirks_state(self->device).misuse);
		close(self->device);
	}
	close(self->fd);
	close(self->iommu);
	model_free(&self->model);
}

#define start_results(flags, page_size, result, granule)                  \
	({                                                                \
		__u32 __nr = 1;                                           \
									  \
		_test_cmd_start_results(self->fd, flags, page_size,       \
					granule, result, &__nr);          \
	})

/* @unit: what one write makes dirty. */
#define write_some(writes, unit)                                             \
	({                                                                   \
		unsigned int __n;                                            \
									     \
		for (__n = 0; __n < (writes); __n++) {                       \
			__u64 __len = 1 + next_random(&self->seed) % SZ_64K; \
			__u64 __at = BASE +                                  \
				next_random(&self->seed) % (SIZE - __len);   \
									     \
			quirks_dirty(self->device, __at, __len);             \
			model_write(&self->model, 1, __at, __len, unit);     \
		}                                                            \
	})

#define read_part(_iova, _length)                                 \
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL, \
		   .iova = _iova, .length = _length, .page_size = SZ_4K)

/* Sub-ranges of whole pages, anywhere; in the end everything. */
#define random_rounds(rounds, unit)                                        \
	({                                                                 \
		unsigned int __i;                                          \
									   \
		for (__i = 0; __i < (rounds); __i++) {                     \
			__u64 __pages = 1 + next_random(&self->seed) % 200; \
			__u64 __from = next_random(&self->seed) %          \
				(SIZE / SZ_4K - __pages);                  \
									   \
			write_some(8, unit);                               \
			read_part(BASE + __from * SZ_4K, __pages * SZ_4K); \
		}                                                          \
		read_part(BASE, SIZE);                                     \
		read_part(BASE, SIZE);                                     \
	})

#endif
