// SPDX-License-Identifier: GPL-2.0
/*
 * Migration by VFIO's own interface, from one virtual function of mlx5-model to
 * another: the engine's registers are the state that a test can see.
 */
#include "mlx5.h"

#define MAX_IMAGE 0x100000

FIXTURE(migration)
{
	struct vf from;
	struct vf to;
	char *image;
};

FIXTURE_SETUP(migration)
{
	vf_init(&self->from);
	vf_init(&self->to);
	self->image = malloc(MAX_IMAGE);
	ASSERT_NE(NULL, self->image);
	vf_open(_metadata, &self->from, 0);
	vf_open(_metadata, &self->to, 1);
}

FIXTURE_TEARDOWN(migration)
{
	vf_close(&self->from);
	vf_close(&self->to);
	free(self->image);
}

/* Returns 0, or the file descriptor that comes with the state. */
static int set_state(struct vf *vf, __u32 state)
{
	struct vfio_device_feature_mig_state mig = { .device_state = state, .data_fd = -1 };
	int err = vf_feature(vf->device,
			     VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			     &mig, sizeof(mig));

	if (err)
		return err;
	return mig.data_fd == -1 ? 0 : mig.data_fd;
}

/* Returns the length, or -1. */
static ssize_t read_image(int fd, char *image)
{
	ssize_t got, len = 0;

	while ((got = read(fd, image + len, MAX_IMAGE - len)) > 0)
		len += got;
	return got ? -1 : len;
}

static int write_image(int fd, const char *image, ssize_t len)
{
	ssize_t put, done;

	for (done = 0; done < len; done += put) {
		put = write(fd, image + done, len - done);
		if (put <= 0)
			return -1;
	}
	return 0;
}

/* Takes the state of a function that runs, and leaves it stopped. */
#define save(vf)								\
	({									\
		ssize_t len;							\
		int fd;								\
										\
		ASSERT_EQ(0, set_state(vf, VFIO_DEVICE_STATE_STOP));		\
		fd = set_state(vf, VFIO_DEVICE_STATE_STOP_COPY);		\
		ASSERT_LT(0, fd);						\
		len = read_image(fd, self->image);				\
		ASSERT_LT(0, len);						\
		ASSERT_EQ(0, close(fd));					\
		ASSERT_EQ(0, set_state(vf, VFIO_DEVICE_STATE_STOP));		\
		len;								\
	})

TEST_F(migration, a_function_goes_on_elsewhere)
{
	__u8 *engine = self->from.engine;
	ssize_t len;
	int fd;

	engine_prepare(engine, IOVA + SZ_4K, 2 * SZ_4K);
	len = save(&self->from);

	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_STOP));
	fd = set_state(&self->to, VFIO_DEVICE_STATE_RESUMING);
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, write_image(fd, self->image, len));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));

	/* It knows what it was told before, and has another memory. */
	ASSERT_EQ(2 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
	ASSERT_EQ(0, engine_go(self->to.engine, ENGINE_FILL));
	ASSERT_EQ(0x5a, self->to.memory[SZ_4K]);
	ASSERT_EQ(0x5a, self->to.memory[3 * SZ_4K - 1]);
	ASSERT_EQ(0, self->to.memory[3 * SZ_4K]);
	ASSERT_EQ(0, self->from.memory[SZ_4K]);
}

TEST_F(migration, a_stopped_function_writes_nothing)
{
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	ASSERT_EQ(1, engine_go(self->from.engine, ENGINE_FILL));
	ASSERT_EQ(0, self->from.memory[0]);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, engine_go(self->from.engine, ENGINE_FILL));
	ASSERT_EQ(0x5a, self->from.memory[0]);
}

TEST_F(migration, a_damaged_image_is_refused)
{
	ssize_t len;
	int fd;

	len = save(&self->from);
	/* Behind the driver's own headers: the firmware's part. */
	self->image[len - 1] ^= 0xff;
	memset(self->image + len / 2, 0xff, len / 4);

	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_STOP));
	fd = set_state(&self->to, VFIO_DEVICE_STATE_RESUMING);
	ASSERT_LT(0, fd);
	ASSERT_EQ(-1, write_image(fd, self->image, len));
	ASSERT_EQ(0, close(fd));
}

/* What it wrote while its state was saved in rounds is in the log. */
TEST_F(migration, pre_copy)
{
	struct vfio_device_feature_dma_logging_range whole = { .iova = IOVA, .length = SIZE };
	struct vfio_device_feature_dma_logging_control start = {
		.page_size = SZ_4K,
		.num_ranges = 1,
		.ranges = (uintptr_t)&whole,
	};
	static __u64 bitmap[SIZE / SZ_4K / 64];
	struct vfio_device_feature_dma_logging_report report = {
		.iova = IOVA,
		.length = SIZE,
		.page_size = SZ_4K,
		.bitmap = (uintptr_t)bitmap,
	};
	ssize_t len;
	int fd, out;

	ASSERT_EQ(0, vf_feature(self->from.device,
				VFIO_DEVICE_FEATURE_SET |
				VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				&start, sizeof(start)));
	out = set_state(&self->from, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_LT(0, out);
	ASSERT_EQ(0, engine_fill(self->from.engine, IOVA + 70 * SZ_4K, SZ_4K));
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY));
	len = read_image(out, self->image);
	ASSERT_LT(0, len);
	ASSERT_EQ(0, vf_feature(self->from.device,
				VFIO_DEVICE_FEATURE_GET |
				VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
				&report, sizeof(report)));
	ASSERT_EQ(0, bitmap[0]);
	ASSERT_EQ(1ULL << 6, bitmap[1]);
	ASSERT_EQ(0, close(out));

	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_STOP));
	fd = set_state(&self->to, VFIO_DEVICE_STATE_RESUMING);
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, write_image(fd, self->image, len));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
}

TEST_HARNESS_MAIN
