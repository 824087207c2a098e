// SPDX-License-Identifier: GPL-2.0
/*
 * What a context says and does about its trackers: their ids, their state, how
 * they leave it.
 */
#include <poll.h>

#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)

/* Two mocks, of which the second is the one that gets into trouble. */
FIXTURE(trackers)
{
	struct members members;
	int fd;
	int bad;
	__u32 bad_id;
};

FIXTURE_SETUP(trackers)
{
	struct members_variant two = { .mocks = 2 };

	members_open(_metadata, &self->members, &two);
	self->fd = self->members.fd;
	self->bad = self->members.member[1].mock;
	self->bad_id = self->members.member[1].id;
}

FIXTURE_TEARDOWN(trackers)
{
	members_close(&self->members);
}

static short polled(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLPRI | POLLIN };

	poll(&pollfd, 1, 0);
	return pollfd.revents;
}

TEST_F(trackers, ids_are_never_used_again)
{
	__u32 last = self->bad_id, id;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
		ASSERT_LT(last, id);
		test_cmd_unbind(self->fd, id, 0);
		last = id;
	}
}

TEST_F(trackers, info_tells_what_the_owner_said)
{
	struct mock_create create = {
		.caps = MOCK_CAP_PEEK | MOCK_CAP_UPDATE_RANGES | MOCK_CAP_WAITS,
		.pgsizes = SZ_4K | SZ_64K | SZ_2M,
		.max_ranges = 3,
		.min_span = SZ_4K,
		.max_span = SZ_1G,
	};
	struct iommufd_dirty_tracker_info info;
	int mock = test_mock_create(&create);
	__u32 id;

	test_mock_bind(mock, self->fd, POLICY_ALL_DIRTY, &id);
	test_cmd_tracker_info(self->fd, id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_KIND_DEVICE, info.out_kind);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_STOPPED, info.out_state);
	EXPECT_EQ(POLICY_ALL_DIRTY, info.out_policy);
	EXPECT_EQ(IOMMUFD_DIRTY_CAP_PEEK | IOMMUFD_DIRTY_CAP_UPDATE_RANGES |
			  IOMMUFD_DIRTY_CAP_WAITS,
		  info.out_caps);
	EXPECT_EQ(0, info.out_error);
	EXPECT_EQ(create.pgsizes, info.out_pgsizes);
	EXPECT_EQ(0, info.out_granule);
	EXPECT_EQ(3, info.out_max_ranges);
	EXPECT_EQ(0, info.out_nr_ranges);
	EXPECT_EQ(create.min_span, info.out_min_span);
	EXPECT_EQ(create.max_span, info.out_max_span);
	EXPECT_NE(0, info.out_name[0]);
	EXPECT_EQ(0, info.out_name[IOMMUFD_DIRTY_NAME_LEN - 1]);

	test_cmd_start(self->fd, SZ_64K);
	test_cmd_tracker_info(self->fd, id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_TRACKING, info.out_state);
	EXPECT_EQ(SZ_64K, info.out_granule);
	EXPECT_EQ(1, info.out_nr_ranges);
	test_cmd_set_policy(self->fd, id, POLICY_IGNORE);
	test_cmd_tracker_info(self->fd, id, &info);
	EXPECT_EQ(POLICY_IGNORE, info.out_policy);
	test_cmd_stop(self->fd);
	test_cmd_tracker_info(self->fd, id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_STOPPED, info.out_state);
	EXPECT_EQ(0, info.out_granule);
	close(mock);

	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
	test_cmd_tracker_info(self->fd, id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_KIND_UNTRACKED, info.out_kind);
}

TEST_F(trackers, untracked_member_follows_its_policy)
{
	__u64 dirty;
	__u32 status, id;

	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_count(self->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status,
		       &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED, status);
	EXPECT_EQ(0, dirty);
	test_cmd_set_policy(self->fd, id, POLICY_ALL_DIRTY);
	test_cmd_count(self->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status,
		       &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY, status);
	EXPECT_EQ(BITS, dirty);
	test_cmd_unbind(self->fd, id, 0);
	test_cmd_count(self->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status,
		       &dirty);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, dirty);
}

/* An event loop may know only files that can be read. */
#define TROUBLE (POLLPRI | POLLIN)

TEST_F(trackers, poll_tells_of_a_lost_tracker_until_stop)
{
	struct iommufd_dirty_tracker_info info;

	EXPECT_EQ(0, polled(self->fd));
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(0, polled(self->fd));
	test_mock_knob(self->bad, MOCK_KNOB_LOSE, EREMOTEIO);
	EXPECT_EQ(TROUBLE, polled(self->fd));
	EXPECT_EQ(TROUBLE, polled(self->fd));
	test_cmd_stop(self->fd);
	EXPECT_EQ(0, polled(self->fd));

	/* A new session begins without that. */
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_tracker_info(self->fd, self->bad_id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_TRACKING, info.out_state);
	EXPECT_EQ(0, info.out_error);
	member_write(&self->members, 1, MEMBERS_BASE, SZ_4K);
	members_read_all(&self->members);
}

TEST_F(trackers, poll_tells_of_a_tracker_that_is_gone)
{
	test_cmd_start(self->fd, SZ_4K);
	test_mock_unregister(self->bad);
	EXPECT_EQ(TROUBLE, polled(self->fd));
	test_cmd_stop(self->fd);
	/* It still is, and nobody was told. */
	EXPECT_EQ(TROUBLE, polled(self->fd));
	test_err_start(ESHUTDOWN, self->fd, 0, SZ_4K);
	test_cmd_unbind(self->fd, self->bad_id, 0);
	EXPECT_EQ(0, polled(self->fd));
}

/* Whoever asks what is the matter, or does something about it, knows. */
TEST_F(trackers, poll_is_quiet_when_the_trouble_is_known)
{
	struct iommufd_dirty_tracker_info info;
	__u32 status;

	test_cmd_start(self->fd, SZ_4K);
	test_mock_knob(self->bad, MOCK_KNOB_LOSE, EREMOTEIO);
	test_cmd_tracker_info(self->fd, self->members.member[0].id, &info);
	EXPECT_EQ(TROUBLE, polled(self->fd));
	test_cmd_tracker_info(self->fd, self->bad_id, &info);
	EXPECT_EQ(-EREMOTEIO, info.out_error);
	EXPECT_EQ(0, polled(self->fd));
	test_cmd_stop(self->fd);

	test_cmd_start(self->fd, SZ_4K);
	test_mock_knob(self->bad, MOCK_KNOB_LOSE, EREMOTEIO);
	EXPECT_EQ(TROUBLE, polled(self->fd));
	test_cmd_set_policy(self->fd, self->bad_id, POLICY_IGNORE);
	EXPECT_EQ(0, polled(self->fd));
	status = members_read_all(&self->members);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED, status);

	/* One of two is known. */
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_knob(self->bad, MOCK_KNOB_LOSE, EREMOTEIO);
	test_mock_knob(self->members.member[0].mock, MOCK_KNOB_LOSE, EIO);
	test_cmd_unbind(self->fd, self->bad_id, 0);
	EXPECT_EQ(TROUBLE, polled(self->fd));
	test_cmd_set_policy(self->fd, self->members.member[0].id,
			    POLICY_ALL_DIRTY);
	EXPECT_EQ(0, polled(self->fd));
}

TEST_F(trackers, poll_wakes_up)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLPRI };
	int status;
	pid_t pid;

	test_cmd_start(self->fd, SZ_4K);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		usleep(100000);
		_exit(!!_test_mock_knob(self->bad, MOCK_KNOB_LOSE, EIO));
	}
	EXPECT_EQ(1, poll(&pollfd, 1, -1));
	EXPECT_EQ(POLLPRI, pollfd.revents);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(trackers, stop_stops_all_and_returns_the_first_error)
{
	struct mock_state state;
	unsigned int i;

	test_cmd_start(self->fd, SZ_4K);
	test_mock_knob(self->members.member[0].mock, MOCK_KNOB_FAIL_STOP, 1);
	test_err_stop(EIO, self->fd);
	for (i = 0; i < 2; i++) {
		test_mock_state(self->members.member[i].mock, &state);
		EXPECT_EQ(0, state.started);
		EXPECT_EQ(1, state.stops);
	}
	/* It is over. */
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
}

TEST_F(trackers, unbind_drops_what_was_dirty)
{
	struct mock_state state;

	test_cmd_start(self->fd, SZ_4K);
	member_write(&self->members, 0, MEMBERS_BASE, SZ_4K);
	test_mock_dirty(self->bad, MEMBERS_BASE + SZ_4K, SZ_4K);
	test_cmd_unbind(self->fd, self->bad_id, 0);
	test_mock_state(self->bad, &state);
	EXPECT_EQ(0, state.started);
	EXPECT_EQ(1, state.stops);
	members_read_all(&self->members);
}

TEST_F(trackers, unbind_keep_loses_nothing)
{
	struct model *model = &self->members.model;

	test_cmd_start(self->fd, SZ_4K);
	/* In the tracker, and in its residual. */
	member_write(&self->members, 1, MEMBERS_BASE, SZ_1M);
	test_cmd_harvest(self->fd, 0, MEMBERS_BASE, SZ_64K, NULL);
	member_write(&self->members, 1, MEMBERS_BASE + SZ_2M, SZ_4K);
	test_cmd_unbind(self->fd, self->bad_id, IOMMUFD_DIRTY_UNBIND_KEEP);
	/* Not the other tracker's, but the context's. */
	model_move(model, 1 << 1, MODEL_CONTEXT);
	model_read(model, .fd = self->fd,
		   .tracker_id = self->members.member[0].id, .who = 1 << 0,
		   .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
		   .page_size = SZ_4K);
	members_read_all(&self->members);
	/* It is free for another context, or for this one again. */
	test_cmd_stop(self->fd);
	test_mock_bind(self->bad, self->fd, POLICY_FAIL, NULL);
}

TEST_F(trackers, stats_count)
{
	struct iommufd_dirty_stats stats, whole;

	test_cmd_start(self->fd, SZ_4K);
	test_mock_knob(self->bad, MOCK_KNOB_LATENCY_MS, 20);
	member_write(&self->members, 1, MEMBERS_BASE, SZ_4K);
	members_read_all(&self->members);
	test_mock_knob(self->bad, MOCK_KNOB_LATENCY_MS, 0);
	members_read_all(&self->members);
	test_mock_knob(self->bad, MOCK_KNOB_ERROR, EREMOTEIO);
	test_mock_knob(self->bad, MOCK_KNOB_FAIL_READ, 1);
	ASSERT_EQ(-1, _test_cmd_read(self->fd, 0,
				     IOMMUFD_DIRTY_READ_COUNT_ONLY,
				     MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, NULL,
				     NULL, NULL));

	test_cmd_stats(self->fd, self->bad_id, &stats);
	EXPECT_EQ(3, stats.out_reads);
	EXPECT_EQ(1, stats.out_errors);
	EXPECT_EQ(-EREMOTEIO, stats.out_last_error);
	EXPECT_EQ(1, stats.out_extents);
	EXPECT_LT(0, stats.out_max_read_ns);
	EXPECT_GE(stats.out_max_read_ns, stats.out_last_read_ns);

	test_cmd_stats(self->fd, 0, &whole);
	EXPECT_EQ(3, whole.out_reads);
	EXPECT_EQ(1, whole.out_errors);
	EXPECT_LT(0, whole.out_max_read_ns);
	test_cmd_stats(self->fd, self->members.member[0].id, &stats);
	EXPECT_EQ(0, stats.out_errors);
	EXPECT_EQ(0, stats.out_last_error);
}

TEST_HARNESS_MAIN
