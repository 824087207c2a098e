// SPDX-License-Identifier: GPL-2.0
/*
 * What may go away during what: trackers during a READ, contexts while tracking,
 * file descriptors in other processes, modules while they are used.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "members.h"
#include "modules.h"

#define IOVA MEMBERS_BASE
#define LENGTH SZ_1M

FIXTURE(lifetime)
{
	int fd;
	int mock;
	__u32 id;
};

FIXTURE_SETUP(lifetime)
{
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	self->mock = test_mock_create(NULL);
	test_mock_bind(self->mock, self->fd, POLICY_FAIL, &self->id);
	test_cmd_range_add(self->fd, IOVA, LENGTH);
	test_cmd_start(self->fd, SZ_4K);
}

FIXTURE_TEARDOWN(lifetime)
{
	close(self->fd);
	close(self->mock);
}

static __u64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* A READ in a thread of its own. */
struct reader {
	pthread_t thread;
	int fd;
	int ret;
	int error;
	__u64 ended_ms;
	__u8 bits[LENGTH / SZ_4K / 8];
};

static void *reader_run(void *data)
{
	struct reader *reader = data;

	reader->ret = _test_cmd_read(reader->fd, 0, 0, IOVA, LENGTH, SZ_4K,
				     reader->bits, NULL, NULL);
	reader->error = errno;
	reader->ended_ms = now_ms();
	return NULL;
}

/* Returns when the mock is inside of its read, which takes a second. */
static void reader_start(struct __test_metadata *_metadata,
			 struct reader *reader, int fd, int mock)
{
	struct mock_state before, now;

	test_mock_dirty(mock, IOVA, SZ_4K);
	test_mock_knob(mock, MOCK_KNOB_LATENCY_MS, 1000);
	test_mock_state(mock, &before);
	*reader = (struct reader){ .fd = fd };
	ASSERT_EQ(0, pthread_create(&reader->thread, NULL, reader_run, reader));
	do {
		usleep(1000);
		test_mock_state(mock, &now);
	} while (now.reads == before.reads);
}

static void reader_join(struct __test_metadata *_metadata,
			struct reader *reader)
{
	ASSERT_EQ(0, pthread_join(reader->thread, NULL));
}

TEST_F(lifetime, unregister_waits_for_a_read_under_way)
{
	struct iommufd_dirty_tracker_info info;
	struct reader reader;

	reader_start(_metadata, &reader, self->fd, self->mock);
	test_mock_unregister(self->mock);
	reader_join(_metadata, &reader);

	/* It was complete, what comes later is not. */
	EXPECT_EQ(0, reader.ret);
	EXPECT_EQ(1, reader.bits[0]);
	test_err_read(ESHUTDOWN, self->fd, 0, 0, IOVA, LENGTH, SZ_4K,
		      reader.bits);
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_GONE, info.out_state);
	test_cmd_stop(self->fd);
	test_cmd_unbind(self->fd, self->id, 0);
}

TEST_F(lifetime, device_closed_during_a_read)
{
	struct reader reader;

	reader_start(_metadata, &reader, self->fd, self->mock);
	close(self->mock);
	self->mock = -1;
	reader_join(_metadata, &reader);
	EXPECT_EQ(0, reader.ret);
	EXPECT_EQ(1, reader.bits[0]);
}

TEST_F(lifetime, stop_waits_for_a_read_under_way)
{
	struct mock_state state;
	struct reader reader;

	reader_start(_metadata, &reader, self->fd, self->mock);
	test_cmd_stop(self->fd);
	test_mock_state(self->mock, &state);
	EXPECT_EQ(0, state.started);
	reader_join(_metadata, &reader);
	EXPECT_EQ(0, reader.ret);
	EXPECT_EQ(1, reader.bits[0]);
}

TEST_F(lifetime, lost_during_a_read)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLPRI };
	struct reader reader;

	/* From any context: it cannot wait for the READ. */
	reader_start(_metadata, &reader, self->fd, self->mock);
	test_mock_knob(self->mock, MOCK_KNOB_LOSE, EIO);
	EXPECT_EQ(1, poll(&pollfd, 1, 5000));
	EXPECT_EQ(POLLPRI, pollfd.revents);
	reader_join(_metadata, &reader);
	test_err_read(EIO, self->fd, 0, 0, IOVA, LENGTH, SZ_4K, reader.bits);
}

TEST_F(lifetime, close_while_tracking_stops)
{
	struct mock_state state;
	int other = open(DEV_PATH, O_RDWR | O_CLOEXEC);

	ASSERT_NE(-1, other);
	test_mock_dirty(self->mock, IOVA, SZ_4K);
	close(self->fd);
	self->fd = other;
	test_mock_state(self->mock, &state);
	EXPECT_EQ(0, state.started);
	EXPECT_EQ(1, state.stops);
	/* The tracker is free. */
	test_mock_bind(self->mock, other, POLICY_FAIL, NULL);
	test_cmd_range_add(other, IOVA, LENGTH);
	test_cmd_start(other, SZ_4K);
	test_mock_state(self->mock, &state);
	EXPECT_EQ(0, state.dirty);
}

TEST_F(lifetime, forked_child_shares_the_context)
{
	__u8 bits[LENGTH / SZ_4K / 8] = {};
	int status;
	pid_t pid;

	test_mock_dirty(self->mock, IOVA, SZ_4K);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		/* The child's memory is written, not that of the opener. */
		if (_test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits,
				   NULL, NULL))
			_exit(1);
		_exit(bits[0] == 1 ? 0 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, bits[0]);

	/* Its exit did not end the session; what it read is read. */
	test_mock_dirty(self->mock, IOVA + 2 * SZ_4K, SZ_4K);
	test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits, NULL, NULL);
	EXPECT_EQ(4, bits[0]);
}

TEST_F(lifetime, context_outlives_its_opener)
{
	__u8 bits[LENGTH / SZ_4K / 8] = {};
	struct mock_state state;
	int go[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	test_mock_dirty(self->mock, IOVA, SZ_4K);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		close(go[1]);
		/* Until the opener has closed its descriptor. */
		if (read(go[0], &byte, 1) < 0 ||
		    _test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits,
				   NULL, NULL))
			_exit(1);
		_exit(bits[0] == 1 ? 0 : 2);
	}
	close(self->fd);
	self->fd = -1;
	close(go[0]);
	test_mock_state(self->mock, &state);
	EXPECT_EQ(1, state.started);
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The last one is gone. */
	test_mock_state(self->mock, &state);
	EXPECT_EQ(0, state.started);
}

TEST_F(lifetime, reader_killed_during_a_read)
{
	__u8 bits[LENGTH / SZ_4K / 8];
	struct mock_state state;
	int status;
	pid_t pid;

	test_mock_knob(self->mock, MOCK_KNOB_LATENCY_MS, 300);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		for (;;)
			_test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K,
				       bits, NULL, NULL);
	}
	close(self->fd);
	self->fd = -1;
	usleep(100000);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	test_mock_state(self->mock, &state);
	EXPECT_EQ(0, state.started);
	EXPECT_EQ(1, state.stops);
}

/* Send @fd over @sock, and receive it. */
static int send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

TEST_F(lifetime, context_passed_to_another_process)
{
	int sock[2], status, other, fd;
	struct mock_state state;
	pid_t pid;

	/* Forked before the context is opened: it has no other way to it. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		__u8 bits[LENGTH / SZ_4K / 8] = {};

		fd = receive_fd(sock[1]);
		if (fd == -1 || _test_cmd_read(fd, 0, 0, IOVA, LENGTH, SZ_4K,
					       bits, NULL, NULL))
			_exit(1);
		_exit(bits[0] == 1 ? 0 : 2);
	}
	other = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, other);
	test_cmd_unbind(self->fd, self->id, 0);
	test_mock_bind(self->mock, other, POLICY_FAIL, NULL);
	test_cmd_range_add(other, IOVA, LENGTH);
	test_cmd_start(other, SZ_4K);
	test_mock_dirty(self->mock, IOVA, SZ_4K);
	ASSERT_EQ(0, send_fd(sock[0], other));
	close(other);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	test_mock_state(self->mock, &state);
	EXPECT_EQ(0, state.started);
	close(sock[0]);
	close(sock[1]);
}

TEST_F(lifetime, reads_of_two_contexts_do_not_wait_for_each_other)
{
	int other = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int mock = test_mock_create(NULL);
	__u8 bits[LENGTH / SZ_4K / 8];
	struct reader reader;
	__u64 before;

	ASSERT_NE(-1, other);
	test_mock_bind(mock, other, POLICY_FAIL, NULL);
	test_cmd_range_add(other, IOVA, LENGTH);
	test_cmd_start(other, SZ_4K);
	reader_start(_metadata, &reader, self->fd, self->mock);
	test_cmd_read(other, 0, 0, IOVA, LENGTH, SZ_4K, bits, NULL, NULL);
	before = now_ms();
	reader_join(_metadata, &reader);
	EXPECT_LT(before, reader.ended_ms);
	close(other);
	close(mock);
}

TEST_F(lifetime, trackers_that_wait_are_read_side_by_side)
{
	struct mock_create create = { .caps = MOCK_CAP_WAITS };
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	__u8 bits[LENGTH / SZ_4K / 8] = {};
	unsigned int i, n = 8;
	__u64 began, took;
	int mocks[8];

	ASSERT_NE(-1, fd);
	for (i = 0; i < n; i++) {
		mocks[i] = test_mock_create(&create);
		test_mock_bind(mocks[i], fd, POLICY_FAIL, NULL);
		test_mock_knob(mocks[i], MOCK_KNOB_LATENCY_MS, 2000);
	}
	test_cmd_range_add(fd, IOVA, LENGTH);
	test_cmd_start(fd, SZ_4K);
	for (i = 0; i < n; i++)
		test_mock_dirty(mocks[i], IOVA + i * SZ_4K, SZ_4K);
	began = now_ms();
	test_cmd_read(fd, 0, 0, IOVA, LENGTH, SZ_4K, bits, NULL, NULL);
	took = now_ms() - began;
	EXPECT_EQ(0xff, bits[0]);
	/* One after the other it would be 16000. */
	EXPECT_GT(12000, took);
	close(fd);
	for (i = 0; i < n; i++)
		close(mocks[i]);
}

TEST_F(lifetime, modules_stay_while_they_are_used)
{
	struct iommufd_dirty_tracker_info info;
	int fd;

	if (!have_modules())
		SKIP(return, NO_MODULES);

	/* The owner's module stays while its tracker is bound, even if gone. */
	close(self->mock);
	self->mock = -1;
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_GONE, info.out_state);
	EXPECT_ERRNO(EWOULDBLOCK, remove_module("iommufd_dirty_mock"));
	test_cmd_unbind(self->fd, self->id, 0);
	ASSERT_EQ(0, remove_module("iommufd_dirty_mock"));
	test_cmd_stop(self->fd);

	/* Nobody depends on it now but the open context. */
	remove_module("iommufd_dirty_vfio");
	EXPECT_ERRNO(EWOULDBLOCK, remove_module("iommufd_dirty"));
	close(self->fd);
	self->fd = -1;
	ASSERT_EQ(0, remove_module("iommufd_dirty"));
	EXPECT_ERRNO(ENOENT, open(DEV_PATH, O_RDWR));

	/* For the tests that follow. */
	ASSERT_EQ(0, load_modules(""));
	fd = open(DEV_PATH, O_RDWR);
	EXPECT_NE(-1, fd);
	close(fd);
}

TEST_HARNESS_MAIN
