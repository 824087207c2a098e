// SPDX-License-Identifier: GPL-2.0
/*
 * How often a tracker is called: once, where more would be a command of the
 * firmware each; and not at all, where there is nothing to do.
 */
#include "members.h"

#define IOVA 0x100000000ULL
#define RANGES 2048U
/* From one range to the next. */
#define STEP (4 * SZ_4K)
#define LENGTH (RANGES * STEP)

FIXTURE(calls)
{
	int fd;
	int mock;
	__u32 id;
};

FIXTURE_VARIANT(calls)
{
	__u32 caps;
};

FIXTURE_VARIANT_ADD(calls, waits) { .caps = MOCK_CAP_WAITS };
FIXTURE_VARIANT_ADD(calls, waits_and_peeks)
{
	.caps = MOCK_CAP_WAITS | MOCK_CAP_PEEK,
};

FIXTURE_SETUP(calls)
{
	struct mock_create create = { .caps = variant->caps };

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	self->mock = test_mock_create(&create);
	test_mock_bind(self->mock, self->fd, POLICY_FAIL, &self->id);
}

FIXTURE_TEARDOWN(calls)
{
	close(self->fd);
	close(self->mock);
}

static __u64 __reads(struct __test_metadata *_metadata, int mock)
{
	struct mock_state state;

	test_mock_state(mock, &state);
	return state.reads;
}

#define reads() __reads(_metadata, self->mock)

/* Pages 4n and 4n + 2 are written, of which the first one is asked for. */
TEST_F(calls, many_ranges_are_one)
{
	static struct iommufd_dirty_bitmap ranges[RANGES];
	static __u64 bits[RANGES];
	struct iommufd_dirty_read cmd = read_cmd(ranges, RANGES);
	unsigned int i;
	__u64 before, dirty;

	test_cmd_range_add(self->fd, IOVA, LENGTH);
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < RANGES; i++) {
		ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = IOVA + i * STEP,
			.length = 2 * SZ_4K,
			.bitmap_uptr = (uintptr_t)&bits[i],
		};
	}
	test_mock_dirty_stride(self->mock, IOVA, SZ_4K, 2 * SZ_4K, 2 * RANGES);
	before = reads();
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(before + 1, reads());
	EXPECT_EQ(RANGES, cmd.out_dirty);
	for (i = 0; i < RANGES; i++)
		ASSERT_EQ(1, bits[i]);

	/* What lies between them was read, and is not lost. */
	test_cmd_count(self->fd, 0, IOVA, LENGTH, NULL, &dirty);
	EXPECT_EQ(RANGES, dirty);
}

/* As before, but it is the ranges of the context that are many. */
TEST_F(calls, many_tracked_ranges_are_one)
{
	static struct iommufd_dirty_range ranges[RANGES];
	__u8 *bits = calloc(1, LENGTH / SZ_4K / 8);
	unsigned int i;
	__u64 before, dirty;
	__u32 status;

	for (i = 0; i < RANGES; i++) {
		ranges[i].iova = IOVA + i * STEP;
		ranges[i].length = SZ_4K;
	}
	test_cmd_ranges(self->fd, 0, ranges, RANGES);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty_stride(self->mock, IOVA, SZ_4K, 2 * SZ_4K, 2 * RANGES);
	before = reads();
	test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits, &status,
		      &dirty);
	EXPECT_EQ(before + 1, reads());
	EXPECT_EQ(RANGES, dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	free(bits);
}

/* Ranges that are far apart, with much that is tracked in between, are not. */
TEST_F(calls, what_lies_between_is_bounded)
{
	struct iommufd_dirty_bitmap ranges[2] = {};
	__u64 bits[2] = {}, before;
	struct iommufd_dirty_read cmd = read_cmd(ranges, 2);
	unsigned int i;

	test_cmd_range_add(self->fd, 0, 1ULL << 40);
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < 2; i++) {
		ranges[i].iova = i * (1ULL << 39);
		ranges[i].length = SZ_4K;
		ranges[i].bitmap_uptr = (uintptr_t)&bits[i];
		test_mock_dirty(self->mock, ranges[i].iova, SZ_4K);
	}
	before = reads();
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(before + 2, reads());
	EXPECT_EQ(2, cmd.out_dirty);
}

TEST_F(calls, clear_of_scattered_bits_is_one)
{
	__u8 *bits = malloc(SZ_4K);
	__u64 before, dirty;

	/* A page of bitmap: 16,384 runs. */
	memset(bits, 0x55, SZ_4K);
	test_cmd_range_add(self->fd, IOVA, SZ_4K * 8 * SZ_4K);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty_stride(self->mock, IOVA, SZ_4K, SZ_4K, 64);
	before = reads();
	/* The bitmap may begin anywhere in a page. */
	test_cmd_clear(self->fd, 0, IOVA, SZ_4K * 8 * SZ_4K, SZ_4K, bits, 0);
	EXPECT_GE(before + 2, reads());
	test_cmd_count(self->fd, 0, IOVA, SZ_4K * 8 * SZ_4K, NULL, &dirty);
	EXPECT_EQ(32, dirty);
	free(bits);
}

TEST_F(calls, few_pages_in_a_large_space)
{
	struct iommufd_dirty_bitmap range = { .length = 1ULL << 48 };
	struct iommufd_dirty_range extents[8];
	struct iommufd_dirty_read cmd =
		read_cmd(&range, 1, .flags = IOMMUFD_DIRTY_READ_EXTENTS,
			 into_extents(extents, 8));
	__u64 before;

	test_cmd_range_add(self->fd, 0, 1ULL << 48);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock, SZ_1G, SZ_4K);
	test_mock_dirty(self->mock, 1ULL << 47, SZ_4K);
	before = reads();
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_GE(before + 16, reads());
	ASSERT_EQ(2, cmd.out_nr_extents);
	EXPECT_EQ(SZ_1G, extents[0].iova);
	EXPECT_EQ(1ULL << 47, extents[1].iova);
	EXPECT_EQ(0, cmd.out_status);

	cmd.flags = IOMMUFD_DIRTY_READ_COUNT_ONLY;
	cmd.extents_uptr = 0;
	cmd.nr_extents = 0;
	cmd.extent_len = 0;
	test_mock_dirty(self->mock, 1ULL << 46, SZ_4K);
	before = reads();
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_GE(before + 16, reads());
	EXPECT_EQ(1, cmd.out_dirty);
}

/* Ranges that have no effect, or are refused. */
FIXTURE(no_calls)
{
	int fd;
	int mock;
	int small;
	__u32 small_id;
};

FIXTURE_VARIANT(no_calls)
{
	__u32 caps;
};

FIXTURE_VARIANT_ADD(no_calls, restart) {};
FIXTURE_VARIANT_ADD(no_calls, update) { .caps = MOCK_CAP_UPDATE_RANGES };

FIXTURE_SETUP(no_calls)
{
	struct mock_create create = { .caps = variant->caps };
	struct mock_create small = { .caps = variant->caps,
				     .max_span = SZ_2M };

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	self->mock = test_mock_create(&create);
	self->small = test_mock_create(&small);
	test_mock_bind(self->mock, self->fd, POLICY_FAIL, NULL);
	test_mock_bind(self->small, self->fd, POLICY_FAIL, &self->small_id);
	test_cmd_range_add(self->fd, IOVA, SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock, IOVA, SZ_4K);
}

FIXTURE_TEARDOWN(no_calls)
{
	close(self->fd);
	close(self->mock);
	close(self->small);
}

/* Nothing was restarted, and nothing but the page is dirty. */
static void expect_untouched(struct __test_metadata *_metadata, int fd,
			     int mock, __u32 expected)
{
	struct mock_state state;
	__u32 status;
	__u64 dirty;

	test_mock_state(mock, &state);
	EXPECT_EQ(1, state.starts);
	EXPECT_EQ(0, state.stops);
	test_cmd_count(fd, 0, IOVA, SZ_1M, &status, &dirty);
	EXPECT_EQ(1, dirty);
	EXPECT_EQ(expected, status);
}

TEST_F(no_calls, ranges_without_effect)
{
	test_cmd_range_add(self->fd, IOVA, SZ_1M);
	test_cmd_range_add(self->fd, IOVA + SZ_64K, SZ_4K);
	test_cmd_range_remove(self->fd, IOVA + SZ_2M, SZ_1M);
	expect_untouched(_metadata, self->fd, self->mock, 0);
}

TEST_F(no_calls, ranges_that_one_tracker_can_never_take)
{
	test_err_range(EDOM, self->fd, 0, IOVA + SZ_1M, 4 * SZ_1M);
	expect_untouched(_metadata, self->fd, self->mock, 0);
	expect_untouched(_metadata, self->fd, self->small, 0);
}

TEST_F(no_calls, ranges_with_a_tracker_in_trouble)
{
	struct mock_state state;

	test_mock_knob(self->small, MOCK_KNOB_LOSE, EIO);
	test_err_range(EIO, self->fd, 0, IOVA + SZ_2M, SZ_64K);
	test_cmd_set_policy(self->fd, self->small_id, POLICY_IGNORE);
	test_mock_state(self->mock, &state);
	EXPECT_EQ(1, state.starts);
}

/* Many ranges, one for each system call of a guest that maps and unmaps. */
TEST_F(no_calls, a_removed_range_restarts_nothing)
{
	test_cmd_range_remove(self->fd, IOVA + SZ_64K, SZ_64K);
	expect_untouched(_metadata, self->fd, self->mock,
			 IOMMUFD_DIRTY_STATUS_HOLE);
}

TEST(many_ranges_are_removed_at_once)
{
	static struct iommufd_dirty_range ranges[65536];
	struct iommufd_dirty_list_ranges list = { .size = sizeof(list) };
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	unsigned int i;

	ASSERT_NE(-1, fd);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		ranges[i].iova = i * 2 * SZ_4K;
		ranges[i].length = SZ_4K;
	}
	test_cmd_ranges(fd, 0, ranges, ARRAY_SIZE(ranges));
	ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_LIST_RANGES, &list));
	EXPECT_EQ(ARRAY_SIZE(ranges), list.nr_ranges);
	/* If this were quadratic, the harness would end it. */
	test_cmd_ranges(fd, IOMMUFD_DIRTY_RANGES_REMOVE, ranges,
			ARRAY_SIZE(ranges));
	list.nr_ranges = 0;
	ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_LIST_RANGES, &list));
	EXPECT_EQ(0, list.nr_ranges);
	close(fd);
}

TEST_HARNESS_MAIN
