// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO's own DMA logging of emulated devices, whose driver has none.
 */
#include <sys/mman.h>

#include "emulated.h"
#include "quirks.h"
#include "vfio_log.h"

#define BASE MEMBERS_BASE
#define SIZE MEMBERS_SIZE
#define PAGES (SIZE / SZ_4K)

/* Two devices of one I/O address space; the context has neither of them. */
FIXTURE(vfio_log)
{
	struct members members;
	struct emulated dev[EMULATED_DEVICES];
	__u64 seed;
};

FIXTURE_SETUP(vfio_log)
{
	struct members_variant none = {};
	unsigned int i;

	self->members = (struct members){ .fd = -1, .iommu = -1 };
	for (i = 0; i < EMULATED_DEVICES; i++)
		self->dev[i].fd = -1;
	if (!have_dma_log())
		SKIP(return, NO_DMA_LOG);
	ASSERT_EQ(0, reload_vfio("dma_log=1"));
	ASSERT_EQ(0, load_emulated(""));
	members_open(_metadata, &self->members, &none);
	members_open_iommu(_metadata, &self->members, false);
	self->seed = 0x7654321;
	for (i = 0; i < EMULATED_DEVICES; i++)
		emulated_open(&self->dev[i], i, self->members.iommu,
			      self->members.ioas_id);
	test_cmd_range_add(self->members.fd, BASE, SIZE);
}

FIXTURE_TEARDOWN(vfio_log)
{
	unsigned int i;

	for (i = 0; i < EMULATED_DEVICES; i++) {
		if (self->dev[i].fd != -1)
			close(self->dev[i].fd);
	}
	members_close(&self->members);
	/* Leave it off for the next test. */
	remove_module("iommufd_dirty_vfio");
}

#define write_by(dev, at, bytes) \
	emulated_write(&self->members.model, dev, at, bytes)

#define write_some(dev, times)                                              \
	do {                                                                \
		unsigned int __n;                                           \
									    \
		for (__n = 0; __n < (times); __n++) {                       \
			__u64 __length = 1 + next_random(&self->seed) %     \
				(__n % 2 ? 64 : 5 * SZ_4K);                 \
			__u64 __at = next_random(&self->seed) %             \
				(SIZE - __length);                          \
									    \
			write_by(dev, BASE + __at, __length);               \
		}                                                           \
	} while (0)

#define report_part(dev, at, bytes)                                         \
	({                                                                  \
		emulated_pins(&self->members.model, dev);                   \
		model_report(&self->members.model, .device = (dev)->fd,     \
			     .who = (dev)->who, .iova = at,                 \
			     .length = bytes, .page_size = SZ_4K);          \
	})

#define report_all(dev) report_part(dev, BASE, SIZE)

#define log_all(dev) test_log_start((dev)->fd, BASE, SIZE)

TEST_F(vfio_log, off_by_default)
{
	__u8 bits[PAGES / 8] = {};
	int device = self->dev[0].fd;

	EXPECT_EQ(0, _vfio_log_probe(device));
	EXPECT_TRUE(logs_have("dma_log 1"));
	close(self->dev[0].fd);
	close(self->dev[1].fd);
	self->dev[1].fd = -1;
	ASSERT_EQ(0, reload_vfio(""));
	EXPECT_TRUE(logs_have("dma_log 0"));
	emulated_open(&self->dev[0], 0, self->members.iommu,
		      self->members.ioas_id);
	device = self->dev[0].fd;
	EXPECT_ERRNO(ENOTTY, _vfio_log_probe(device));
	test_err_log_start(ENOTTY, device, BASE, SIZE, SZ_4K);
	EXPECT_ERRNO(ENOTTY, _vfio_log_stop(device));
	test_err_log_report(ENOTTY, device, BASE, SIZE, bits);
	/* Nobody needs the module. */
	ASSERT_EQ(0, remove_module("iommufd_dirty_vfio"));
	EXPECT_ERRNO(ENOTTY, _vfio_log_probe(device));
	ASSERT_EQ(0, reload_vfio(""));
	/* The tracker is there as ever. */
	EXPECT_EQ(0, _vfio_dirty_probe(device));
}

TEST_F(vfio_log, only_off_and_on)
{
	close(self->dev[0].fd);
	close(self->dev[1].fd);
	self->dev[0].fd = -1;
	self->dev[1].fd = -1;
	EXPECT_NE(0, reload_vfio("dma_log=2 2>/dev/null"));
	ASSERT_EQ(0, reload_vfio("dma_log=1"));
}

TEST_F(vfio_log, rounds)
{
	unsigned int round;

	log_all(&self->dev[0]);
	report_all(&self->dev[0]);
	for (round = 0; round < 200; round++) {
		__u64 page_size = SZ_4K << next_random(&self->seed) % 6;
		__u64 pages = 1 + next_random(&self->seed) % PAGES;
		__u64 at = next_random(&self->seed) % (PAGES - pages + 1);

		write_some(&self->dev[0], 4);
		model_report(&self->members.model, .device = self->dev[0].fd,
			     .who = self->dev[0].who, .iova = BASE + at * SZ_4K,
			     .length = pages * SZ_4K, .page_size = page_size,
			     .misalign = round % 9 * 8);
	}
	report_all(&self->dev[0]);
	report_all(&self->dev[0]);
}

/* What is asked for begins and ends within a page: the rest stays dirty. */
TEST_F(vfio_log, parts_of_pages)
{
	struct emulated *dev = &self->dev[0];
	__u8 bits[8] = {};

	log_all(dev);
	write_by(dev, BASE + 5 * SZ_4K, 1);
	ASSERT_EQ(0, _vfio_log_report(dev->fd, BASE + 5 * SZ_4K + 512, 512,
				      SZ_4K, bits));
	EXPECT_EQ(1, bits[0]);
	ASSERT_EQ(0, _vfio_log_report(dev->fd, BASE + 5 * SZ_4K + 512, 512,
				      SZ_4K, &bits[1]));
	EXPECT_EQ(0, bits[1]);
	report_all(dev);
	report_all(dev);
}

TEST_F(vfio_log, pinned_pages)
{
	struct emulated *dev = &self->dev[0];
	unsigned int i;

	log_all(dev);
	emulated_pin(dev, BASE + 5 * SZ_4K, 3 * SZ_4K);
	emulated_pin(dev, BASE + SZ_1M, SZ_2M);
	for (i = 0; i < 3; i++) {
		report_all(dev);
		report_part(dev, BASE + 6 * SZ_4K, SZ_4K);
	}
	emulated_unpin(&self->members.model, dev, BASE + 5 * SZ_4K, 3 * SZ_4K);
	report_all(dev);
	emulated_unpin(&self->members.model, dev, BASE + SZ_1M, SZ_2M);
	report_all(dev);
	report_all(dev);
}

TEST_F(vfio_log, each_device_has_its_own)
{
	unsigned int i;

	log_all(&self->dev[0]);
	log_all(&self->dev[1]);
	for (i = 0; i < 50; i++) {
		struct emulated *dev = &self->dev[next_random(&self->seed) % 2];

		write_some(&self->dev[i % 2], 3);
		report_all(dev);
	}
	test_log_stop(self->dev[0].fd);
	write_some(&self->dev[1], 10);
	report_all(&self->dev[1]);
}

TEST_F(vfio_log, ranges)
{
	struct iommufd_dirty_range ranges[] = {
		{ BASE + 4 * SZ_1M, SZ_64K },
		{ BASE + SZ_1M, SZ_1M },
		/* Side by side with the one before. */
		{ BASE + SZ_2M, SZ_4K },
	};
	struct emulated *dev = &self->dev[0];
	__u64 page_size = SZ_4K;
	unsigned int i, round;

	ASSERT_EQ(0, _vfio_log_start_ranges(dev->fd, ranges, 3, &page_size));
	for (round = 0; round < 20; round++) {
		write_some(dev, 20);
		write_by(dev, BASE + SZ_2M - 1, SZ_4K + 2);
		write_by(dev, BASE + 4 * SZ_1M + SZ_64K - 1, 2);
		/* What is not in them is not dirty. */
		for (i = 0; i < PAGES; i++) {
			__u64 at = BASE + i * SZ_4K;

			if (!(at >= ranges[1].iova &&
			      at < ranges[2].iova + SZ_4K) &&
			    !(at >= ranges[0].iova &&
			      at < ranges[0].iova + SZ_64K))
				model_clean(&self->members.model, dev->who, at,
					    SZ_4K);
		}
		report_all(dev);
	}
}

TEST_F(vfio_log, bad_arguments)
{
	static const __u64 sizes[] = { 0, 1, 2048, 3 * SZ_4K, SZ_4K + 1 };
	struct emulated *dev = &self->dev[0];
	struct iommufd_dirty_range range = {};
	__u8 bits[PAGES / 8] = {};
	__u64 page_size;
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		test_err_log_start(EINVAL, dev->fd, BASE, SIZE, sizes[i]);
	test_err_log_start(EINVAL, dev->fd, BASE, 0, SZ_4K);
	test_err_log_start(EINVAL, dev->fd, 0, 0, SZ_4K);
	test_err_log_start(EOVERFLOW, dev->fd, -SZ_4K, SZ_4K, SZ_4K);
	page_size = SZ_4K;
	EXPECT_ERRNO(EINVAL, _vfio_log_start_ranges(dev->fd, &range, 0,
						    &page_size));
	test_err_log_report(EINVAL, dev->fd, BASE, SIZE, bits);
	EXPECT_FALSE(logs_have(EMULATED_NAME));
	/* It stops what is not started, as drivers do. */
	test_log_stop(dev->fd);

	/* Coarser than a page is answered with a page. */
	page_size = SZ_64K;
	ASSERT_EQ(0, _vfio_log_start(dev->fd, BASE, SIZE, &page_size));
	EXPECT_EQ(SZ_4K, page_size);
	write_some(dev, 10);
	test_err_log_start(EINVAL, dev->fd, BASE, SIZE, SZ_4K);
	report_all(dev);
	test_log_stop(dev->fd);
	test_err_log_report(EINVAL, dev->fd, BASE, SIZE, bits);
}

TEST_F(vfio_log, begins_clean)
{
	struct emulated *dev = &self->dev[0];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		write_some(dev, 10);
		model_clean(&self->members.model, dev->who, BASE, SIZE);
		log_all(dev);
		report_all(dev);
		write_some(dev, 10);
		report_all(dev);
		write_some(dev, 10);
		test_log_stop(dev->fd);
	}
}

TEST_F(vfio_log, a_bitmap_that_cannot_be_written)
{
	struct emulated *dev = &self->dev[0];
	__u8 *bitmap;

	bitmap = mmap(NULL, SZ_4K, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	ASSERT_NE(MAP_FAILED, bitmap);
	log_all(dev);
	emulated_pin(dev, BASE + 9 * SZ_4K, SZ_4K);
	write_some(dev, 30);
	test_err_log_report(EFAULT, dev->fd, BASE, SIZE, bitmap);
	ASSERT_EQ(0, mprotect(bitmap, SZ_4K, PROT_NONE));
	write_some(dev, 30);
	test_err_log_report(EFAULT, dev->fd, BASE, SIZE, bitmap);
	test_err_log_report(EFAULT, dev->fd, BASE, SIZE, NULL);
	report_all(dev);
	report_all(dev);
	munmap(bitmap, SZ_4K);
}

TEST_F(vfio_log, a_context_has_the_tracker)
{
	struct emulated *dev = &self->dev[0];
	int fd = self->members.fd;
	__u8 bits[PAGES / 8] = {};

	/* Bound only: who starts first has it. */
	test_vfio_dirty_bind(dev->fd, fd, POLICY_FAIL, &dev->id);
	log_all(dev);
	test_err_start(EBUSY, fd, 0, SZ_4K);
	write_some(dev, 10);
	report_all(dev);
	test_err_vfio_dirty_bind(EBUSY, dev->fd, fd, POLICY_FAIL);
	test_log_stop(dev->fd);

	test_cmd_start(fd, SZ_4K);
	test_err_log_start(EBUSY, dev->fd, BASE, SIZE, SZ_4K);
	test_err_log_report(EINVAL, dev->fd, BASE, SIZE, bits);
	write_some(dev, 10);
	model_read(&self->members.model, .fd = fd, .who = MODEL_ALL,
		   .iova = BASE, .length = SIZE, .page_size = SZ_4K);
	/* To stop what is not started does not stop the context. */
	test_log_stop(dev->fd);
	write_some(dev, 10);
	model_read(&self->members.model, .fd = fd, .who = MODEL_ALL,
		   .iova = BASE, .length = SIZE, .page_size = SZ_4K);

	/* The other device is nobody's. */
	log_all(&self->dev[1]);
	write_some(&self->dev[1], 10);
	report_all(&self->dev[1]);
	test_err_vfio_dirty_bind(EBUSY, self->dev[1].fd, fd, POLICY_FAIL);
	test_cmd_stop(fd);
	log_all(dev);
	write_some(dev, 10);
	report_all(dev);
}

TEST_F(vfio_log, moved)
{
	struct emulated *dev = &self->dev[0];
	__u8 bits[PAGES / 8] = {};
	__u32 ioas_id;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->members.iommu, &ioas_id));
	log_all(dev);
	emulated_pin(dev, BASE, SZ_64K);
	write_by(dev, BASE + SZ_1M, 1);
	/* All that it did is known, and it can do no more. */
	ASSERT_EQ(0, _vfio_detach(dev->fd));
	emulated_unpinned(&self->members.model, dev, BASE, SZ_64K);
	report_part(dev, BASE, SZ_64K / 2);

	ASSERT_EQ(0, _vfio_attach(dev->fd, ioas_id));
	test_err_log_report(EXDEV, dev->fd, BASE, SIZE, bits);
	ASSERT_EQ(0, _vfio_attach(dev->fd, self->members.ioas_id));
	report_all(dev);
	test_log_stop(dev->fd);

	/* Nowhere there is nothing to log. */
	ASSERT_EQ(0, _vfio_detach(dev->fd));
	EXPECT_ERRNO(ENOTTY, _vfio_log_probe(dev->fd));
	test_err_log_start(ENOTTY, dev->fd, BASE, SIZE, SZ_4K);
}

/* A device whose driver has a log keeps that one. */
TEST_F(vfio_log, the_log_of_a_driver)
{
	__u8 bits[PAGES / 8] = {};
	int device;

	ASSERT_EQ(0, system("modprobe " QUIRKS_NAME));
	device = quirks_open(self->members.iommu, self->members.ioas_id, 0);
	ASSERT_NE(-1, device);
	log_all(&self->dev[0]);
	test_log_start(device, BASE, SIZE);
	EXPECT_FALSE(logs_have(QUIRKS_NAME));
	quirks_dirty(device, BASE + SZ_4K, SZ_4K);
	ASSERT_EQ(0, _vfio_log_report(device, BASE, SIZE, SZ_4K, bits));
	EXPECT_EQ(2, bits[0]);
	report_all(&self->dev[0]);
	test_log_stop(device);
	EXPECT_EQ(0, quirks_state(device).misuse);
	close(device);
}

TEST_F(vfio_log, closed_while_it_logs)
{
	struct emulated *dev = &self->dev[0];

	log_all(dev);
	log_all(&self->dev[1]);
	EXPECT_TRUE(logs_have("^" EMULATED_NAME ".0 software "));
	EXPECT_TRUE(logs_have("^" EMULATED_NAME ".1 software "));
	write_some(dev, 10);
	close(dev->fd);
	EXPECT_FALSE(logs_have(EMULATED_NAME ".0"));
	write_some(&self->dev[1], 10);
	report_all(&self->dev[1]);
	EXPECT_ERRNO(EAGAIN, remove_module("iommufd_dirty_vfio"));
	model_clean(&self->members.model, dev->who, BASE, SIZE);
	emulated_open(dev, 0, self->members.iommu, self->members.ioas_id);
	log_all(dev);
	report_all(dev);
}

TEST_HARNESS_MAIN
