// SPDX-License-Identifier: GPL-2.0
/*
 * START: what is negotiated with each tracker, and that it is all or nothing.
 */
#include "members.h"

#define IOVA MEMBERS_BASE
#define LENGTH MEMBERS_SIZE
#define MOCKS 6
/* That all mocks together have. */
#define SLOTS 4

FIXTURE(start)
{
	int fd;
	int mock[MOCKS];
	__u32 id[MOCKS];
	unsigned int nr;
};

FIXTURE_SETUP(start)
{
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	test_cmd_range_add(self->fd, IOVA, LENGTH);
}

FIXTURE_TEARDOWN(start)
{
	close(self->fd);
	while (self->nr)
		close(self->mock[--self->nr]);
}

#define add_mock(create, policy)                                       \
	({                                                             \
		self->mock[self->nr] = test_mock_create(create);       \
		test_mock_bind(self->mock[self->nr], self->fd, policy, \
			       &self->id[self->nr]);                   \
		self->nr++;                                            \
	})

TEST_F(start, coarsest_granule_that_is_not_too_coarse)
{
	static const struct {
		__u64 pgsizes;
		__u64 wanted;
		__u64 granule;
	} cases[] = {
		{ SZ_4K, SZ_4K, SZ_4K },
		{ SZ_4K, SZ_2M, SZ_4K },
		{ SZ_4K | SZ_64K | SZ_2M, SZ_4K, SZ_4K },
		{ SZ_4K | SZ_64K | SZ_2M, 2 * SZ_4K, SZ_4K },
		{ SZ_4K | SZ_64K | SZ_2M, SZ_64K, SZ_64K },
		{ SZ_4K | SZ_64K | SZ_2M, SZ_1M, SZ_64K },
		{ SZ_4K | SZ_64K | SZ_2M, SZ_1G, SZ_2M },
		/* None is fine enough: the finest. */
		{ SZ_64K | SZ_2M, SZ_4K, SZ_64K },
		{ 1ULL << 40, SZ_4K, 1ULL << 40 },
	};
	struct iommufd_dirty_start_result result;
	struct mock_state state;
	unsigned int i;
	__u64 granule;
	__u32 nr;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mock_create create = { .pgsizes = cases[i].pgsizes };
		int mock = test_mock_create(&create);
		__u64 coarsest = cases[i].wanted;
		__u32 id;

		if (coarsest < cases[i].granule)
			coarsest = cases[i].granule;
		test_mock_bind(mock, self->fd, POLICY_FAIL, &id);
		nr = 1;
		ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0,
						     cases[i].wanted, &granule,
						     &result, &nr));
		EXPECT_EQ(coarsest, granule);
		EXPECT_EQ(1, nr);
		EXPECT_EQ(id, result.tracker_id);
		EXPECT_EQ(0, result.error);
		EXPECT_EQ(cases[i].granule, result.granule);
		test_mock_state(mock, &state);
		EXPECT_EQ(cases[i].granule, state.granule);
		test_cmd_stop(self->fd);
		close(mock);
		test_cmd_unbind(self->fd, id, 0);
	}
}

/* It turns out only at the start how coarse the tracker is. */
TEST_F(start, granule_that_the_start_tells)
{
	struct mock_create create = {
		.pgsizes = SZ_4K | SZ_64K | SZ_2M,
		.max_span = 2 * SZ_64K,
	};
	struct iommufd_dirty_start_result result;
	struct iommufd_dirty_tracker_info info;
	struct mock_state state;
	__u64 granule;
	__u32 nr = 1;

	add_mock(&create, POLICY_FAIL);
	test_mock_knob(self->mock[0], MOCK_KNOB_ONLY_GRANULE, SZ_64K);
	test_cmd_range_remove(self->fd, IOVA, LENGTH);
	test_cmd_range_add(self->fd, IOVA + SZ_4K, SZ_4K);
	test_cmd_range_add(self->fd, IOVA + SZ_64K, SZ_4K);
	EXPECT_ERRNO(ERANGE,
		     _test_cmd_start_results(self->fd,
					     IOMMUFD_DIRTY_START_EXACT, SZ_4K,
					     &granule, &result, &nr));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(SZ_64K, result.granule);
	EXPECT_EQ(-ERANGE, result.error);
	test_mock_state(self->mock[0], &state);
	EXPECT_EQ(0, state.starts);

	ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_4K, &granule,
					     &result, &nr));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(SZ_64K, result.granule);
	EXPECT_EQ(1, result.nr_ranges);
	test_mock_state(self->mock[0], &state);
	EXPECT_EQ(SZ_64K, state.granule);
	EXPECT_EQ(1, state.starts);
	test_cmd_tracker_info(self->fd, self->id[0], &info);
	EXPECT_EQ(SZ_64K, info.out_granule);
	test_cmd_stop(self->fd);

	/* As it would have been told before, if it had been known. */
	test_cmd_range_add(self->fd, IOVA + 2 * SZ_64K, SZ_4K);
	EXPECT_ERRNO(EDOM, _test_cmd_start_results(self->fd, 0, SZ_4K,
						   &granule, &result, &nr));
	EXPECT_EQ(-EDOM, result.error);
	test_mock_state(self->mock[0], &state);
	EXPECT_EQ(0, state.started);
}

TEST_F(start, granule_that_the_start_cannot_mean)
{
	static const __u64 bad[] = { SZ_1M, 1ULL << 40, 1ULL << 63,
				     3 * SZ_64K, 1, SZ_4K };
	struct mock_create create = { .pgsizes = SZ_4K | SZ_64K | SZ_2M };
	struct mock_state state;
	unsigned int i;

	add_mock(&create, POLICY_FAIL);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		test_mock_knob(self->mock[0], MOCK_KNOB_ONLY_GRANULE, bad[i]);
		/* Finer than it was asked for, or none of its own. */
		test_err_start(EIO, self->fd, 0, SZ_64K);
		test_mock_state(self->mock[0], &state);
		EXPECT_EQ(0, state.starts);
	}
	test_mock_knob(self->mock[0], MOCK_KNOB_ONLY_GRANULE, 0);
	test_cmd_start(self->fd, SZ_64K);
}

TEST_F(start, results_in_the_order_of_list)
{
	static const __u64 granules[] = { SZ_64K, SZ_4K, SZ_2M };
	struct iommufd_dirty_start_result results[4], guard;
	__u32 nr, id;
	__u64 granule;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(granules); i++) {
		struct mock_create create = { .pgsizes = granules[i] };

		add_mock(&create, POLICY_FAIL);
	}
	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
	nr = ARRAY_SIZE(results);
	ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_4K, &granule,
					     results, &nr));
	EXPECT_EQ(4, nr);
	EXPECT_EQ(SZ_2M, granule);
	for (i = 0; i < ARRAY_SIZE(granules); i++) {
		EXPECT_EQ(self->id[i], results[i].tracker_id);
		EXPECT_EQ(granules[i], results[i].granule);
		EXPECT_EQ(1, results[i].nr_ranges);
	}
	EXPECT_EQ(id, results[3].tracker_id);
	test_cmd_stop(self->fd);

	/* An array that is too short gets what it can take. */
	memset(results, 0x5a, sizeof(results));
	memset(&guard, 0x5a, sizeof(guard));
	nr = 2;
	ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_4K, &granule,
					     results, &nr));
	EXPECT_EQ(4, nr);
	EXPECT_EQ(self->id[1], results[1].tracker_id);
	EXPECT_EQ(0, memcmp(&results[2], &guard, sizeof(guard)));
}

TEST_F(start, dry_run_starts_nothing)
{
	struct mock_create create = { .pgsizes = SZ_64K };
	struct iommufd_dirty_start_result dry, real;
	struct mock_state state;
	__u8 bits[LENGTH / SZ_4K / 8];
	__u64 granule;
	__u32 nr = 1;

	add_mock(&create, POLICY_FAIL);
	ASSERT_EQ(0, _test_cmd_start_results(self->fd,
					     IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K,
					     &granule, &dry, &nr));
	EXPECT_EQ(SZ_64K, granule);
	test_mock_state(self->mock[0], &state);
	EXPECT_EQ(0, state.started);
	EXPECT_EQ(0, state.starts);
	test_err_read(ENODATA, self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits);
	EXPECT_ERRNO(ERANGE, _test_cmd_start(self->fd,
					     IOMMUFD_DIRTY_START_DRY_RUN |
						     IOMMUFD_DIRTY_START_EXACT,
					     SZ_4K));
	ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_4K, &granule,
					     &real, &nr));
	EXPECT_EQ(0, memcmp(&dry, &real, sizeof(dry)));
}

TEST_F(start, all_or_nothing)
{
	struct iommufd_dirty_start_result results[3];
	struct mock_state state;
	unsigned int bad, i;
	__u64 granule;
	__u32 nr;

	for (i = 0; i < 3; i++)
		add_mock(NULL, POLICY_FAIL);
	for (bad = 0; bad < 3; bad++) {
		test_mock_knob(self->mock[bad], MOCK_KNOB_FAIL_START, 1);
		nr = 3;
		EXPECT_ERRNO(EIO, _test_cmd_start_results(self->fd, 0, SZ_4K,
							  &granule, results,
							  &nr));
		EXPECT_EQ(3, nr);
		EXPECT_EQ(-EIO, results[bad].error);
		for (i = 0; i < 3; i++) {
			test_mock_state(self->mock[i], &state);
			EXPECT_EQ(0, state.started);
			EXPECT_EQ(state.starts, state.stops);
			if (i != bad)
				EXPECT_EQ(0, results[i].error);
		}
	}
	test_cmd_start(self->fd, SZ_4K);
}

TEST_F(start, tracker_without_a_slot_is_enospc)
{
	struct iommufd_dirty_start_result results[SLOTS + 1];
	struct iommufd_dirty_tracker_info info;
	struct mock_state state;
	unsigned int i;
	__u64 granule;
	__u32 nr = SLOTS + 1;

	for (i = 0; i < SLOTS + 1; i++) {
		add_mock(NULL, POLICY_FAIL);
		test_mock_knob(self->mock[i], MOCK_KNOB_SLOTS, 1);
	}
	EXPECT_ERRNO(ENOSPC, _test_cmd_start_results(self->fd, 0, SZ_4K,
						     &granule, results, &nr));
	EXPECT_EQ(-ENOSPC, results[SLOTS].error);
	for (i = 0; i < SLOTS + 1; i++) {
		test_mock_state(self->mock[i], &state);
		EXPECT_EQ(0, state.started);
	}
	/* The others have them back, and can do without that one. */
	test_cmd_set_policy(self->fd, self->id[SLOTS], POLICY_IGNORE);
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_tracker_info(self->fd, self->id[SLOTS], &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_FAILED, info.out_state);
	EXPECT_EQ(-ENOSPC, info.out_error);
	for (i = 0; i < SLOTS; i++) {
		test_cmd_tracker_info(self->fd, self->id[i], &info);
		EXPECT_EQ(IOMMUFD_DIRTY_STATE_TRACKING, info.out_state);
	}
}

TEST_F(start, span_that_is_too_long_is_known_before_anything_starts)
{
	/* As firmware has it that can log 2^42 bytes, in one range or in any. */
	struct mock_create limits[] = {
		{ .max_span = 1ULL << 42, .max_ranges = 1 },
		{ .max_span = 1ULL << 42 },
	};
	const __u64 far = IOVA + (1ULL << 42);
	struct iommufd_dirty_start_result results[2];
	struct mock_state state;
	unsigned int flags, i;
	__u64 granule;
	__u32 nr;

	for (i = 0; i < 2; i++)
		add_mock(&limits[i], POLICY_FAIL);
	/* Far apart: too long for the one that takes a single range. */
	test_cmd_range_add(self->fd, far, LENGTH);
	for (flags = 0; flags <= IOMMUFD_DIRTY_START_DRY_RUN; flags++) {
		nr = 2;
		EXPECT_ERRNO(EDOM,
			     _test_cmd_start_results(self->fd, flags, SZ_4K,
						     &granule, results, &nr));
		EXPECT_EQ(-EDOM, results[0].error);
		EXPECT_EQ(0, results[1].error);
	}
	/* All up to there: too long for both. */
	test_cmd_range_add(self->fd, 0, far);
	for (flags = 0; flags <= IOMMUFD_DIRTY_START_DRY_RUN; flags++) {
		nr = 2;
		EXPECT_ERRNO(EDOM,
			     _test_cmd_start_results(self->fd, flags, SZ_4K,
						     &granule, results, &nr));
		EXPECT_EQ(-EDOM, results[0].error);
		EXPECT_EQ(-EDOM, results[1].error);
	}
	for (i = 0; i < 2; i++) {
		test_mock_state(self->mock[i], &state);
		EXPECT_EQ(0, state.starts);
	}
	/* As much as it can. */
	test_cmd_range_remove(self->fd, 1ULL << 42, IOVA + LENGTH);
	test_cmd_start(self->fd, SZ_4K);
}

TEST_F(start, nothing_to_track_is_a_success)
{
	__u8 bits[LENGTH / SZ_4K / 8] = {};
	__u64 granule, dirty;
	__u32 status, nr = 0;
	unsigned int i;

	/* No tracker; then no range. */
	ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_64K, &granule,
					     NULL, &nr));
	EXPECT_EQ(SZ_64K, granule);
	EXPECT_EQ(0, nr);
	test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits, &status,
		      &dirty);
	EXPECT_EQ(0, dirty);
	test_cmd_stop(self->fd);

	add_mock(NULL, POLICY_FAIL);
	test_cmd_range_remove(self->fd, IOVA, LENGTH);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock[0], IOVA, SZ_64K);
	test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits, &status,
		      &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	EXPECT_EQ(0, dirty);
	for (i = 0; i < sizeof(bits); i++)
		ASSERT_EQ(0, bits[i]);
}

TEST_F(start, tracking_begins_clean)
{
	struct model model;

	ASSERT_TRUE(model_init(&model, IOVA, LENGTH, 12));
	add_mock(NULL, POLICY_FAIL);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->mock[0], IOVA, SZ_1M);
	test_cmd_harvest(self->fd, 0, IOVA, SZ_64K, NULL);
	test_cmd_stop(self->fd);
	/* Neither the tracker's nor the residual of the session before. */
	test_cmd_start(self->fd, SZ_4K);
	model_read(&model, .fd = self->fd, .who = MODEL_ALL, .iova = IOVA,
		   .length = LENGTH, .page_size = SZ_4K);
	model_free(&model);
}

TEST_F(start, coarser_trackers_expand_and_finer_ones_coalesce)
{
	static const __u64 granules[] = { SZ_4K, SZ_64K, SZ_2M };
	struct model model;
	__u64 page_size;
	unsigned int i;

	ASSERT_TRUE(model_init(&model, IOVA, LENGTH, 12));
	for (i = 0; i < ARRAY_SIZE(granules); i++) {
		struct mock_create create = { .pgsizes = granules[i] };

		add_mock(&create, POLICY_FAIL);
	}
	test_cmd_start(self->fd, SZ_4K);
	for (page_size = SZ_4K; page_size <= SZ_1G; page_size *= 2) {
		for (i = 0; i < ARRAY_SIZE(granules); i++) {
			__u64 at = IOVA + SZ_1M * (2 * i + 1) + page_size % 13 *
				   SZ_4K;

			test_mock_dirty(self->mock[i], at, SZ_4K);
			model_write(&model, 1 << i, at, SZ_4K, granules[i]);
		}
		model_read(&model, .fd = self->fd, .who = MODEL_ALL,
			   .iova = IOVA + 3 * SZ_4K, .length = LENGTH / 2,
			   .page_size = page_size, .at = { 1, 3 });
		model_read(&model, .fd = self->fd, .who = MODEL_ALL,
			   .iova = IOVA, .length = LENGTH,
			   .page_size = page_size);
	}
	model_free(&model);
}

TEST_HARNESS_MAIN
