// SPDX-License-Identifier: GPL-2.0
/*
 * Which trackers join a session, when and in which order; and what a context reports
 * of itself.
 */
#include <sys/wait.h>

#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)
#define SLOTS 4

MEMBERS_FIXTURE(session)
MEMBERS_VARIANT(session, mock_1, 1, 0, false);
MEMBERS_VARIANT(session, mixed_2, 1, 1, false);

static int _bind_mock(int mock, int fd, __u32 flags, __u32 policy, __u32 *id)
{
	struct mock_bind bind = {
		.context_fd = fd,
		.flags = flags,
		.policy = policy,
		.cookie = 0x1122334455667788ULL,
	};
	int ret = ioctl(mock, MOCK_BIND, &bind);

	*id = bind.out_tracker_id;
	return ret;
}

TEST_F(session, bound_while_tracking_is_dirty_once)
{
	struct members *members = &self->members;
	struct member *joined = &members->member[members->nr];
	struct mock_state state;
	unsigned int i;
	__u32 status;

	members_write_some(_metadata, members, 16, &self->seed);
	joined->mock = test_mock_create(NULL);
	joined->unit = SZ_4K;
	members->nr++;
	ASSERT_EQ(0, _bind_mock(joined->mock, members->fd, 0, POLICY_FAIL,
				&joined->id));
	test_mock_state(joined->mock, &state);
	EXPECT_EQ(1, state.started);
	EXPECT_EQ(SZ_4K, state.granule);
	model_write(&members->model, 1 << (members->nr - 1), MEMBERS_BASE,
		    MEMBERS_SIZE, SZ_4K);
	status = members_read_all(members);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, status);
	/* Once, and what is written from now on. */
	for (i = 0; i < 4; i++) {
		members_write_some(_metadata, members, 16, &self->seed);
		EXPECT_EQ(0, members_read_all(members));
	}
}

TEST_F(session, bound_while_tracking_and_known_to_be_clean)
{
	struct members *members = &self->members;
	struct member *joined = &members->member[members->nr];
	unsigned int i;

	joined->mock = test_mock_create(NULL);
	joined->unit = SZ_4K;
	members->nr++;
	ASSERT_EQ(0, _bind_mock(joined->mock, members->fd,
				IOMMUFD_DIRTY_BIND_ASSUME_CLEAN, POLICY_FAIL,
				&joined->id));
	for (i = 0; i < 4; i++) {
		members_write_some(_metadata, members, 16, &self->seed);
		EXPECT_EQ(0, members_read_all(members));
	}
}

TEST_F(session, one_that_cannot_join)
{
	struct mock_create create = { .max_span = SZ_4K };
	struct members *members = &self->members;
	struct iommufd_dirty_tracker_info info;
	int mock = test_mock_create(&create);
	__u32 id, nr = 0, status;

	EXPECT_ERRNO(EDOM, _bind_mock(mock, members->fd, 0, POLICY_FAIL, &id));
	EXPECT_ERRNO(EOPNOTSUPP,
		     _bind_mock(mock, members->fd, 2, POLICY_FAIL, &id));
	test_cmd_list(members->fd, NULL, &nr);
	EXPECT_EQ(members->nr, nr);
	members_write_some(_metadata, members, 16, &self->seed);
	EXPECT_EQ(0, members_read_all(members));

	ASSERT_EQ(0, _bind_mock(mock, members->fd, 0, POLICY_IGNORE, &id));
	test_cmd_tracker_info(members->fd, id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_FAILED, info.out_state);
	EXPECT_EQ(-EDOM, info.out_error);
	members_write_some(_metadata, members, 16, &self->seed);
	status = members_read_all(members);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED, status);
	close(mock);
}

TEST_F(session, an_hwpt_joins)
{
	struct members *members = &self->members;

	if (!variant->members.hwpts)
		SKIP(return, "no HWPT in this variant");
	members_write_some(_metadata, members, 16, &self->seed);
	members_add_hwpt(_metadata, members, false);
	model_write(&members->model, 1 << (members->nr - 1), MEMBERS_BASE,
		    MEMBERS_SIZE, SZ_4K);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED,
		  members_read_all(members));
	members_write_some(_metadata, members, 16, &self->seed);
	EXPECT_EQ(0, members_read_all(members));
}

TEST_F(session, cookies_come_back)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bind_untracked bind = {
		.size = sizeof(bind),
		.policy = POLICY_IGNORE,
		.cookie = 4711,
	};
	struct iommufd_dirty_start_result results[MEMBERS_MAX];
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_stats stats;
	int mock = test_mock_create(NULL);
	__u32 id, nr = MEMBERS_MAX;
	char path[64], text[4096];
	__u64 granule;
	FILE *file;
	size_t n;

	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_BIND_UNTRACKED, &bind));
	ASSERT_EQ(0, _bind_mock(mock, members->fd, 0, POLICY_FAIL, &id));
	test_cmd_tracker_info(members->fd, bind.out_tracker_id, &info);
	EXPECT_EQ(4711, info.out_cookie);
	test_cmd_tracker_info(members->fd, id, &info);
	EXPECT_EQ(0x1122334455667788ULL, info.out_cookie);
	test_cmd_stats(members->fd, id, &stats);
	EXPECT_EQ(0x1122334455667788ULL, stats.out_cookie);
	test_cmd_stop(members->fd);
	ASSERT_EQ(0, _test_cmd_start_results(members->fd, 0, SZ_4K, &granule,
					     results, &nr));
	ASSERT_EQ(members->nr + 2, nr);
	EXPECT_EQ(4711, results[nr - 2].cookie);
	EXPECT_EQ(0x1122334455667788ULL, results[nr - 1].cookie);

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", members->fd);
	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = 0;
	fclose(file);
	EXPECT_NE(NULL, strstr(text, "cookie=1122334455667788"));
	close(mock);
}

TEST_F(session, ranges_can_be_read_back)
{
	struct members *members = &self->members;
	struct iommufd_dirty_range ranges[4], added = { 1ULL << 40, SZ_1M };
	struct iommufd_dirty_list_ranges list = {
		.size = sizeof(list),
		.nr_ranges = 4,
		.range_len = sizeof(ranges[0]),
		.ranges_uptr = (uintptr_t)ranges,
	};

	test_cmd_ranges(members->fd, 0, &added, 1);
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_LIST_RANGES, &list));
	ASSERT_EQ(2, list.nr_ranges);
	EXPECT_EQ(MEMBERS_BASE, ranges[0].iova);
	EXPECT_EQ(MEMBERS_SIZE, ranges[0].length);
	EXPECT_EQ(added.iova, ranges[1].iova);
	EXPECT_EQ(added.length, ranges[1].length);

	ranges[1].iova = 0;
	list.nr_ranges = 1;
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_LIST_RANGES, &list));
	EXPECT_EQ(2, list.nr_ranges);
	EXPECT_EQ(0, ranges[1].iova);
	list.range_len = 8;
	EXPECT_ERRNO(EINVAL,
		     ioctl(members->fd, IOMMUFD_DIRTY_LIST_RANGES, &list));
}

/* A confined program has no other way to a second context. */
TEST_F(session, a_context_from_a_context)
{
	struct members *members = &self->members;
	struct iommufd_dirty_new new = { .size = sizeof(new) };
	__u32 nr = 0, id;
	int mock, flags;
	__u64 dirty;

	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_NEW, &new));
	flags = fcntl(new.out_fd, F_GETFD);
	EXPECT_EQ(FD_CLOEXEC, flags);
	test_cmd_list(new.out_fd, NULL, &nr);
	EXPECT_EQ(0, nr);

	/* It is one like any other, and lives by itself. */
	close(members->fd);
	members->fd = -1;
	mock = test_mock_create(NULL);
	test_mock_bind(mock, new.out_fd, POLICY_FAIL, &id);
	test_cmd_range_add(new.out_fd, MEMBERS_BASE, SZ_1M);
	test_cmd_start(new.out_fd, SZ_4K);
	test_mock_dirty(mock, MEMBERS_BASE, SZ_4K);
	test_cmd_count(new.out_fd, 0, MEMBERS_BASE, SZ_1M, NULL, &dirty);
	EXPECT_EQ(1, dirty);
	new.flags = 1;
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(new.out_fd, IOMMUFD_DIRTY_NEW, &new));
	close(new.out_fd);
	close(mock);
}

/* No file descriptor is left behind that nobody knows of. */
TEST_F(session, a_context_that_cannot_be_told)
{
	struct members *members = &self->members;
	struct iommufd_dirty_new *new;
	int before, after;

	before = dup(members->fd);
	ASSERT_NE(-1, before);
	close(before);
	new = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, new);
	new->size = sizeof(*new);
	ASSERT_EQ(0, mprotect(new, SZ_4K, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(members->fd, IOMMUFD_DIRTY_NEW, new));
	after = dup(members->fd);
	EXPECT_EQ(before, after);
	close(after);
	munmap(new, SZ_4K);
}

/* The module has SLOTS slots. Those that must not fail get theirs first. */
TEST(start_begins_with_those_that_must_not_fail)
{
	struct iommufd_dirty_start_result results[2];
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int may = test_mock_create(NULL), must = test_mock_create(NULL);
	struct mock_state state;
	__u64 granule;
	__u32 nr = 2;

	ASSERT_NE(-1, fd);
	test_mock_knob(may, MOCK_KNOB_SLOTS, SLOTS);
	test_mock_knob(must, MOCK_KNOB_SLOTS, SLOTS);
	test_mock_bind(may, fd, POLICY_ALL_DIRTY, NULL);
	test_mock_bind(must, fd, POLICY_FAIL, NULL);
	test_cmd_range_add(fd, MEMBERS_BASE, SZ_1M);
	ASSERT_EQ(0, _test_cmd_start_results(fd, 0, SZ_4K, &granule, results,
					     &nr));
	EXPECT_EQ(-ENOSPC, results[0].error);
	EXPECT_EQ(0, results[1].error);
	test_mock_state(must, &state);
	EXPECT_EQ(1, state.started);
	close(fd);
	close(may);
	close(must);
}

/* fdinfo of a context that is in a READ of a second does not wait for it. */
TEST(fdinfo_does_not_wait)
{
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int mock = test_mock_create(NULL);
	struct mock_state state;
	char path[64], text[4096];
	__u8 bits[64];
	FILE *file;
	int status;
	size_t n;
	pid_t pid;

	ASSERT_NE(-1, fd);
	test_mock_bind(mock, fd, POLICY_FAIL, NULL);
	test_cmd_range_add(fd, MEMBERS_BASE, SZ_1M);
	test_cmd_start(fd, SZ_4K);
	test_mock_knob(mock, MOCK_KNOB_LATENCY_MS, 2000);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid)
		_exit(!!_test_cmd_read(fd, 0, 0, MEMBERS_BASE, SZ_1M, SZ_4K,
				       bits, NULL, NULL));
	do {
		usleep(1000);
		test_mock_state(mock, &state);
	} while (!state.reads);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = 0;
	fclose(file);
	EXPECT_NE(NULL, strstr(text, "busy:\t1\n"));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(fd);
	close(mock);
}

TEST_HARNESS_MAIN
