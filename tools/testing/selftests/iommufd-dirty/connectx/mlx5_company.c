// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual functions of mlx5-model in a context with others.
 */
#include "emulated.h"
#include "mlx5_tracker.h"

TEST_F(tracker, two_functions_in_a_context)
{
	unsigned int i, n;
	__u32 ids[2] = { self->id };
	struct vf other, *vfs[2] = { &self->vf, &other };

	vf_init(&other);
	vf_join(_metadata, &other, 1, &self->vf);
	test_vfio_dirty_bind(other.device, self->fd, POLICY_FAIL, &ids[1]);
	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(2, trackers());
	for (i = 0; i < 30; i++) {
		for (n = 0; n < 8; n++) {
			__u64 len = 1 + next_random(&self->seed) % SZ_64K;
			__u64 at = IOVA + next_random(&self->seed) % (SIZE - len);

			dma_write(vfs[n % 2], &self->model, 1 << n % 2, at, len, SZ_4K);
		}
		n = i % 3;
		model_read(&self->model, .fd = self->fd, .who = n == 2 ? MODEL_ALL : 1 << n,
			   .tracker_id = n == 2 ? 0 : ids[n], .iova = IOVA, .length = SIZE,
			   .page_size = SZ_4K);
	}
	read_all();
	vf_close(&other);
}

/* The firmware has two trackers for three functions. */
TEST_F(tracker, no_slot_is_left)
{
	struct iommufd_dirty_start_result result[3];
	struct vf others[2];
	__u32 ids[2];
	unsigned int i;
	__u64 granule;

	for (i = 0; i < 2; i++) {
		vf_init(&others[i]);
		vf_join(_metadata, &others[i], 1 + i, &self->vf);
		test_vfio_dirty_bind(others[i].device, self->fd, POLICY_FAIL, &ids[i]);
	}
	test_cmd_range_add(self->fd, IOVA, SIZE / 2);
	ASSERT_EQ(-1, start_results(self->fd, 0, SZ_4K, result, &granule));
	if (is_our_driver()) {
		EXPECT_EQ(ENOSPC, errno);
		EXPECT_EQ(-ENOSPC, result[2].error);
	}
	EXPECT_EQ(0, result[1].error);
	EXPECT_EQ(0, trackers());

	/* The third has to be stopped early, then. */
	test_cmd_set_policy(self->fd, ids[1], POLICY_IGNORE);
	ASSERT_EQ(0, start_results(self->fd, 0, SZ_4K, result, &granule));
	EXPECT_NE(0, result[2].error);
	EXPECT_EQ(2, trackers());
	dma_write(&self->vf, &self->model, 1, IOVA, SZ_64K, SZ_4K);
	dma_write(&others[0], &self->model, 2, IOVA + SZ_2M, SZ_64K, SZ_4K);
	ASSERT_EQ(0, engine_fill(others[1].engine, IOVA + 2 * SZ_2M, SZ_64K));
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_IGNORED, read_part(IOVA, SIZE / 2, SZ_4K));

	/* No new tracker beside the old one: all is dirty once. */
	dma_write(&self->vf, &self->model, 1, IOVA, SZ_64K, SZ_4K);
	test_cmd_range_add(self->fd, IOVA + SIZE / 2, SZ_2M);
	model_write(&self->model, 1, IOVA, SIZE / 2 + SZ_2M, SZ_4K);
	dma_write(&others[0], &self->model, 2, IOVA + SIZE / 2, SZ_64K, SZ_4K);
	read_part(IOVA, SIZE / 2 + SZ_2M, SZ_4K);
	dma_write(&self->vf, &self->model, 1, IOVA + SIZE / 2, SZ_64K, SZ_4K);
	read_part(IOVA, SIZE / 2 + SZ_2M, SZ_4K);
	for (i = 0; i < 2; i++)
		vf_close(&others[i]);
}

/*
 * Firmware that has no second tracker for a function says so in its own way. The
 * first one is drained and started again, whatever that is, and one that tracks
 * already stays.
 */
TEST_F(tracker, one_tracker_for_each_function)
{
	static const unsigned int statuses[] = { STATUS_INT_ERR, STATUS_BAD_PARAM, STATUS_RES_BUSY,
						 STATUS_LIM_ERR, STATUS_NO_RES };
	struct iommufd_dirty_tracker_info info;
	unsigned int i;

	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	for (i = 0; i < ARRAY_SIZE(statuses); i++) {
		__u64 at = IOVA + SZ_2M * (1 + i);

		ASSERT_TRUE(control_do(self->control, "one-per-vhca %x", statuses[i]));
		test_cmd_range_add(self->fd, IOVA, SZ_2M);
		test_cmd_start(self->fd, SZ_4K);
		dma_write(&self->vf, &self->model, 1, IOVA, SZ_4K, SZ_4K);
		test_cmd_range_add(self->fd, at, SZ_2M);
		model_write(&self->model, 1, IOVA, SZ_2M, SZ_4K);
		model_write(&self->model, 1, at, SZ_2M, SZ_4K);
		EXPECT_EQ(1, trackers());
		read_all();
		dma_write(&self->vf, &self->model, 1, IOVA, SZ_4K, SZ_4K);
		dma_write(&self->vf, &self->model, 1, at, SZ_4K, SZ_4K);
		/* Less to track is no reason to begin anew. */
		test_cmd_range_remove(self->fd, at, SZ_2M);
		model_clean(&self->model, MODEL_ALL, at, SZ_2M);
		read_all();
		test_cmd_tracker_info(self->fd, self->id, &info);
		EXPECT_EQ(IOMMUFD_DIRTY_STATE_TRACKING, info.out_state);
		test_cmd_stop(self->fd);
		EXPECT_EQ(0, trackers());
	}
	ASSERT_TRUE(control_do(self->control, "forget"));
}

/* In another address space: not in the same context. */
TEST_F(tracker, two_address_spaces)
{
	struct vf other;

	vf_init(&other);
	vf_open(_metadata, &other, 1);
	test_err_vfio_dirty_bind(EXDEV, other.device, self->fd, POLICY_FAIL);
	vf_close(&other);
}

/* A function, an emulated device and an IOMMU page table of one address space. */
TEST(mixed)
{
	static const struct members_variant variant = { .hwpts = 1 };
	struct members members;
	struct emulated emulated;
	struct model *model = &members.model;
	struct iommufd_dirty_stats stats;
	struct vf vf = { .number = 0 };
	__u64 seed = 0x5eed;
	unsigned int i, n;
	__u32 id;

	if (!have_emulated() || load_emulated(""))
		SKIP(return, NO_TRACKER);
	vf_init(&vf);
	members_open(_metadata, &members, &variant);
	emulated_open(&emulated, 0, members.iommu, members.ioas_id);
	test_vfio_dirty_bind(emulated.fd, members.fd, POLICY_FAIL, &emulated.id);
	vf.iommu = members.iommu;
	vf.ioas_id = members.ioas_id;
	vf.guest = true;
	vf_attach(_metadata, &vf, 0);
	test_vfio_dirty_bind(vf.device, members.fd, POLICY_FAIL, &id);
	test_cmd_start(members.fd, SZ_4K);

	for (i = 0; i < 30; i++) {
		for (n = 0; n < 9; n++) {
			__u64 at = MEMBERS_BASE + SZ_4K *
				(next_random(&seed) % (MEMBERS_SIZE / SZ_4K - 2));

			if (n % 3 == 0)
				member_write(&members, 0, at, SZ_4K);
			else if (n % 3 == 1)
				emulated_write(model, &emulated, at, SZ_4K);
			else
				dma_write(&vf, model, 2, at, 2 * SZ_4K, SZ_4K);
		}
		if (i % 2)
			members_read_all(&members);
		else
			model_read(model, .fd = members.fd, .tracker_id = id, .who = 2,
				   .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
				   .page_size = SZ_4K);
	}
	members_read_all(&members);
	test_cmd_stats(members.fd, id, &stats);
	EXPECT_EQ(0, stats.out_bitmap_bytes);
	vf_close(&vf);
	close(emulated.fd);
	members_close(&members);
}

TEST_HARNESS_MAIN
