// SPDX-License-Identifier: GPL-2.0
/*
 * Trackers that stop to be one, and what each policy makes of it.
 */
#include <pthread.h>

#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)

/*
 * The ways in which a tracker stops to be one. Each policy has the same answer
 * to all of them; only the errno differs.
 */
enum trouble {
	START_FAILS,
	READ_FAILS,
	LOST,
	GONE,
	GONE_BEFORE_START,
};

FIXTURE(trouble)
{
	struct members members;
	int fd;
	int bad;
	__u32 bad_id;
};

FIXTURE_VARIANT(trouble)
{
	enum trouble trouble;
	int error;
	__u32 state;
	int out_error;
};

FIXTURE_VARIANT_ADD(trouble, start_fails)
{
	.trouble = START_FAILS,
	.error = EIO,
	.state = IOMMUFD_DIRTY_STATE_FAILED,
	.out_error = -EIO,
};

FIXTURE_VARIANT_ADD(trouble, read_fails)
{
	.trouble = READ_FAILS,
	.error = EIO,
	.state = IOMMUFD_DIRTY_STATE_TRACKING,
};

FIXTURE_VARIANT_ADD(trouble, lost)
{
	.trouble = LOST,
	.error = EIO,
	.state = IOMMUFD_DIRTY_STATE_LOST,
	.out_error = -EREMOTEIO,
};

FIXTURE_VARIANT_ADD(trouble, gone)
{
	.trouble = GONE,
	.error = ESHUTDOWN,
	.state = IOMMUFD_DIRTY_STATE_GONE,
	.out_error = -ESHUTDOWN,
};

FIXTURE_VARIANT_ADD(trouble, gone_before_start)
{
	.trouble = GONE_BEFORE_START,
	.error = ESHUTDOWN,
	.state = IOMMUFD_DIRTY_STATE_GONE,
	.out_error = -ESHUTDOWN,
};

FIXTURE_SETUP(trouble)
{
	struct members_variant two = { .mocks = 2 };

	members_open(_metadata, &self->members, &two);
	self->fd = self->members.fd;
	self->bad = self->members.member[1].mock;
	self->bad_id = self->members.member[1].id;
}

FIXTURE_TEARDOWN(trouble)
{
	members_close(&self->members);
}

static int start_with_trouble(struct __test_metadata *_metadata, int fd,
			      int bad, enum trouble trouble)
{
	int ret;

	if (trouble == START_FAILS)
		test_mock_knob(bad, MOCK_KNOB_FAIL_START, 1);
	if (trouble == GONE_BEFORE_START)
		test_mock_unregister(bad);
	ret = _test_cmd_start(fd, 0, SZ_4K);
	if (ret)
		return ret;
	if (trouble == LOST)
		test_mock_knob(bad, MOCK_KNOB_LOSE, EREMOTEIO);
	if (trouble == GONE)
		test_mock_unregister(bad);
	return 0;
}

/* For each READ that is to fail. */
#define arm_read()                                                      \
	({                                                              \
		if (variant->trouble == READ_FAILS)                     \
			test_mock_knob(self->bad, MOCK_KNOB_FAIL_READ, 1); \
	})

TEST_F(trouble, policy_fail_is_an_error)
{
	__u8 bits[BITS / 8] = {};
	struct mock_state state;
	int ret;

	ret = start_with_trouble(_metadata, self->fd, self->bad,
				 variant->trouble);
	if (variant->trouble == START_FAILS ||
	    variant->trouble == GONE_BEFORE_START) {
		EXPECT_ERRNO(variant->error, ret);
		/* All or nothing: the one that could was stopped. */
		test_mock_state(self->members.member[0].mock, &state);
		EXPECT_EQ(0, state.started);
		EXPECT_EQ(state.starts, state.stops);
		test_err_read(ENODATA, self->fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, bits);
		return;
	}
	ASSERT_EQ(0, ret);
	/* What the other one has is delivered in the READ that fails. */
	test_mock_dirty(self->members.member[0].mock, MEMBERS_BASE, SZ_4K);
	arm_read();
	test_err_read(variant->error, self->fd, 0, 0, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits);
	EXPECT_EQ(1, bits[0]);
	arm_read();
	test_err_read(variant->error, self->fd, self->bad_id, 0, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits);
	EXPECT_EQ(1, bits[0]);
	/* The other one by itself is not concerned. */
	test_cmd_read(self->fd, self->members.member[0].id, 0, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits, NULL, NULL);
}

TEST_F(trouble, policy_ignore_skips_and_says_so)
{
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_start_result results[2];
	unsigned int i;
	__u32 status;

	test_cmd_set_policy(self->fd, self->bad_id, POLICY_IGNORE);
	ASSERT_EQ(0, start_with_trouble(_metadata, self->fd, self->bad,
					variant->trouble));
	for (i = 0; i < 2; i++) {
		member_write(&self->members, 0,
			     MEMBERS_BASE + (i + 1) * SZ_64K, SZ_4K);
		arm_read();
		status = members_read_all(&self->members);
		EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED, status);
	}
	test_cmd_tracker_info(self->fd, self->bad_id, &info);
	EXPECT_EQ(variant->state, info.out_state);
	if (variant->out_error)
		EXPECT_EQ(variant->out_error, info.out_error);

	/* Of the one that works, alone, there is nothing to say. */
	status = model_read(&self->members.model, .fd = self->fd,
			    .tracker_id = self->members.member[0].id,
			    .who = MODEL_ALL, .iova = MEMBERS_BASE,
			    .length = MEMBERS_SIZE, .page_size = SZ_4K);
	EXPECT_EQ(0, status);

	if (variant->trouble == START_FAILS) {
		__u32 nr = 2;
		__u64 granule;

		test_cmd_stop(self->fd);
		test_mock_knob(self->bad, MOCK_KNOB_FAIL_START, 1);
		ASSERT_EQ(0, _test_cmd_start_results(self->fd, 0, SZ_4K,
						     &granule, results, &nr));
		EXPECT_EQ(0, results[0].error);
		EXPECT_EQ(-EIO, results[1].error);
	}
	test_cmd_stop(self->fd);
}

TEST_F(trouble, policy_all_dirty_is_dirty_in_each_read)
{
	__u64 dirty;
	__u32 status;
	unsigned int i;

	test_cmd_set_policy(self->fd, self->bad_id, POLICY_ALL_DIRTY);
	ASSERT_EQ(0, start_with_trouble(_metadata, self->fd, self->bad,
					variant->trouble));
	for (i = 0; i < 3; i++) {
		__u8 bits[BITS / 8 + 8] = {};
		unsigned int byte;

		arm_read();
		/* More than the ranges: a hole stays clean. */
		test_cmd_read(self->fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE + 64 * SZ_4K, SZ_4K, bits, &status,
			      &dirty);
		EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY |
				  IOMMUFD_DIRTY_STATUS_HOLE,
			  status);
		EXPECT_EQ(BITS, dirty);
		for (byte = 0; byte < sizeof(bits); byte++)
			ASSERT_EQ(byte < BITS / 8 ? 0xff : 0, bits[byte]);
	}
	arm_read();
	test_cmd_count(self->fd, self->bad_id, MEMBERS_BASE, MEMBERS_SIZE,
		       &status, &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY, status);
	EXPECT_EQ(BITS, dirty);
	test_cmd_count(self->fd, self->members.member[0].id, MEMBERS_BASE,
		       MEMBERS_SIZE, &status, &dirty);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, dirty);
	test_cmd_stop(self->fd);
}

TEST_F(trouble, policy_can_change_while_it_lasts)
{
	__u8 bits[BITS / 8] = {};
	__u32 status;

	test_cmd_set_policy(self->fd, self->bad_id, POLICY_IGNORE);
	ASSERT_EQ(0, start_with_trouble(_metadata, self->fd, self->bad,
					variant->trouble));
	test_cmd_set_policy(self->fd, self->bad_id, POLICY_FAIL);
	arm_read();
	ASSERT_EQ(-1, _test_cmd_read(self->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE,
				     SZ_4K, bits, &status, NULL));
	EXPECT_EQ(variant->error, errno);
	test_cmd_set_policy(self->fd, self->bad_id, POLICY_ALL_DIRTY);
	arm_read();
	test_cmd_read(self->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, bits,
		      &status, NULL);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY, status);
}

/* It cannot track them, and its state still says why. */
TEST_F(trouble, ranges_added_while_it_lasts)
{
	struct iommufd_dirty_tracker_info info;

	if (variant->trouble == READ_FAILS)
		SKIP(return, "it can track them");
	test_cmd_set_policy(self->fd, self->bad_id, POLICY_IGNORE);
	ASSERT_EQ(0, start_with_trouble(_metadata, self->fd, self->bad,
					variant->trouble));
	test_cmd_range_add(self->fd, MEMBERS_BASE + 2 * MEMBERS_SIZE, SZ_2M);
	test_cmd_tracker_info(self->fd, self->bad_id, &info);
	EXPECT_EQ(variant->state, info.out_state);
	EXPECT_EQ(variant->out_error, info.out_error);
}

TEST_F(trouble, unbind_keep_of_what_cannot_be_read_is_all_dirty)
{
	__u64 dirty;
	__u32 status;

	test_cmd_set_policy(self->fd, self->bad_id, POLICY_IGNORE);
	ASSERT_EQ(0, start_with_trouble(_metadata, self->fd, self->bad,
					variant->trouble));
	arm_read();
	test_cmd_unbind(self->fd, self->bad_id, IOMMUFD_DIRTY_UNBIND_KEEP);
	test_cmd_count(self->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status,
		       &dirty);
	EXPECT_EQ(BITS, dirty);
	/* Nobody knows how much of it was written. */
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, status);
}

/* A loss that is reported while the last READ is under way: there is no next. */
FIXTURE(last_read)
{
	struct members members;
	int fd;
	int bad;
	__u32 bad_id;
};

FIXTURE_VARIANT(last_read)
{
	__u32 caps;
};

FIXTURE_VARIANT_ADD(last_read, direct) {};
FIXTURE_VARIANT_ADD(last_read, waits) { .caps = MOCK_CAP_WAITS };

FIXTURE_SETUP(last_read)
{
	struct members_variant one = { .mocks = 1 };
	struct mock_create create = { .caps = variant->caps };

	members_open(_metadata, &self->members, &one);
	members_add_mock(_metadata, &self->members, &create);
	self->fd = self->members.fd;
	self->bad = self->members.member[1].mock;
	self->bad_id = self->members.member[1].id;
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->members.member[0].mock, MEMBERS_BASE, SZ_4K);
	test_mock_knob(self->bad, MOCK_KNOB_LOSE_IN_READ, EREMOTEIO);
}

FIXTURE_TEARDOWN(last_read)
{
	members_close(&self->members);
}

TEST_F(last_read, policy_fail_is_an_error)
{
	__u8 bits[BITS / 8] = {};

	test_err_read(EIO, self->fd, 0, IOMMUFD_DIRTY_READ_FINAL, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits);
	/* What the other one had is not held back. */
	EXPECT_EQ(1, bits[0]);
}

TEST_F(last_read, policy_ignore_says_so)
{
	__u8 bits[BITS / 8] = {};
	__u32 status;

	test_cmd_set_policy(self->fd, self->bad_id, POLICY_IGNORE);
	test_cmd_read(self->fd, 0, IOMMUFD_DIRTY_READ_FINAL, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits, &status, NULL);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED, status);
	EXPECT_EQ(1, bits[0]);
}

TEST_F(last_read, policy_all_dirty_reports_all)
{
	__u8 bits[BITS / 8] = {};
	__u32 status;
	__u64 dirty;

	test_cmd_set_policy(self->fd, self->bad_id, POLICY_ALL_DIRTY);
	test_cmd_read(self->fd, 0, IOMMUFD_DIRTY_READ_FINAL, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits, &status, &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY, status);
	EXPECT_EQ(BITS, dirty);
}

static void *lose_when_the_other_is_read(void *data)
{
	struct members *members = data;
	struct mock_state state;

	do {
		usleep(1000);
		ioctl(members->member[1].mock, MOCK_STATE, &state);
	} while (!state.reads);
	_test_mock_knob(members->member[0].mock, MOCK_KNOB_LOSE, EREMOTEIO);
	return NULL;
}

/*
 * Lost in the second window of a READ: what was said of the first one came from a
 * tracker that had lost something. 64 GiB are a window.
 */
TEST(lost_in_the_second_window)
{
	const __u64 window = 64 * SZ_1G;
	struct iommufd_dirty_bitmap range = { .length = 2 * window };
	struct iommufd_dirty_read cmd = read_cmd(&range, 1);
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int mock = test_mock_create(NULL);

	ASSERT_NE(-1, fd);
	range.bitmap_uptr = (uintptr_t)mmap(NULL, SZ_2M * 2,
					    PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	test_mock_bind(mock, fd, POLICY_ALL_DIRTY, NULL);
	/* Of the first window a page is tracked, and is not told to be dirty. */
	test_cmd_range_add(fd, 0, SZ_4K);
	test_cmd_range_add(fd, window, SZ_4K);
	test_cmd_range_add(fd, window + SZ_1M, SZ_4K);
	test_cmd_start(fd, SZ_4K);
	test_mock_knob(mock, MOCK_KNOB_LOSE_IN_READ_2, EREMOTEIO);
	ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(3, cmd.out_dirty);
	EXPECT_NE(0, cmd.out_status & IOMMUFD_DIRTY_STATUS_ALL_DIRTY);
	close(fd);
	close(mock);
}

/* That is known from the beginning, and no reason to begin again. */
TEST(all_dirty_from_the_start_is_reported_once)
{
	struct iommufd_dirty_bitmap range = { .length = 64 * SZ_1G };
	struct iommufd_dirty_range extents[4];
	struct iommufd_dirty_read cmd =
		read_cmd(&range, 1, .flags = IOMMUFD_DIRTY_READ_EXTENTS,
			 into_extents(extents, 4));
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	__u64 dirty = 0;

	ASSERT_NE(-1, fd);
	test_cmd_bind_untracked(fd, POLICY_ALL_DIRTY, NULL);
	test_cmd_range_add(fd, SZ_1G, SZ_1M);
	test_cmd_range_add(fd, 32 * SZ_1G, SZ_1M);
	test_cmd_start(fd, SZ_4K);
	do {
		ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_READ, &cmd));
		dirty += cmd.out_dirty;
	} while (cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE);
	EXPECT_EQ(2 * SZ_1M / SZ_4K, dirty);
	close(fd);
}

/* One is lost when it has been read, and the READ goes on with another one. */
TEST(lost_while_another_one_is_read)
{
	struct members_variant two = { .mocks = 2 };
	struct members members;
	__u8 bits[BITS / 8] = {};
	pthread_t thread;

	members_open(_metadata, &members, &two);
	test_cmd_start(members.fd, SZ_4K);
	test_mock_knob(members.member[1].mock, MOCK_KNOB_LATENCY_MS, 1000);
	ASSERT_EQ(0, pthread_create(&thread, NULL, lose_when_the_other_is_read,
				    &members));
	test_err_read(EIO, members.fd, 0, IOMMUFD_DIRTY_READ_FINAL,
		      MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, bits);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	members_close(&members);
}

TEST_HARNESS_MAIN
