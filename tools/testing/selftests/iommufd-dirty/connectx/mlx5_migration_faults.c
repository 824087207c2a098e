// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of a virtual function of mlx5-model when the firmware refuses a
 * command, or takes its time. Needs the model's control socket.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "mlx5_control.h"
#include "mlx5_migration.h"

/* Opcodes of commands, as the control socket takes them. */
#define CREATE_MKEY 0x200
#define ALLOC_PD 0x800
#define SUSPEND_VHCA 0x115
#define RESUME_VHCA 0x116
#define QUERY_VHCA_MIGRATION_STATE 0x117
#define SAVE_VHCA_STATE 0x118
#define LOAD_VHCA_STATE 0x119

/* How long the firmware takes when it is slow, in ms. */
#define SLOW 4000
/* Milliseconds that are enough for anything that does not wait for the firmware. */
#define BOUND 30000

FIXTURE(migration_faults)
{
	struct vf vf;
	int control;
	bool ours;
	char *image;
};

FIXTURE_SETUP(migration_faults)
{
	self->ours = !strcmp(getenv("DRIVER") ?: "", "vfio_mlx5");
	vf_init(&self->vf);
	self->image = malloc(MAX_IMAGE);
	ASSERT_NE(NULL, self->image);
	self->control = control_open();
	ASSERT_NE(-1, self->control) TH_LOG(NO_CONTROL);
	ASSERT_TRUE(control_do(self->control, "forget"));
	vf_open(_metadata, &self->vf, 0);
}

FIXTURE_TEARDOWN(migration_faults)
{
	control_do(self->control, "forget");
	close(self->control);
	vf_close(&self->vf);
	free(self->image);
}

/* In ms. */
static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* One step that the firmware refuses once: the state stays, and may change later. */
#define refused(opcode, from, to)						\
	do {									\
		int fd;								\
										\
		ASSERT_TRUE(control_do(self->control, "refuse %x %x 1",	\
				       opcode, STATUS_BAD_PARAM));		\
		ASSERT_GT(0, set_state(&self->vf, to));				\
		ASSERT_EQ(from, mig_state(&self->vf));				\
		fd = set_state(&self->vf, to);					\
		ASSERT_LE(0, fd);						\
		if (fd)								\
			ASSERT_EQ(0, close(fd));				\
	} while (0)

TEST_F(migration_faults, a_refused_step_changes_nothing)
{
	refused(SUSPEND_VHCA, VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING_P2P);
	refused(SUSPEND_VHCA, VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_STOP);
	refused(QUERY_VHCA_MIGRATION_STATE, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	refused(ALLOC_PD, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	refused(CREATE_MKEY, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	refused(RESUME_VHCA, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING_P2P);
	refused(RESUME_VHCA, VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_RUNNING);
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_4K));
}

static int get_info(int fd, struct vfio_precopy_info *info)
{
	*info = (struct vfio_precopy_info){ .argsz = sizeof(*info) };
	return ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, info) ? -errno : 0;
}

TEST_F(migration_faults, a_refused_step_of_a_function_that_runs)
{
	struct vfio_precopy_info info;
	int fd, len = 0;

	refused(ALLOC_PD, VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	refused(CREATE_MKEY, VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	refused(QUERY_VHCA_MIGRATION_STATE, VFIO_DEVICE_STATE_RUNNING,
		VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));

	fd = set_state(&self->vf, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, get_info(fd, &info));
	ASSERT_TRUE(control_do(self->control, "refuse %x %x 1", QUERY_VHCA_MIGRATION_STATE,
			       STATUS_BAD_PARAM));
	ASSERT_GT(0, get_info(fd, &info));
	ASSERT_EQ(0, get_info(fd, &info));
	refused(SUSPEND_VHCA, VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P);
	refused(RESUME_VHCA, VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_4K));
	if (self->ours) {
		/* mlx5-vfio-pci has ended the stream by then. */
		refused(SAVE_VHCA_STATE, VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING);
		ASSERT_EQ(0, close(fd));
		fd = set_state(&self->vf, VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_LT(0, fd);

		/* It is stopped by then, and mlx5-vfio-pci leaves it so. */
		ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_PRE_COPY_P2P));
		refused(QUERY_VHCA_MIGRATION_STATE, VFIO_DEVICE_STATE_PRE_COPY_P2P,
			VFIO_DEVICE_STATE_STOP_COPY);
		len = read_image(fd, self->image);
		ASSERT_LT(0, len);
	}
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_4K));
	ASSERT_EQ(0, close(fd));
	if (!self->ours)
		return;
	fd = resume(&self->vf);
	ASSERT_EQ(len, write(fd, self->image, len));
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
}

/* It goes on by itself, and back, when the firmware did not let it go on at once. */
TEST_F(migration_faults, a_function_that_stays_stopped)
{
	static const __u32 ways[] = { VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING_P2P };
	struct vfio_precopy_info info;
	unsigned int i;
	int fd;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci does not know that it is stopped");
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		fd = set_state(&self->vf, VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_LT(0, fd);
		ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_PRE_COPY_P2P));
		ASSERT_TRUE(control_do(self->control, "refuse %x %x 1",
				       QUERY_VHCA_MIGRATION_STATE, STATUS_BAD_PARAM));
		ASSERT_TRUE(control_do(self->control, "refuse %x %x 1", RESUME_VHCA,
				       STATUS_BAD_PARAM));
		ASSERT_GT(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP_COPY));
		ASSERT_EQ(VFIO_DEVICE_STATE_PRE_COPY_P2P, mig_state(&self->vf));
		ASSERT_EQ(0, set_state(&self->vf, ways[i]));
		if (ways[i] == VFIO_DEVICE_STATE_PRE_COPY) {
			/* Of what is stopped nothing could be saved now. */
			ASSERT_EQ(-1, read_image(fd, self->image));
			ASSERT_EQ(ENOMSG, errno);
			engine_prepare(self->vf.engine, IOVA, (7 + i) * SZ_4K);
			ASSERT_EQ(0, get_info(fd, &info));
			ASSERT_LT(0, info.dirty_bytes);
			ASSERT_LT(0, read(fd, self->image, 1));
		}
		ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
		ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_4K));
		ASSERT_EQ(0, close(fd));
	}
}

/* Whoever waits for a save that does not end can be killed, and nothing has changed. */
TEST_F(migration_faults, a_save_that_does_not_end)
{
	struct vfio_precopy_info info;
	int fd, what, status;
	char byte[64];
	__u64 began;
	pid_t pid;

	for (what = 0; what < 3; what++) {
		ASSERT_TRUE(control_do(self->control, "swallow %x 1", SAVE_VHCA_STATE));
		fd = set_state(&self->vf, VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_LT(0, fd);
		pid = fork();
		ASSERT_NE(-1, pid);
		if (!pid) {
			if (what == 0)
				set_state(&self->vf, VFIO_DEVICE_STATE_STOP);
			else if (what == 1)
				get_info(fd, &info);
			else
				while (read(fd, byte, sizeof(byte)) > 0)
					continue;
			_exit(0);
		}
		usleep(300000);
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		began = now();
		while (!waitpid(pid, &status, WNOHANG)) {
			ASSERT_GT(BOUND, now() - began);
			usleep(1000);
		}
		ASSERT_TRUE(WIFSIGNALED(status));
		ASSERT_EQ(VFIO_DEVICE_STATE_PRE_COPY, mig_state(&self->vf));
		ASSERT_TRUE(control_do(self->control, "forget"));
		ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
		ASSERT_EQ(0, close(fd));
	}
}

/* Nothing waits for it but who reads. */
TEST_F(migration_faults, a_state_that_is_not_saved)
{
	struct pollfd polled = { .events = POLLIN | POLLRDHUP };
	int fd;

	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	ASSERT_TRUE(control_do(self->control, "refuse %x %x 1", SAVE_VHCA_STATE,
			       STATUS_BAD_PARAM));
	fd = set_state(&self->vf, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(-1, read_image(fd, self->image));
	if (self->ours) {
		/* What the firmware says. */
		ASSERT_EQ(EINVAL, errno);
	}
	polled.fd = fd;
	ASSERT_EQ(1, poll(&polled, 1, 0));
	ASSERT_EQ(POLLIN | POLLRDHUP, polled.revents);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(-1, read_image(fd, self->image));
	ASSERT_EQ(ENODEV, errno);
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_4K));
}

TEST_F(migration_faults, a_state_that_is_not_loaded)
{
	static const int opcodes[] = { LOAD_VHCA_STATE, CREATE_MKEY };
	unsigned int i;
	ssize_t len;
	int fd;

	len = save(&self->vf);
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		fd = resume(&self->vf);
		/* Ours tries it beforehand, and again. */
		ASSERT_TRUE(control_do(self->control, "refuse %x %x 2", opcodes[i],
				       STATUS_BAD_PARAM));
		ASSERT_EQ(-1, write(fd, self->image, len));
		ASSERT_EQ(-1, write(fd, self->image, len));
		ASSERT_EQ(ENODEV, errno);
		if (self->ours)
			ASSERT_EQ(-EINVAL, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
		ASSERT_EQ(0, close(fd));
		ASSERT_TRUE(control_do(self->control, "forget"));
		ASSERT_EQ(0, ioctl(self->vf.device, VFIO_DEVICE_RESET));
	}
	fd = resume(&self->vf);
	ASSERT_EQ(len, write(fd, self->image, len));
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
}

struct call {
	int device;
	int err;
	__u64 ended;
};

static void *reset(void *arg)
{
	struct call *call = arg;

	usleep(SLOW / 4 * 1000);
	call->err = ioctl(call->device, VFIO_DEVICE_RESET);
	call->ended = now();
	return NULL;
}

/* It has locks that must not wait. Whoever reads is told. */
TEST_F(migration_faults, a_reset_while_the_state_is_saved)
{
	struct call call = { .device = self->vf.device };
	pthread_t thread;
	__u64 saved;
	int fd;

	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	ASSERT_TRUE(control_do(self->control, "slow %x %x 1", SAVE_VHCA_STATE, SLOW));
	fd = set_state(&self->vf, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset, &call));
	ASSERT_EQ(-1, read_image(fd, self->image));
	ASSERT_EQ(ENODEV, errno);
	ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&self->vf));
	/* The firmware does it in the end. Until then it does nothing else. */
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING_P2P));
	saved = now();
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, call.err);
	/* The reset did not wait for it. */
	if (self->ours)
		ASSERT_LE(call.ended, saved);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
}

static void *report(void *arg)
{
	static __u64 bitmap[SIZE / SZ_4K / 64];
	struct vfio_device_feature_dma_logging_report report = {
		.iova = IOVA,
		.length = SIZE,
		.page_size = SZ_4K,
		.bitmap = (uintptr_t)bitmap,
	};
	struct call *call = arg;

	call->err = vf_feature(call->device,
			       VFIO_DEVICE_FEATURE_GET |
			       VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			       &report, sizeof(report));
	call->ended = now();
	return NULL;
}

TEST_F(migration_faults, a_report_does_not_keep_the_state)
{
	struct vfio_device_feature_dma_logging_range whole = { .iova = IOVA, .length = SIZE };
	struct vfio_device_feature_dma_logging_control start = {
		.page_size = SZ_4K,
		.num_ranges = 1,
		.ranges = (uintptr_t)&whole,
	};
	struct call call = { .device = self->vf.device };
	pthread_t thread;
	__u64 changed;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci has one lock for the two");
	ASSERT_EQ(0, vf_feature(self->vf.device,
				VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				&start, sizeof(start)));
	ASSERT_TRUE(control_do(self->control, "report-delay %x", SLOW));
	ASSERT_EQ(0, pthread_create(&thread, NULL, report, &call));
	usleep(500000);
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_RUNNING));
	changed = now();
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, call.err);
	/* It was under way all the time. */
	ASSERT_LE(changed, call.ended);
}

TEST_HARNESS_MAIN
