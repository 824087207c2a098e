// SPDX-License-Identifier: GPL-2.0
/*
 * Every ioctl under fault injection. What it delivered and what a good READ
 * delivers then is compared with the model.
 *
 * Best run with panic_on_warn: what it finds besides is the kernel's log's.
 */
#include "fail_nth.h"

FIXTURE(fail_nth)
{
	struct sweep sweep;
};

FIXTURE_VARIANT(fail_nth)
{
	struct members_variant members;
};

MEMBERS_VARIANT(fail_nth, mock, 3, 0, false);
MEMBERS_VARIANT(fail_nth, hwpt, 0, 1, false);
MEMBERS_VARIANT(fail_nth, huge, 0, 1, true);
MEMBERS_VARIANT(fail_nth, mixed, 1, 1, false);

FIXTURE_SETUP(fail_nth)
{
	struct sweep *sweep = &self->sweep;
	char path[64];

	if (!have_fault_injection())
		SKIP(return, "fault injection is not enabled in the kernel");
	members_open(_metadata, &sweep->members, &variant->members);
	if (_metadata->exit_code)
		return;
	snprintf(path, sizeof(path), "/proc/self/task/%u/fail-nth", getpid());
	sweep->nth_fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, sweep->nth_fd);
	ASSERT_TRUE(guarded_init(&sweep->guarded, BITS, &(struct placement){},
				 0));
	sweep->seed = 0xfa11;
}

FIXTURE_TEARDOWN(fail_nth)
{
	guarded_free(&self->sweep.guarded);
	close(self->sweep.nth_fd);
	members_close(&self->sweep.members);
}

static int do_read(struct sweep *sweep)
{
	return _test_cmd_read(sweep->members.fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, sweep->guarded.bits, NULL,
			      NULL);
}

TEST_F(fail_nth, read)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_read, expect_all);
}

/* A part of each IOPTE: the remainder needs memory in the residual. */
static int do_read_parts(struct sweep *sweep)
{
	struct iommufd_dirty_bitmap ranges[8];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.nr_ranges = ARRAY_SIZE(ranges),
		.range_len = sizeof(ranges[0]),
		.ranges_uptr = (uintptr_t)ranges,
		.page_size = SZ_4K,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = MEMBERS_BASE + i * SZ_1M + SZ_64K,
			.length = SZ_64K,
			.bitmap_uptr = (uintptr_t)sweep->guarded.bits,
			.bit_offset = (i * SZ_1M + SZ_64K) / SZ_4K,
		};
	return ioctl(sweep->members.fd, IOMMUFD_DIRTY_READ, &cmd);
}

TEST_F(fail_nth, read_parts)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_read_parts, expect_all);
}

static int do_read_no_clear(struct sweep *sweep)
{
	__u8 bits[BITS / 8] = {};

	return _test_cmd_read(sweep->members.fd, 0, IOMMUFD_DIRTY_READ_NO_CLEAR,
			      MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, bits, NULL,
			      NULL);
}

TEST_F(fail_nth, read_no_clear)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_read_no_clear, expect_all);
}

static int do_count(struct sweep *sweep)
{
	return _test_cmd_read(sweep->members.fd, 0,
			      IOMMUFD_DIRTY_READ_COUNT_ONLY, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, NULL, NULL, NULL);
}

TEST_F(fail_nth, count)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_count, expect_all);
}

/*
 * A READ that could not tell how many extents there are, and a HARVEST that
 * failed, keep all of the range as dirty.
 */
static void expect_at_least(struct __test_metadata *_metadata,
			    struct sweep *sweep, int ret)
{
	struct members *members = &sweep->members;
	struct guarded *guarded = &sweep->guarded;
	unsigned int i;

	if (!ret) {
		expect_all(_metadata, sweep, ret);
		return;
	}
	memset(guarded->shadow_bits, 0, BITS / 8);
	model_bits(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE,
		   SZ_4K, guarded->shadow_bits, 0);
	test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		      guarded->bits, NULL, NULL);
	for (i = 0; i < BITS / 8; i++)
		ASSERT_EQ(guarded->shadow_bits[i],
			  guarded->shadow_bits[i] & guarded->bits[i]);
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE);
}

static int do_extents(struct sweep *sweep)
{
	struct iommufd_dirty_bitmap range = { .iova = MEMBERS_BASE,
					      .length = MEMBERS_SIZE };
	struct iommufd_dirty_range extents[64];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.extents_uptr = (uintptr_t)extents,
		.nr_extents = ARRAY_SIZE(extents),
		.extent_len = sizeof(extents[0]),
	};
	int ret = ioctl(sweep->members.fd, IOMMUFD_DIRTY_READ, &cmd);
	int err = errno;
	unsigned int i;
	__u64 at;

	/* What could not be told does not count. */
	for (i = 0; i < cmd.out_nr_extents; i++) {
		for (at = extents[i].iova - MEMBERS_BASE;
		     at < extents[i].iova - MEMBERS_BASE + extents[i].length;
		     at += SZ_4K)
			bit_set(sweep->guarded.bits, at / SZ_4K);
	}
	errno = err;
	return ret;
}

TEST_F(fail_nth, extents)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_extents, expect_at_least);
}

/* The first half; of the second half nothing may be missing. */
static int do_clear(struct sweep *sweep)
{
	__u8 bits[BITS / 8];

	memset(bits, 0xff, sizeof(bits));
	return _test_cmd_clear(sweep->members.fd, 0, MEMBERS_BASE,
			       MEMBERS_SIZE / 2, SZ_4K, bits, 0);
}

static void expect_second_half(struct __test_metadata *_metadata,
			       struct sweep *sweep, int ret)
{
	struct members *members = &sweep->members;

	/* What a failed CLEAR left dirty is read away. */
	if (ret)
		test_cmd_read(members->fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE / 2, SZ_4K, sweep->guarded.bits, NULL,
			      NULL);
	memset(sweep->guarded.bits, 0, BITS / 8);
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE / 2);
	expect_all(_metadata, sweep, ret);
}

TEST_F(fail_nth, clear)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_clear, expect_second_half);
}

static int do_harvest(struct sweep *sweep)
{
	return _test_cmd_harvest(sweep->members.fd, 0, MEMBERS_BASE,
				 MEMBERS_SIZE, NULL);
}

TEST_F(fail_nth, harvest)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_harvest, expect_at_least);
}

/* While tracking, so that trackers are updated or restarted. */
static int do_ranges(struct sweep *sweep)
{
	return _test_cmd_range(sweep->members.fd, 0, 64 * SZ_1M, SZ_1M);
}

static void expect_tracking(struct __test_metadata *_metadata,
			    struct sweep *sweep, int ret)
{
	struct iommufd_dirty_tracker_info info;
	struct members *members = &sweep->members;
	__u8 bits[BITS / 8] = {};
	unsigned int i;

	/* One that could not be restarted says so until it is started. */
	for (i = 0; i < members->nr; i++) {
		test_cmd_tracker_info(members->fd, members->member[i].id,
				      &info);
		if (info.out_state == IOMMUFD_DIRTY_STATE_TRACKING)
			continue;
		ASSERT_NE(0, ret);
		test_err_read(EIO, members->fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, bits);
		test_cmd_stop(members->fd);
		test_cmd_start(members->fd, SZ_4K);
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);
	}
	expect_at_least(_metadata, sweep, -1);
	test_cmd_range_remove(members->fd, 64 * SZ_1M, SZ_1M);
	test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		      bits, NULL, NULL);
}

TEST_F(fail_nth, ranges_while_tracking)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_ranges, expect_tracking);
}

static int bind_member(struct members *members, int fd, struct member *member,
		       __u32 *id)
{
	if (member->mock != -1)
		return _test_mock_bind(member->mock, fd, POLICY_FAIL, id);
	return _test_cmd_bind_hwpt(fd, members->iommu, member->hwpt_id,
				   POLICY_FAIL, id);
}

static int do_unbind_keep(struct sweep *sweep)
{
	struct member *last = &sweep->members.member[sweep->members.nr - 1];

	return _test_cmd_unbind(sweep->members.fd, last->id,
				IOMMUFD_DIRTY_UNBIND_KEEP);
}

static void expect_bound_again(struct __test_metadata *_metadata,
			       struct sweep *sweep, int ret)
{
	struct members *members = &sweep->members;
	struct member *last = &members->member[members->nr - 1];

	expect_at_least(_metadata, sweep, -1);
	if (ret)
		return;
	test_cmd_stop(members->fd);
	ASSERT_EQ(0, bind_member(members, members->fd, last, &last->id));
	test_cmd_start(members->fd, SZ_4K);
}

TEST_F(fail_nth, unbind_keep)
{
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	sweep_nth(_metadata, &self->sweep, write_some, do_unbind_keep, expect_bound_again);
}

static int do_start(struct sweep *sweep)
{
	struct iommufd_dirty_start_result results[MEMBERS_MAX];
	__u32 nr = MEMBERS_MAX;
	__u64 granule;

	return _test_cmd_start_results(sweep->members.fd, 0, SZ_4K, &granule,
				       results, &nr);
}

static void expect_stopped(struct __test_metadata *_metadata,
			   struct sweep *sweep, int ret)
{
	struct iommufd_dirty_tracker_info info;
	struct members *members = &sweep->members;
	unsigned int i;

	for (i = 0; i < members->nr; i++) {
		test_cmd_tracker_info(members->fd, members->member[i].id,
				      &info);
		EXPECT_EQ(ret ? IOMMUFD_DIRTY_STATE_STOPPED :
				IOMMUFD_DIRTY_STATE_TRACKING, info.out_state);
	}
	test_cmd_stop(members->fd);
}

TEST_F(fail_nth, start)
{
	sweep_nth(_metadata, &self->sweep, NULL, do_start, expect_stopped);
	/* It still works. */
	test_cmd_start(self->sweep.members.fd, SZ_4K);
	ASSERT_EQ(0, write_some(&self->sweep));
	expect_all(_metadata, &self->sweep, 0);
}

static int start_again(struct sweep *sweep)
{
	_test_cmd_stop(sweep->members.fd);
	return _test_cmd_start(sweep->members.fd, 0, SZ_4K);
}

static int do_stop(struct sweep *sweep)
{
	return _test_cmd_stop(sweep->members.fd);
}

TEST_F(fail_nth, stop)
{
	sweep_nth(_metadata, &self->sweep, start_again, do_stop, NULL);
}

/* A context from its opening on; whatever fails, close() cleans up. */
static int do_whole_life(struct sweep *sweep)
{
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_stats stats;
	struct iommufd_dirty_info limits;
	struct member *first = &sweep->members.member[0];
	__u32 id, untracked, ids[4], nr = ARRAY_SIZE(ids);
	int ret = -1, err;

	if (fd == -1)
		return -1;
	if (_test_cmd_info(fd, &limits) ||
	    _test_cmd_bind_untracked(fd, POLICY_IGNORE, &untracked))
		goto out;
	if (bind_member(&sweep->members, fd, first, &id) ||
	    _test_cmd_range(fd, 0, MEMBERS_BASE, MEMBERS_SIZE) ||
	    _test_cmd_range(fd, IOMMUFD_DIRTY_RANGES_REMOVE,
			    MEMBERS_BASE + SZ_1M, SZ_1M) ||
	    _test_cmd_list(fd, ids, &nr) ||
	    _test_cmd_tracker_info(fd, id, &info) ||
	    _test_cmd_set_policy(fd, id, POLICY_ALL_DIRTY) ||
	    _test_cmd_stats(fd, id, &stats) ||
	    _test_cmd_unbind(fd, untracked, 0) ||
	    _test_cmd_start(fd, IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K) ||
	    _test_cmd_start(fd, 0, SZ_4K))
		goto out;
	ret = _test_cmd_stop(fd);
out:
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

static int unbind_first(struct sweep *sweep)
{
	struct member *first = &sweep->members.member[0];
	int ret = 0;

	if (first->id)
		ret = _test_cmd_unbind(sweep->members.fd, first->id, 0);
	first->id = 0;
	return ret;
}

TEST_F(fail_nth, whole_life)
{
	sweep_nth(_metadata, &self->sweep, unbind_first, do_whole_life, NULL);
}

TEST_HARNESS_MAIN
