// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of a virtual function of mlx5-model when the firmware refuses a
 * command, or takes its time. Needs the model's control socket.
 */
#include <pthread.h>
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
	if (self->ours) {
		/* mlx5-vfio-pci does not wait for it. */
		refused(SAVE_VHCA_STATE, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY);
		ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	}
	refused(RESUME_VHCA, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING_P2P);
	refused(RESUME_VHCA, VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_RUNNING);
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
		ASSERT_TRUE(control_do(self->control, "refuse %x %x 1", opcodes[i],
				       STATUS_BAD_PARAM));
		ASSERT_EQ(-1, write(fd, self->image, len));
		ASSERT_EQ(-1, write(fd, self->image, len));
		ASSERT_EQ(ENODEV, errno);
		if (self->ours)
			ASSERT_EQ(-EINVAL, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
		ASSERT_EQ(0, close(fd));
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

/* It has locks that must not wait: who changes the state sees to it at the end. */
TEST_F(migration_faults, a_reset_while_the_state_is_saved)
{
	struct call call = { .device = self->vf.device };
	pthread_t thread;
	__u64 saved;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci does not wait for the firmware here");
	ASSERT_EQ(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP));
	ASSERT_TRUE(control_do(self->control, "slow %x %x 1", SAVE_VHCA_STATE, SLOW));
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset, &call));
	/* The firmware does it in the end, when the function is not stopped any more. */
	ASSERT_GT(0, set_state(&self->vf, VFIO_DEVICE_STATE_STOP_COPY));
	saved = now();
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, call.err);
	/* The reset did not wait for it. */
	ASSERT_LE(call.ended, saved);
	ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&self->vf));
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
