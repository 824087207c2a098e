// SPDX-License-Identifier: GPL-2.0
/*
 * A migration from one function of mlx5-model to another, in rounds, with each of its
 * allocations and user copies failing in turn.
 */
#include <time.h>

#include "fail_nth.h"
#include "mlx5_migration.h"

FIXTURE(fail_nth)
{
	struct vf from;
	struct vf to;
	char *buffer;
	int nth_fd;
};

FIXTURE_SETUP(fail_nth)
{
	char path[64];

	vf_init(&self->from);
	vf_init(&self->to);
	self->buffer = NULL;
	self->nth_fd = -1;
	if (!have_fault_injection())
		SKIP(return, "fault injection is not enabled in the kernel");
	self->buffer = malloc(MAX_IMAGE);
	ASSERT_NE(NULL, self->buffer);
	/* What it is read into is there. */
	memset(self->buffer, 1, MAX_IMAGE);
	vf_open_pair(_metadata, &self->from, &self->to);
	snprintf(path, sizeof(path), "/proc/self/task/%u/fail-nth", getpid());
	self->nth_fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->nth_fd);
}

FIXTURE_TEARDOWN(fail_nth)
{
	vf_close(&self->from);
	vf_close(&self->to);
	if (self->nth_fd != -1)
		close(self->nth_fd);
	free(self->buffer);
}

/* Returns how the stream ended: 0, or the error. */
static int carry(char *buffer, int out, int in)
{
	ssize_t got, put, done;

	for (;;) {
		got = read(out, buffer, MAX_IMAGE);
		if (got <= 0)
			return got ? -errno : 0;
		for (done = 0; done < got; done += put) {
			put = write(in, buffer + done, got - done);
			if (put <= 0)
				return put ? -errno : -EIO;
		}
	}
}

/* Both functions run in the end, if it was done. */
static int migrate(struct vf *from, struct vf *to, char *buffer)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	int in, out = -1, err;

	in = set_state(to, VFIO_DEVICE_STATE_RESUMING);
	if (in < 0)
		return in;
	out = set_state(from, VFIO_DEVICE_STATE_PRE_COPY);
	err = out < 0 ? out : carry(buffer, out, in);
	if (err == -ENOMSG) {
		engine_prepare(from->engine, IOVA, 3 * SZ_4K);
		err = ioctl(out, VFIO_MIG_GET_PRECOPY_INFO, &info) ? -errno : 0;
		if (!err)
			err = carry(buffer, out, in);
	}
	if (err == -ENOMSG)
		err = set_state(from, VFIO_DEVICE_STATE_STOP_COPY);
	if (!err)
		err = carry(buffer, out, in);
	if (!err)
		err = set_state(to, VFIO_DEVICE_STATE_RUNNING);
	if (!err)
		err = set_state(from, VFIO_DEVICE_STATE_RUNNING);
	if (out >= 0)
		close(out);
	close(in);
	return err;
}

/* As another user would find them. */
#define restart()								\
	do {									\
		ASSERT_EQ(0, ioctl(self->from.device, VFIO_DEVICE_RESET));	\
		ASSERT_EQ(0, ioctl(self->to.device, VFIO_DEVICE_RESET));	\
		ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&self->from));	\
		ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&self->to));	\
		engine_prepare(self->from.engine, IOVA, SZ_4K);			\
	} while (0)

/* One that fails says so, and the next one works. */
TEST_F_TIMEOUT(fail_nth, migration, 1200)
{
	unsigned int n = 0, failed = 0;
	bool more;
	int err;

	do {
		ASSERT_GT(5000, ++n);
		restart();
		arm(_metadata, self->nth_fd, n);
		err = migrate(&self->from, &self->to, self->buffer);
		more = fired(_metadata, self->nth_fd);
		if (!err) {
			ASSERT_EQ(3 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
			continue;
		}
		failed++;
		ASSERT_TRUE(more && (err == -ENOMEM || err == -EFAULT || err == -EIO))
		{
			TH_LOG("fault %u: %s", n, strerror(-err));
		}
		if (n % 16)
			continue;
		restart();
		ASSERT_EQ(0, migrate(&self->from, &self->to, self->buffer));
		ASSERT_EQ(3 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
	} while (more);
	TH_LOG("%u faults, %u of them broke it off", n - 1, failed);
	EXPECT_LT(10, failed);
}

TEST_HARNESS_MAIN
