// SPDX-License-Identifier: GPL-2.0
/*
 * Migration by VFIO's own interface, from one virtual function of mlx5-model to
 * another: the engine's registers are the state that a test can see.
 */
#include "mlx5_migration.h"

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

/* Whose firmware has no page tracker. It migrates nevertheless, as the others here show. */
TEST_F(migration, without_a_page_tracker)
{
	struct vfio_device_feature_dma_logging_control start = { .page_size = SZ_4K };

	if (!getenv("UNTRACKED"))
		SKIP(return, "the firmware has a page tracker");
	EXPECT_EQ(-1, _vfio_dirty_probe(self->from.device));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-ENOTTY, vf_feature(self->from.device,
				      VFIO_DEVICE_FEATURE_SET |
				      VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				      &start, sizeof(start)));
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
	struct vfio_device_feature_migration mig = {};
	ssize_t len;
	int fd, out;

	ASSERT_EQ(0, vf_feature(self->from.device,
				VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION,
				&mig, sizeof(mig)));
	if (!(mig.flags & VFIO_MIGRATION_PRE_COPY))
		SKIP(return, "the driver saves the state of a stopped function only");
	if (getenv("UNTRACKED"))
		SKIP(return, "the firmware has no page tracker");
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
