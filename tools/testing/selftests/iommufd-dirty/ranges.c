// SPDX-License-Identifier: GPL-2.0
/*
 * RANGES: the set of what is tracked, before START and while tracking, and what
 * of it reaches trackers that take few ranges.
 */
#include "members.h"

#define IOVA MEMBERS_BASE
#define LENGTH MEMBERS_SIZE

FIXTURE(ranges)
{
	int fd;
	int mock;
	__u32 id;
	struct model model;
};

FIXTURE_VARIANT(ranges)
{
	__u32 caps;
	__u32 slots;
	bool restarts;
};

/* One whose ranges can change while it tracks. */
FIXTURE_VARIANT_ADD(ranges, update) { .caps = MOCK_CAP_UPDATE_RANGES };
/* The same by a second slot, of which there is one, or is not. */
FIXTURE_VARIANT_ADD(ranges, second_slot) {
	.caps = MOCK_CAP_UPDATE_RANGES, .slots = 2,
};

FIXTURE_VARIANT_ADD(ranges, no_second_slot) {
	.caps = MOCK_CAP_UPDATE_RANGES, .slots = 3, .restarts = true,
};

/* One that knows of no such thing. */
FIXTURE_VARIANT_ADD(ranges, restart) { .restarts = true };

FIXTURE_SETUP(ranges)
{
	struct mock_create create = {
		.caps = variant->caps | MOCK_CAP_UNMAP_DROPS,
	};

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	self->mock = test_mock_create(&create);
	test_mock_knob(self->mock, MOCK_KNOB_SLOTS, variant->slots);
	test_mock_bind(self->mock, self->fd, POLICY_FAIL, &self->id);
	ASSERT_TRUE(model_init(&self->model, IOVA, LENGTH, 12));
}

FIXTURE_TEARDOWN(ranges)
{
	model_free(&self->model);
	close(self->fd);
	close(self->mock);
}

#define write_page(iova)                                             \
	({                                                           \
		__u64 __iova = (iova);                               \
								     \
		test_mock_dirty(self->mock, __iova, SZ_4K);          \
		model_write(&self->model, 1, __iova, SZ_4K, SZ_4K);  \
	})

#define read_all()                                                        \
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,        \
		   .iova = IOVA, .length = LENGTH, .page_size = SZ_4K)

static void expect_ranges(struct __test_metadata *_metadata, int mock,
			  const struct iommufd_dirty_range *ranges, __u32 nr)
{
	struct mock_state state;
	unsigned int i;

	test_mock_state(mock, &state);
	ASSERT_EQ(nr, state.nr_ranges);
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(ranges[i].iova, state.ranges[i].iova);
		EXPECT_EQ(ranges[i].length, state.ranges[i].length);
	}
}

TEST_F(ranges, add_joins_and_remove_splits)
{
	static const struct iommufd_dirty_range added[] = {
		{ IOVA + 8 * SZ_4K, 2 * SZ_4K },
		{ IOVA, 2 * SZ_4K },
		/* Adjacent to the one above; inside; over two and the gap. */
		{ IOVA + 2 * SZ_4K, SZ_4K },
		{ IOVA + SZ_4K, SZ_4K },
		{ IOVA + 20 * SZ_4K, SZ_4K },
		{ IOVA + 22 * SZ_4K, SZ_4K },
		{ IOVA + 19 * SZ_4K, 8 * SZ_4K },
	};
	static const struct iommufd_dirty_range removed[] = {
		{ IOVA + 21 * SZ_4K, SZ_4K },
		/* What is not there. */
		{ IOVA + 100 * SZ_4K, SZ_4K },
		{ IOVA + 9 * SZ_4K, 8 * SZ_4K },
	};
	static const struct iommufd_dirty_range left[] = {
		{ IOVA, 3 * SZ_4K },
		{ IOVA + 8 * SZ_4K, SZ_4K },
		{ IOVA + 19 * SZ_4K, 2 * SZ_4K },
		{ IOVA + 22 * SZ_4K, 5 * SZ_4K },
	};
	struct iommufd_dirty_tracker_info info;

	test_cmd_ranges(self->fd, 0, added, ARRAY_SIZE(added));
	test_cmd_ranges(self->fd, IOMMUFD_DIRTY_RANGES_REMOVE, removed,
			ARRAY_SIZE(removed));
	test_cmd_start(self->fd, SZ_4K);
	expect_ranges(_metadata, self->mock, left, ARRAY_SIZE(left));
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(ARRAY_SIZE(left), info.out_nr_ranges);
}

TEST_F(ranges, gaps_are_holes)
{
	__u32 status;

	test_cmd_range_add(self->fd, IOVA, SZ_1M);
	test_cmd_range_add(self->fd, IOVA + SZ_2M, SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	write_page(IOVA);
	write_page(IOVA + SZ_2M + SZ_64K);
	/* Written, but not tracked. */
	test_mock_dirty(self->mock, IOVA + SZ_1M, SZ_4K);
	status = model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
			    .iova = IOVA, .length = 3 * SZ_1M,
			    .page_size = SZ_4K);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	status = model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
			    .iova = IOVA, .length = SZ_1M, .page_size = SZ_4K);
	EXPECT_EQ(0, status);
}

TEST_F(ranges, nearest_are_joined_until_they_fit)
{
	static const struct iommufd_dirty_range ranges[] = {
		{ IOVA, SZ_4K },
		{ IOVA + SZ_64K, SZ_4K },
		{ IOVA + SZ_1M, SZ_4K },
		{ IOVA + SZ_1M + 2 * SZ_4K, SZ_4K },
		{ IOVA + 4 * SZ_1M, SZ_4K },
	};
	static const struct iommufd_dirty_range joined[] = {
		{ IOVA, SZ_64K + SZ_4K },
		{ IOVA + SZ_1M, 3 * SZ_4K },
		{ IOVA + 4 * SZ_1M, SZ_4K },
	};
	struct mock_create create = { .caps = variant->caps, .max_ranges = 3 };
	struct iommufd_dirty_start_result results[2];
	int mock = test_mock_create(&create);
	__u64 granule, dirty;
	__u32 nr = 2, status;

	test_mock_bind(mock, self->fd, POLICY_FAIL, NULL);
	test_cmd_ranges(self->fd, 0, ranges, ARRAY_SIZE(ranges));
	ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_4K, &granule,
					     results, &nr));
	EXPECT_EQ(ARRAY_SIZE(ranges), results[0].nr_ranges);
	EXPECT_EQ(ARRAY_SIZE(joined), results[1].nr_ranges);
	expect_ranges(_metadata, self->mock, ranges, ARRAY_SIZE(ranges));
	expect_ranges(_metadata, mock, joined, ARRAY_SIZE(joined));

	/* What it sees in between was not asked for. */
	test_mock_dirty(mock, IOVA, 4 * SZ_1M);
	test_cmd_count(self->fd, 0, IOVA, LENGTH, &status, &dirty);
	EXPECT_EQ(4, dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	close(mock);
}

TEST_F(ranges, added_while_tracking_is_dirty_once)
{
	test_cmd_range_add(self->fd, IOVA, SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	write_page(IOVA + SZ_4K);
	test_cmd_range_add(self->fd, IOVA + SZ_2M, SZ_1M);
	/* It may have been written before; the restarted one forgot all. */
	model_write(&self->model, 1, IOVA + SZ_2M, SZ_1M, SZ_4K);
	if (variant->restarts)
		model_write(&self->model, 1, IOVA, SZ_1M, SZ_4K);
	write_page(IOVA + SZ_64K);
	read_all();
	read_all();
	write_page(IOVA + SZ_2M);
	write_page(IOVA);
	read_all();
}

TEST_F(ranges, assume_clean)
{
	test_cmd_range_add(self->fd, IOVA, SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	write_page(IOVA + SZ_4K);
	ASSERT_EQ(0, _test_cmd_range(self->fd,
				     IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN,
				     IOVA + SZ_2M, SZ_1M));
	/* Of the ranges that were there nothing was said. */
	if (variant->restarts)
		model_write(&self->model, 1, IOVA, SZ_1M, SZ_4K);
	read_all();
	write_page(IOVA + SZ_2M);
	read_all();
}

TEST_F(ranges, removed_while_tracking_drops_what_was_not_harvested)
{
	struct mock_state before, after;
	__u32 status;

	test_cmd_range_add(self->fd, IOVA, 4 * SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_state(self->mock, &before);
	write_page(IOVA);
	write_page(IOVA + SZ_1M);
	test_cmd_harvest(self->fd, 0, IOVA, 4 * SZ_1M, NULL);
	write_page(IOVA + SZ_1M + SZ_4K);
	write_page(IOVA + SZ_2M);
	test_cmd_range_remove(self->fd, IOVA + SZ_1M, SZ_1M);
	model_clean(&self->model, MODEL_ALL, IOVA + SZ_1M + SZ_4K, SZ_4K);
	status = model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
			    .iova = IOVA, .length = 4 * SZ_1M,
			    .page_size = SZ_4K);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	ASSERT_EQ(0, _test_cmd_range(self->fd,
				     IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN,
				     IOVA + SZ_1M, SZ_1M));
	/* One that cannot give up a range has tracked it all the time. */
	if (variant->restarts)
		model_write(&self->model, 1, IOVA + SZ_1M + SZ_4K, SZ_4K,
			    SZ_4K);
	status = model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
			    .iova = IOVA, .length = 4 * SZ_1M,
			    .page_size = SZ_4K);
	EXPECT_EQ(0, status);
	test_mock_state(self->mock, &after);
	EXPECT_EQ(before.starts, after.starts);
}

TEST_F(ranges, failed_update_loses_nothing)
{
	struct iommufd_dirty_tracker_info info;
	__u8 bits[LENGTH / SZ_4K / 8] = {};

	test_cmd_range_add(self->fd, IOVA, SZ_1M);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock, IOVA + SZ_4K, SZ_4K);
	/* The restart fails, where there is no update. */
	test_mock_knob(self->mock,
		       variant->caps ? MOCK_KNOB_FAIL_UPDATE :
				       MOCK_KNOB_FAIL_START, 1);
	test_err_range(EIO, self->fd, 0, IOVA + SZ_2M, SZ_1M);
	/* Either it is delivered, or no READ says that all is well. */
	if (_test_cmd_read(self->fd, 0, 0, IOVA, SZ_1M, SZ_4K, bits, NULL,
			   NULL)) {
		EXPECT_EQ(EIO, errno);
		test_cmd_tracker_info(self->fd, self->id, &info);
		EXPECT_NE(IOMMUFD_DIRTY_STATE_TRACKING, info.out_state);
	} else {
		EXPECT_EQ(2, bits[0] & 2);
	}
}

MEMBERS_FIXTURE(mixed_ranges)
MEMBERS_VARIANTS(mixed_ranges);

TEST_F(mixed_ranges, nothing_of_what_stays_is_lost)
{
	struct members *members = &self->members;
	__u8 bits[MEMBERS_SIZE / SZ_4K / 8];
	struct guarded guarded;
	unsigned int round, i;

	for (round = 0; round < 16; round++) {
		__u64 half = MEMBERS_BASE + (round & 1) * MEMBERS_SIZE / 2;

		members_write_some(_metadata, members, 8, &self->seed);
		test_cmd_range_remove(members->fd, half, MEMBERS_SIZE / 2);
		model_clean(&members->model, MODEL_ALL, half, MEMBERS_SIZE / 2);
		test_cmd_range_add(members->fd, half, MEMBERS_SIZE / 2);

		/* Too much may be told, but all that was written is. */
		ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
					 &(struct placement){}, 0));
		model_bits(&members->model, MODEL_ALL, MEMBERS_BASE,
			   MEMBERS_SIZE, SZ_4K, guarded.shadow_bits, 0);
		memset(bits, 0, sizeof(bits));
		test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE,
			      SZ_4K, bits, NULL, NULL);
		for (i = 0; i < sizeof(bits); i++)
			ASSERT_EQ(guarded.shadow_bits[i],
				  guarded.shadow_bits[i] & bits[i]);
		guarded_free(&guarded);
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);
	}
	/* Dirty once: no more. */
	members_read_all(members);
}

TEST_HARNESS_MAIN
