// SPDX-License-Identifier: GPL-2.0
/*
 * Every errno that an ioctl's description names, one test for each ioctl.
 */
#include "model.h"

#define IOVA 0x100000UL
#define LENGTH 0x100000UL
#define NO_ID 0x7ffffff0U

FIXTURE(errors)
{
	int fd;
	int mock;
	__u32 id;
	struct iommufd_dirty_info info;
	__u8 bits[LENGTH / SZ_4K / 8];
};

FIXTURE_SETUP(errors)
{
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	test_cmd_info(self->fd, &self->info);
	self->mock = test_mock_create(NULL);
	test_mock_bind(self->mock, self->fd, POLICY_FAIL, &self->id);
	test_cmd_range_add(self->fd, IOVA, LENGTH);
}

FIXTURE_TEARDOWN(errors)
{
	close(self->fd);
	close(self->mock);
}

TEST_F(errors, info)
{
	EXPECT_LE(8, self->info.out_max_trackers);
	EXPECT_LE(8, self->info.out_max_ranges);
	EXPECT_LE(8, self->info.out_max_read_ranges);
	EXPECT_LT(0, self->info.out_max_residual);
	EXPECT_EQ(0, self->info.out_features & ~IOMMUFD_DIRTY_FEATURE_HWPT);
}

TEST_F(errors, bind_untracked)
{
	__u32 id = 0, nr = 0, bound = 1;

	/* That it cannot track is known: FAIL could never start. */
	test_err_bind_untracked(EINVAL, self->fd, POLICY_FAIL);
	test_err_bind_untracked(EOPNOTSUPP, self->fd, 3);
	test_err_bind_untracked(EOPNOTSUPP, self->fd, UINT_MAX);

	for (; bound < self->info.out_max_trackers; bound++) {
		test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
		ASSERT_NE(0, id);
	}
	test_err_bind_untracked(ENOSPC, self->fd, POLICY_IGNORE);
	test_cmd_list(self->fd, NULL, &nr);
	EXPECT_EQ(self->info.out_max_trackers, nr);
	test_cmd_unbind(self->fd, id, 0);
	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, NULL);
}

TEST_F(errors, bind_device)
{
	int other = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int mock = test_mock_create(NULL);
	int null = open("/dev/null", O_RDWR);

	ASSERT_NE(-1, other);
	ASSERT_NE(-1, null);
	/* In this context already, and in another one. */
	test_err_mock_bind(EBUSY, self->mock, self->fd, POLICY_FAIL);
	test_err_mock_bind(EBUSY, self->mock, other, POLICY_FAIL);
	test_err_mock_bind(EOPNOTSUPP, mock, self->fd, 3);
	test_err_mock_bind(EBADF, mock, -1, POLICY_FAIL);
	test_err_mock_bind(EBADF, mock, null, POLICY_FAIL);
	test_err_mock_bind(EBADF, mock, mock, POLICY_FAIL);

	test_mock_bind(mock, self->fd, POLICY_FAIL, NULL);
	close(null);
	close(mock);
	close(other);
}

TEST_F(errors, bind_device_of_another_space)
{
	struct mock_create one = { .space = 1 }, two = { .space = 2 };
	int a = test_mock_create(&one);
	int b = test_mock_create(&one);
	int c = test_mock_create(&two);
	__u32 id_a, id_b;

	/* The one from setup has a space that cannot be told: it fits all. */
	test_mock_bind(a, self->fd, POLICY_FAIL, &id_a);
	test_mock_bind(b, self->fd, POLICY_FAIL, &id_b);
	test_err_mock_bind(EXDEV, c, self->fd, POLICY_FAIL);
	/* Without those two the context is free for another space. */
	test_cmd_unbind(self->fd, id_a, 0);
	test_err_mock_bind(EXDEV, c, self->fd, POLICY_FAIL);
	test_cmd_unbind(self->fd, id_b, 0);
	test_mock_bind(c, self->fd, POLICY_FAIL, NULL);
	close(a);
	close(b);
	close(c);
}

TEST_F(errors, unbind)
{
	test_err_unbind(ENOENT, self->fd, 0, 0);
	test_err_unbind(ENOENT, self->fd, NO_ID, 0);
	test_err_unbind(EOPNOTSUPP, self->fd, self->id, 2);
	test_cmd_unbind(self->fd, self->id, 0);
	test_err_unbind(ENOENT, self->fd, self->id, 0);
	test_err_unbind(ENOENT, self->fd, self->id, IOMMUFD_DIRTY_UNBIND_KEEP);
}

TEST_F(errors, list)
{
	__u32 ids[4] = { 1, 2, 3, 4 };
	__u32 nr = 0, second;

	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &second);
	test_cmd_list(self->fd, NULL, &nr);
	EXPECT_EQ(2, nr);
	nr = 1;
	test_cmd_list(self->fd, ids, &nr);
	EXPECT_EQ(2, nr);
	EXPECT_EQ(self->id, ids[0]);
	EXPECT_EQ(2, ids[1]);
	nr = 4;
	test_cmd_list(self->fd, ids, &nr);
	EXPECT_EQ(2, nr);
	EXPECT_EQ(second, ids[1]);
	EXPECT_EQ(3, ids[2]);
	nr = 4;
	EXPECT_ERRNO(EFAULT, _test_cmd_list(self->fd, NULL, &nr));
	nr = UINT_MAX;
	test_cmd_list(self->fd, ids, &nr);
	EXPECT_EQ(2, nr);
}

TEST_F(errors, tracker_info)
{
	struct iommufd_dirty_tracker_info info;

	test_err_tracker_info(ENOENT, self->fd, 0, &info);
	test_err_tracker_info(ENOENT, self->fd, NO_ID, &info);
	test_cmd_unbind(self->fd, self->id, 0);
	test_err_tracker_info(ENOENT, self->fd, self->id, &info);
}

TEST_F(errors, ranges)
{
	struct iommufd_dirty_range two[] = {
		{ .iova = 0x10000000, .length = SZ_4K },
		{ .iova = 0x20000000, .length = 0 },
	};
	__u32 remove = IOMMUFD_DIRTY_RANGES_REMOVE;
	__u32 status;
	__u64 dirty;

	test_err_range(EINVAL, self->fd, 0, SZ_4K, 0);
	test_err_range(EINVAL, self->fd, 0, SZ_4K + 1, SZ_4K);
	test_err_range(EINVAL, self->fd, 0, SZ_4K, SZ_4K - 1);
	test_err_range(EINVAL, self->fd, 0, 2048, 2048);
	test_err_range(EINVAL, self->fd, remove, SZ_4K, 0);
	test_err_range(EINVAL, self->fd, remove, SZ_4K + 2048, SZ_4K);
	/* There is no such thing as a removed range that is clean. */
	test_err_range(EINVAL, self->fd,
		       remove | IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN, SZ_4K, SZ_4K);
	test_err_range(EOVERFLOW, self->fd, 0, -SZ_4K, 2 * SZ_4K);
	test_err_range(EOVERFLOW, self->fd, remove, SZ_2M, -SZ_2M + SZ_4K);
	test_err_ranges(EINVAL, self->fd, 0, two, 0);
	test_err_ranges(EFAULT, self->fd, 0, NULL, 1);
	test_err_ranges(EFAULT, self->fd, 0, (void *)SZ_4K, 1);

	/* The second is wrong: the first is not added either. */
	test_err_ranges(EINVAL, self->fd, 0, two, 2);
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_count(self->fd, 0, 0x10000000, SZ_4K, &status, &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
}

TEST_F(errors, ranges_at_the_top)
{
	/* The last byte of the address space is an address like any other. */
	test_cmd_range_add(self->fd, -SZ_4K, SZ_4K);
	test_cmd_range_remove(self->fd, -SZ_1M, SZ_1M);
	test_cmd_range_add(self->fd, -SZ_1M, SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock, -SZ_4K, SZ_4K);
	memset(self->bits, 0, sizeof(self->bits));
	test_cmd_read(self->fd, 0, 0, -SZ_1M, SZ_1M, SZ_4K, self->bits, NULL,
		      NULL);
	EXPECT_EQ(0x80, self->bits[SZ_1M / SZ_4K / 8 - 1]);
}

TEST_F(errors, ranges_limit)
{
	__u32 nr = self->info.out_max_ranges - 1, i;
	struct iommufd_dirty_range *ranges = calloc(nr, sizeof(*ranges));

	ASSERT_NE(NULL, ranges);
	for (i = 0; i < nr; i++)
		ranges[i] = (struct iommufd_dirty_range){
			.iova = SZ_1G + i * 2 * SZ_4K,
			.length = SZ_4K,
		};
	test_cmd_ranges(self->fd, 0, ranges, nr);
	free(ranges);
	test_err_range(ENOSPC, self->fd, 0, 2 * IOVA + LENGTH, SZ_4K);
	/* A hole in the middle of one would make two. */
	test_err_range(ENOSPC, self->fd, IOMMUFD_DIRTY_RANGES_REMOVE,
		       IOVA + SZ_4K, SZ_4K);
	/* One that joins two makes room. */
	test_cmd_range_add(self->fd, SZ_1G + 3 * SZ_4K, SZ_4K);
	test_cmd_range_add(self->fd, 2 * IOVA + LENGTH, SZ_4K);
}

TEST_F(errors, start)
{
	static const __u64 bad[] = { 0, 1, 512, 2048, SZ_4K - 1, SZ_4K + 1,
				     12288, SZ_1G + SZ_4K, -1UL, -SZ_4K };
	struct iommufd_dirty_start_result result;
	__u64 granule;
	unsigned int i;
	__u32 nr = 1;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		test_err_start(EINVAL, self->fd, 0, bad[i]);
	EXPECT_ERRNO(EFAULT,
		     _test_cmd_start_results(self->fd, 0, SZ_4K, &granule, NULL,
					     &nr));
	test_cmd_start(self->fd, SZ_4K);
	test_err_start(EBUSY, self->fd, 0, SZ_4K);
	test_err_start(EBUSY, self->fd, IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K);
	test_cmd_stop(self->fd);

	/* Every power of two that is large enough is a page size. */
	for (i = 12; i < 64; i++) {
		nr = 1;
		ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, 1ULL << i,
						     &granule, &result, &nr));
		EXPECT_EQ(1ULL << i, granule);
		EXPECT_EQ(SZ_4K, result.granule);
		test_cmd_stop(self->fd);
	}
}

TEST_F(errors, start_erange_tells_the_nearest)
{
	struct mock_create create = { .pgsizes = SZ_64K | SZ_2M };
	struct iommufd_dirty_start_result results[2];
	int mock = test_mock_create(&create);
	__u64 granule;
	__u32 nr = 2;

	test_mock_bind(mock, self->fd, POLICY_FAIL, NULL);
	EXPECT_ERRNO(ERANGE,
		     _test_cmd_start_results(self->fd,
					     IOMMUFD_DIRTY_START_EXACT, SZ_4K,
					     &granule, results, &nr));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(2, nr);
	EXPECT_EQ(0, results[0].error);
	EXPECT_EQ(-ERANGE, results[1].error);
	EXPECT_EQ(SZ_64K, results[1].granule);
	/* Nothing runs, and with what was told it does. */
	test_err_read(ENODATA, self->fd, 0, 0, IOVA, LENGTH, SZ_4K, self->bits);
	ASSERT_EQ(0, _test_cmd_start(self->fd, IOMMUFD_DIRTY_START_EXACT,
				     granule));
	close(mock);
}

TEST_F(errors, stop)
{
	/* Of what is not started it is a success, and so the second time. */
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_stop(self->fd);
	test_cmd_stop(self->fd);
}

TEST_F(errors, not_started_is_enodata)
{
	test_err_read(ENODATA, self->fd, 0, 0, IOVA, LENGTH, SZ_4K, self->bits);
	test_err_read(ENODATA, self->fd, self->id, 0, IOVA, LENGTH, SZ_4K,
		      self->bits);
	test_err_clear(ENODATA, self->fd, 0, IOVA, LENGTH, SZ_4K, self->bits);
	test_err_harvest(ENODATA, self->fd, 0, IOVA, LENGTH);
}

TEST_F(errors, read)
{
	static const __u64 bad[] = { 0, 1, 2048, SZ_4K - 1, 12288, -1UL };
	struct iommufd_dirty_range extent;
	struct iommufd_dirty_bitmap range = {
		.iova = IOVA,
		.length = LENGTH,
		.bitmap_uptr = (uintptr_t)self->bits,
	};
	struct iommufd_dirty_read good = {
		.size = sizeof(good),
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
	}, cmd;
	unsigned int i;

#define test_err_read_with(_errno, ...)                                     \
	({                                                                  \
		cmd = good;                                                 \
		__VA_ARGS__;                                                \
		EXPECT_ERRNO(_errno, ioctl(self->fd, IOMMUFD_DIRTY_READ,    \
					   &cmd));                          \
	})

	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock, IOVA, SZ_4K);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		test_err_read_with(EINVAL, cmd.page_size = bad[i]);
	test_err_read_with(ENOENT, cmd.tracker_id = NO_ID);
	test_err_read_with(EFAULT, cmd.ranges_uptr = 0);
	test_err_read_with(EFAULT, cmd.ranges_uptr = SZ_4K);
	test_err_read_with(EINVAL,
			   cmd.nr_ranges = self->info.out_max_read_ranges + 1);
	test_err_read_with(EINVAL, cmd.next_range = 2);
	test_err_read_with(EINVAL, cmd.next_tracker = 1, cmd.next_range = 1);
	test_err_read_with(EINVAL, cmd.range_len = sizeof(range) - 8);
	test_err_read_with(E2BIG, cmd.range_len = 2 * SZ_4K);
	test_err_read_with(EINVAL, cmd.next_offset = LENGTH + SZ_4K);
	test_err_read_with(EINVAL, cmd.extents_uptr = (uintptr_t)&extent);
	test_err_read_with(EINVAL, cmd.nr_extents = 1);

	/* Two ways to answer at once, or none. */
	test_err_read_with(EINVAL, cmd.flags = IOMMUFD_DIRTY_READ_EXTENTS |
					       IOMMUFD_DIRTY_READ_COUNT_ONLY);
	test_err_read_with(EINVAL, cmd.flags = IOMMUFD_DIRTY_READ_COUNT_ONLY);
	test_err_read_with(EINVAL, cmd.flags = IOMMUFD_DIRTY_READ_EXTENTS,
			   cmd.nr_extents = 1,
			   cmd.extents_uptr = (uintptr_t)&extent);
	range.bitmap_uptr = 0;
	test_err_read_with(EINVAL, cmd.flags = IOMMUFD_DIRTY_READ_EXTENTS,
			   cmd.extents_uptr = (uintptr_t)&extent);
	test_err_read_with(EINVAL, cmd.flags = IOMMUFD_DIRTY_READ_EXTENTS,
			   cmd.nr_extents = 1,
			   cmd.extent_len = sizeof(extent) - 8,
			   cmd.extents_uptr = (uintptr_t)&extent);
	test_err_read_with(EFAULT, cmd.flags = IOMMUFD_DIRTY_READ_EXTENTS,
			   cmd.nr_extents = 1,
			   cmd.extent_len = sizeof(extent));
	range.bitmap_uptr = (uintptr_t)self->bits;

	range.length = 0;
	test_err_read_with(EINVAL, (void)0);
	range.length = -IOVA + 1;
	test_err_read_with(EOVERFLOW, (void)0);
	range.length = LENGTH;
	range.bit_offset = -1ULL;
	test_err_read_with(EOVERFLOW, (void)0);
	range.bit_offset = 0;
	range.bitmap_uptr = -1ULL;
	test_err_read_with(EOVERFLOW, (void)0);
	range.bitmap_uptr = (uintptr_t)self->bits;

	/* "Nothing to read" is a success, and so it is with the dirty page. */
	cmd = good;
	cmd.nr_ranges = 0;
	cmd.ranges_uptr = 0;
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(0, cmd.out_dirty);
	cmd = good;
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(1, cmd.out_dirty);
#undef test_err_read_with
}

TEST_F(errors, clear)
{
	static const __u64 bad[] = { 0, 2048, 12288, -1UL };
	unsigned int i;

	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		test_err_clear(EINVAL, self->fd, 0, IOVA, LENGTH, bad[i],
			       self->bits);
	test_err_clear(ENOENT, self->fd, NO_ID, IOVA, LENGTH, SZ_4K,
		       self->bits);
	test_err_clear(EINVAL, self->fd, 0, IOVA, 0, SZ_4K, self->bits);
	test_err_clear(EOVERFLOW, self->fd, 0, IOVA, -IOVA + 1, SZ_4K,
		       self->bits);
	test_err_clear(EFAULT, self->fd, 0, IOVA, LENGTH, SZ_4K, NULL);
	EXPECT_ERRNO(EOVERFLOW, _test_cmd_clear(self->fd, 0, IOVA, LENGTH,
						SZ_4K, self->bits, -1ULL));
}

TEST_F(errors, harvest)
{
	test_cmd_start(self->fd, SZ_4K);
	test_err_harvest(ENOENT, self->fd, NO_ID, IOVA, LENGTH);
	test_err_harvest(EINVAL, self->fd, 0, IOVA, 0);
	test_err_harvest(EOVERFLOW, self->fd, 0, IOVA, -IOVA + 1);
}

TEST_F(errors, set_policy)
{
	__u32 id;

	test_err_set_policy(ENOENT, self->fd, 0, POLICY_IGNORE);
	test_err_set_policy(ENOENT, self->fd, NO_ID, POLICY_IGNORE);
	test_err_set_policy(EOPNOTSUPP, self->fd, self->id, 3);
	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
	test_err_set_policy(EINVAL, self->fd, id, POLICY_FAIL);
	test_cmd_set_policy(self->fd, id, POLICY_ALL_DIRTY);
	test_cmd_set_policy(self->fd, self->id, POLICY_ALL_DIRTY);
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_set_policy(self->fd, self->id, POLICY_FAIL);
}

TEST_F(errors, stats)
{
	struct iommufd_dirty_stats stats;

	test_err_stats(ENOENT, self->fd, NO_ID, &stats);
	test_cmd_stats(self->fd, 0, &stats);
	test_cmd_stats(self->fd, self->id, &stats);
}

TEST_HARNESS_MAIN
