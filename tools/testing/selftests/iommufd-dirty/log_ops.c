// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that log their DMA through vfio_log_ops, with the quirks of the drivers
 * in the tree: page sizes, sub-ranges and the number of ranges. As trackers they
 * all keep the promises of a READ.
 */
#include "log_ops.h"

TEST_F(log_ops, a_tracker_of_the_device)
{
	struct iommufd_dirty_tracker_info info;

	EXPECT_EQ(0, _vfio_dirty_probe(self->device));
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_KIND_DEVICE, info.out_kind);
	EXPECT_EQ(IOMMUFD_DIRTY_CAP_WAITS, info.out_caps);
	EXPECT_STREQ(QUIRKS_NAME ".0", (char *)info.out_name);
	/* Which granules it can do shows when it is started. */
	EXPECT_EQ(SZ_4K | SZ_64K | SZ_2M,
		  info.out_pgsizes & (SZ_4K | SZ_64K | SZ_2M));
	test_err_vfio_dirty_bind(EBUSY, self->device, self->fd, POLICY_FAIL);
	EXPECT_ERRNO(EINVAL,
		     _vfio_feature(self->device,
				   VFIO_DEVICE_FEATURE_GET |
					   VFIO_DEVICE_FEATURE_DIRTY_TRACKER,
				   NULL, 0));
}

TEST_F(log_ops, exact_log)
{
	struct quirks_state state;

	test_cmd_start(self->fd, SZ_4K);
	random_rounds(100, SZ_4K);
	test_cmd_stop(self->fd);
	state = quirks_state(self->device);
	EXPECT_EQ(1, state.starts);
	EXPECT_EQ(1, state.stops);
}

/* As mlx5: its smallest page is larger, and it reports the one before. */
TEST_F(log_ops, page_size_is_rewritten_coarser)
{
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_start_result result;
	__u64 granule;

	quirks_set(QUIRKS_PAGE_MIN, SZ_64K);
	quirks_set(QUIRKS_DROP_BELOW, 1);
	ASSERT_EQ(0, start_results(0, SZ_4K, &result, &granule));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(SZ_64K, result.granule);
	EXPECT_EQ(1, result.nr_ranges);
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(SZ_64K, info.out_granule);
	EXPECT_EQ(SZ_64K, quirks_state(self->device).page_size);
	random_rounds(100, SZ_64K);
	EXPECT_EQ(0, quirks_state(self->device).dropped);
}

TEST_F(log_ops, ranges_grow_to_the_page_size_of_the_driver)
{
	struct iommufd_dirty_range ranges[] = {
		/* The first two share a page of the driver. */
		{ BASE + SZ_4K, 3 * SZ_4K },
		{ BASE + 9 * SZ_4K, SZ_4K },
		{ BASE + SZ_1M - SZ_4K, 2 * SZ_4K },
	};
	struct iommufd_dirty_start_result result;
	struct quirks_state state;
	__u64 granule;
	unsigned int i;

	test_cmd_range_remove(self->fd, BASE, SIZE);
	test_cmd_ranges(self->fd, 0, ranges, ARRAY_SIZE(ranges));
	quirks_set(QUIRKS_PAGE_MIN, SZ_64K);
	quirks_set(QUIRKS_DROP_BELOW, 1);
	ASSERT_EQ(0, start_results(0, SZ_4K, &result, &granule));
	EXPECT_EQ(2, result.nr_ranges);
	state = quirks_state(self->device);
	EXPECT_EQ(2, state.nr_ranges);
	EXPECT_EQ(SZ_64K, state.page_size);

	/* One byte is dirty wherever its page of the driver is tracked. */
	quirks_dirty(self->device, BASE + 15 * SZ_4K, 1);
	quirks_dirty(self->device, BASE + SZ_1M, 1);
	model_write(&self->model, 1, BASE + SZ_4K, 3 * SZ_4K, SZ_4K);
	model_write(&self->model, 1, BASE + 9 * SZ_4K, SZ_4K, SZ_4K);
	model_write(&self->model, 1, BASE + SZ_1M, SZ_4K, SZ_4K);
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		read_part(ranges[i].iova, ranges[i].length);
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		read_part(ranges[i].iova, ranges[i].length);
	EXPECT_EQ(0, quirks_state(self->device).dropped);
}

TEST_F(log_ops, exact_refuses_a_coarser_page_size)
{
	struct iommufd_dirty_start_result result;
	struct quirks_state state;
	__u64 granule;

	quirks_set(QUIRKS_PAGE_MIN, SZ_64K);
	/* A dry run cannot know. */
	ASSERT_EQ(0, start_results(IOMMUFD_DIRTY_START_DRY_RUN |
					   IOMMUFD_DIRTY_START_EXACT,
				   SZ_4K, &result, &granule));
	EXPECT_EQ(SZ_4K, granule);
	EXPECT_EQ(0, quirks_state(self->device).starts);

	EXPECT_ERRNO(ERANGE, start_results(IOMMUFD_DIRTY_START_EXACT, SZ_4K,
					   &result, &granule));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(SZ_64K, result.granule);
	EXPECT_EQ(-ERANGE, result.error);
	state = quirks_state(self->device);
	EXPECT_EQ(0, state.page_size);
	EXPECT_EQ(state.starts, state.stops);

	ASSERT_EQ(0, start_results(IOMMUFD_DIRTY_START_EXACT, SZ_64K, &result,
				   &granule));
	EXPECT_EQ(SZ_64K, granule);
	random_rounds(8, SZ_64K);
}

/* As mlx5: its largest page is smaller than what was asked for. */
TEST_F(log_ops, page_size_is_rewritten_finer)
{
	struct iommufd_dirty_start_result result;
	__u64 granule;

	quirks_set(QUIRKS_PAGE_MAX, SZ_4K);
	ASSERT_EQ(0, start_results(IOMMUFD_DIRTY_START_EXACT, SZ_64K, &result,
				   &granule));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(SZ_4K, quirks_state(self->device).page_size);
	/* What is told more precisely than was asked for is no harm. */
	random_rounds(32, SZ_4K);
	EXPECT_EQ(0, quirks_state(self->device).dropped);
}

TEST_F(log_ops, page_size_that_makes_no_sense)
{
	static const __u64 bad[] = { 3 * SZ_4K, SZ_64K + 1, 1ULL << 60,
				     1ULL << 63, ~0ULL };
	struct iommufd_dirty_start_result result;
	struct quirks_state state;
	__u64 granule;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		quirks_set(QUIRKS_BAD_PAGE, bad[i]);
		EXPECT_ERRNO(EIO, start_results(0, SZ_4K, &result, &granule));
		state = quirks_state(self->device);
		EXPECT_EQ(0, state.page_size);
		EXPECT_EQ(state.starts, state.stops);
	}
	quirks_set(QUIRKS_BAD_PAGE, 0);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(8, SZ_4K);
}

/* As pds: the start of a sub-range is rounded up, the end as well. */
TEST_F(log_ops, sub_ranges_are_rounded_up)
{
	quirks_set(QUIRKS_WORDS, 1);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(200, SZ_4K);
	EXPECT_EQ(0, quirks_state(self->device).dropped);
	EXPECT_EQ(0, quirks_state(self->device).overruns);
}

/* The driver counts its words from the start of each range. */
TEST_F(log_ops, sub_ranges_of_odd_ranges_are_rounded_up)
{
	struct iommufd_dirty_range ranges[] = {
		{ BASE + 3 * SZ_4K, 5 * SZ_4K },
		{ BASE + 77 * SZ_4K, 300 * SZ_4K },
		{ BASE + 501 * SZ_4K, 64 * SZ_4K },
		{ BASE + 600 * SZ_4K, 129 * SZ_4K },
	};
	unsigned int i, round;

	test_cmd_range_remove(self->fd, BASE, SIZE);
	test_cmd_ranges(self->fd, 0, ranges, ARRAY_SIZE(ranges));
	quirks_set(QUIRKS_WORDS, 1);
	test_cmd_start(self->fd, SZ_4K);
	for (round = 0; round < 200; round++) {
		for (i = 0; i < ARRAY_SIZE(ranges); i++) {
			__u64 pages = ranges[i].length / SZ_4K;
			__u64 at = next_random(&self->seed) % pages;
			__u64 iova = ranges[i].iova + at * SZ_4K;

			quirks_dirty(self->device, iova, 1);
			model_write(&self->model, 1, iova, 1, SZ_4K);
			at = next_random(&self->seed) % pages;
			pages = 1 + next_random(&self->seed) % (pages - at);
			read_part(ranges[i].iova + at * SZ_4K, pages * SZ_4K);
		}
	}
	read_part(BASE, SIZE);
	EXPECT_EQ(0, quirks_state(self->device).dropped);
	EXPECT_EQ(0, quirks_state(self->device).overruns);
}

/* As mlx5 and pds: the words are those of the joined ranges. */
TEST_F(log_ops, ranges_are_joined)
{
	struct iommufd_dirty_range range;
	unsigned int i, round;
	__u64 iova;

	test_cmd_range_remove(self->fd, BASE, SIZE);
	for (i = 0; i < 8; i++)
		test_cmd_range_add(self->fd, BASE + (i * 100 + 1) * SZ_4K,
				   (20 + i) * SZ_4K);
	quirks_set(QUIRKS_MAX_RANGES, 3);
	quirks_set(QUIRKS_WORDS, 1);
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(3, quirks_state(self->device).nr_ranges);
	for (round = 0; round < 200; round++) {
		i = next_random(&self->seed) % 8;
		range.iova = BASE + (i * 100 + 1) * SZ_4K;
		range.length = (20 + i) * SZ_4K;
		iova = range.iova + next_random(&self->seed) % range.length;
		quirks_dirty(self->device, iova, 1);
		model_write(&self->model, 1, iova, 1, SZ_4K);
		/* In a gap, which is logged and not tracked. */
		quirks_dirty(self->device, BASE + (i * 100 + 60) * SZ_4K, 1);
		if (round % 4 == 0)
			read_part(range.iova, range.length / 2 & ~(SZ_4K - 1));
	}
	read_part(BASE, SIZE);
	EXPECT_EQ(0, quirks_state(self->device).dropped);
	EXPECT_EQ(0, quirks_state(self->device).overruns);
}

TEST_HARNESS_MAIN
