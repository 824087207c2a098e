// SPDX-License-Identifier: GPL-2.0
/*
 * A structure that is used again for the next round, and what a READ reports of
 * each tracker.
 */
#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)

MEMBERS_FIXTURE(rounds)
MEMBERS_VARIANTS(rounds);

TEST_F(rounds, bitmaps)
{
	struct members *members = &self->members;
	__u8 bits[BITS / 8], expected[BITS / 8];
	struct iommufd_dirty_bitmap ranges[] = {
		{ MEMBERS_BASE, MEMBERS_SIZE / 2, (uintptr_t)bits, 0 },
		{ MEMBERS_BASE + MEMBERS_SIZE / 2, MEMBERS_SIZE / 2,
		  (uintptr_t)bits, BITS / 2 },
	};
	struct iommufd_dirty_read cmd = read_cmd(ranges, 2);
	unsigned int round;

	for (round = 0; round < 4; round++) {
		memset(bits, 0, sizeof(bits));
		memset(expected, 0, sizeof(expected));
		members_write_some(_metadata, members, 32, &self->seed);
		model_bits(&members->model, MODEL_ALL, MEMBERS_BASE,
			   MEMBERS_SIZE, SZ_4K, expected, 0);
		ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
		ASSERT_EQ(0, memcmp(expected, bits, sizeof(bits)));
		ASSERT_EQ(0, cmd.next_range);
		ASSERT_EQ(0, cmd.next_offset);
		ASSERT_EQ(0, cmd.next_tracker);
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);
	}
}

TEST_F(rounds, extents)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap range = { MEMBERS_BASE, MEMBERS_SIZE, 0, 0 };
	struct iommufd_dirty_range extents[4];
	struct iommufd_dirty_read cmd =
		read_cmd(&range, 1, .flags = IOMMUFD_DIRTY_READ_EXTENTS,
			 into_extents(extents, 4));
	unsigned int round;
	__u64 expected;

	for (round = 0; round < 4; round++) {
		__u64 pages = 0;

		members_write_some(_metadata, members, 32, &self->seed);
		expected = model_count(&members->model, MODEL_ALL, MEMBERS_BASE,
				       MEMBERS_SIZE, SZ_4K);
		/* More than one call, until the round is complete. */
		do {
			ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ,
					   &cmd));
			pages += cmd.out_dirty;
		} while (cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE);
		ASSERT_EQ(expected, pages);
		ASSERT_EQ(0, cmd.next_range);
		ASSERT_EQ(0, cmd.next_offset);
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);
	}
}

TEST_F(rounds, clear_and_harvest)
{
	struct members *members = &self->members;
	__u8 bits[BITS / 8];
	struct iommufd_dirty_bitmap bitmap = { MEMBERS_BASE, MEMBERS_SIZE,
					       (uintptr_t)bits, 0 };
	struct iommufd_dirty_range range = { MEMBERS_BASE, MEMBERS_SIZE };
	struct iommufd_dirty_clear clear = {
		.size = sizeof(clear),
		.nr_ranges = 1,
		.range_len = sizeof(bitmap),
		.ranges_uptr = (uintptr_t)&bitmap,
		.page_size = SZ_4K,
	};
	struct iommufd_dirty_harvest harvest = {
		.size = sizeof(harvest),
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
	};
	struct iommufd_dirty_stats stats;
	unsigned int round;

	memset(bits, 0xff, sizeof(bits));
	for (round = 0; round < 3; round++) {
		members_write_some(_metadata, members, 32, &self->seed);
		ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_CLEAR, &clear));
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);
		members_read_all(members);

		members_write_some(_metadata, members, 32, &self->seed);
		ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_HARVEST,
				   &harvest));
		test_cmd_stats(members->fd, members->member[0].id, &stats);
		EXPECT_EQ(model_count(&members->model, 1, MEMBERS_BASE,
				      MEMBERS_SIZE, SZ_4K) * SZ_4K,
			  stats.out_residual_bytes);
		members_read_all(members);
	}
}

/* An element that is longer than the kernel knows. */
struct long_result {
	struct iommufd_dirty_read_result result;
	__u64 unknown[2];
};

TEST_F(rounds, results_of_each_tracker)
{
	struct members *members = &self->members;
	__u8 bits[BITS / 8] = {};
	struct iommufd_dirty_bitmap range = { MEMBERS_BASE, MEMBERS_SIZE,
					      (uintptr_t)bits, 0 };
	struct long_result results[MEMBERS_MAX + 1];
	struct iommufd_dirty_read cmd =
		read_cmd(&range, 1, with_results(results, ARRAY_SIZE(results)));
	unsigned int i;

	members_write_some(_metadata, members, 32, &self->seed);
	memset(results, 0xff, sizeof(results));
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(members->nr, cmd.out_nr_results);
	EXPECT_EQ(ARRAY_SIZE(results), cmd.nr_results);
	for (i = 0; i < members->nr; i++) {
		EXPECT_EQ(members->member[i].id, results[i].result.tracker_id);
		EXPECT_EQ(0, results[i].result.error);
		EXPECT_EQ(0, results[i].result.status);
		EXPECT_EQ(model_count(&members->model, 1 << i, MEMBERS_BASE,
				      MEMBERS_SIZE, SZ_4K) * SZ_4K,
			  results[i].result.bytes);
		EXPECT_EQ(0, results[i].unknown[0]);
		EXPECT_EQ(0, results[i].unknown[1]);
	}
	EXPECT_EQ(UINT_MAX, results[i].result.tracker_id);

	/* The same of one that only counts, and clears nothing. */
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE);
	members_write_some(_metadata, members, 32, &self->seed);
	cmd.flags = IOMMUFD_DIRTY_READ_COUNT_ONLY;
	range.bitmap_uptr = 0;
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	for (i = 0; i < members->nr; i++)
		EXPECT_EQ(model_count(&members->model, 1 << i, MEMBERS_BASE,
				      MEMBERS_SIZE, SZ_4K) * SZ_4K,
			  results[i].result.bytes);
	members_read_all(members);
	cmd.flags = 0;
	range.bitmap_uptr = (uintptr_t)bits;

	/* A bad array is seen before anything is read. */
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE);
	members_write_some(_metadata, members, 32, &self->seed);
	cmd.results_uptr = SZ_4K;
	EXPECT_ERRNO(EFAULT, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	cmd.results_uptr = (uintptr_t)results;
	cmd.result_len = sizeof(results[0].result) - 8;
	EXPECT_ERRNO(EINVAL, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	members_read_all(members);
}

/* With mock trackers, which can fail. */
MEMBERS_FIXTURE(told)
MEMBERS_VARIANT(told, mock_8, 8, 0, false);
MEMBERS_VARIANT(told, mixed_8, 4, 4, false);

TEST_F(told, which_one_was_skipped)
{
	struct members *members = &self->members;
	__u8 bits[BITS / 8] = {};
	struct iommufd_dirty_bitmap range = { MEMBERS_BASE, MEMBERS_SIZE,
					      (uintptr_t)bits, 0 };
	struct iommufd_dirty_read_result results[MEMBERS_MAX];
	struct iommufd_dirty_read cmd =
		read_cmd(&range, 1, with_results(results, ARRAY_SIZE(results)));
	unsigned int i;

	test_cmd_set_policy(members->fd, members->member[1].id, POLICY_IGNORE);
	test_cmd_set_policy(members->fd, members->member[2].id,
			    POLICY_ALL_DIRTY);
	test_mock_knob(members->member[1].mock, MOCK_KNOB_FAIL_READ, 1);
	test_mock_knob(members->member[2].mock, MOCK_KNOB_LOSE, EREMOTEIO);
	test_mock_knob(members->member[3].mock, MOCK_KNOB_UNSURE, 1);
	test_mock_dirty(members->member[3].mock, MEMBERS_BASE, SZ_4K);
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED |
			  IOMMUFD_DIRTY_STATUS_ALL_DIRTY |
			  IOMMUFD_DIRTY_STATUS_OVERREPORTED,
		  cmd.out_status);
	for (i = 0; i < members->nr; i++) {
		static const __u32 status[MEMBERS_MAX] = {
			[1] = IOMMUFD_DIRTY_STATUS_IGNORED,
			[2] = IOMMUFD_DIRTY_STATUS_ALL_DIRTY,
			[3] = IOMMUFD_DIRTY_STATUS_OVERREPORTED,
		};
		struct iommufd_dirty_stats stats;

		EXPECT_EQ(i == 1 || i == 2 ? -EIO : 0, results[i].error);
		EXPECT_EQ(status[i], results[i].status);
		test_cmd_stats(members->fd, members->member[i].id, &stats);
		EXPECT_EQ(i == 3 ? SZ_4K : 0, stats.out_overreported);
	}
	EXPECT_EQ(MEMBERS_SIZE, results[2].bytes);
	EXPECT_EQ(SZ_4K, results[3].bytes);
}

/* What is not sure stays so until it is delivered. */
TEST(unsure_in_the_residual_too)
{
	struct mock_create create = { .block = SZ_1M };
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int mock = test_mock_create(&create);
	struct iommufd_dirty_stats stats;
	__u8 bits[64] = {};
	__u32 status;
	__u64 dirty;

	ASSERT_NE(-1, fd);
	test_mock_knob(mock, MOCK_KNOB_UNSURE, 1);
	test_mock_bind(mock, fd, POLICY_FAIL, NULL);
	test_cmd_range_add(fd, MEMBERS_BASE, SZ_1M);
	test_cmd_start(fd, SZ_4K);
	test_mock_dirty(mock, MEMBERS_BASE, SZ_4K);
	test_cmd_read(fd, 0, 0, MEMBERS_BASE, SZ_4K, SZ_4K, bits, &status,
		      &dirty);
	EXPECT_EQ(1, dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, status);
	test_cmd_read(fd, 0, 0, MEMBERS_BASE + SZ_4K, SZ_1M - SZ_4K, SZ_4K,
		      bits + 8, &status, &dirty);
	EXPECT_EQ(255, dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, status);
	test_cmd_stats(fd, 0, &stats);
	EXPECT_EQ(SZ_1M, stats.out_overreported);
	close(fd);
	close(mock);
}

TEST_HARNESS_MAIN
