// SPDX-License-Identifier: GPL-2.0
/*
 * The software tracker: what the kernel writes for emulated VFIO devices.
 */
#include "software.h"

TEST_F(software, info)
{
	struct iommufd_dirty_tracker_info info;

	test_cmd_tracker_info(self->fd, self->dev[1].id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_KIND_SOFTWARE, info.out_kind);
	EXPECT_EQ(SZ_4K, info.out_pgsizes);
	EXPECT_EQ(0, info.out_max_ranges);
	EXPECT_EQ(0, info.out_max_span);
	EXPECT_EQ(IOMMUFD_DIRTY_CAP_PEEK | IOMMUFD_DIRTY_CAP_UPDATE_RANGES,
		  info.out_caps);
	EXPECT_STREQ(EMULATED_NAME ".1", (char *)info.out_name);
}

TEST_F(software, a_write_is_dirty_once)
{
	unsigned int round;

	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(0, read_all());
	for (round = 0; round < 20; round++) {
		write_some(&self->dev[0], 20);
		read_all();
		read_all();
	}
}

TEST_F(software, a_write_that_crosses_pages)
{
	struct emulated *dev = &self->dev[0];

	test_cmd_start(self->fd, SZ_4K);
	write_by(dev, BASE + SZ_4K - 1, 1);
	read_all();
	write_by(dev, BASE + SZ_4K - 1, 2);
	read_all();
	write_by(dev, BASE + SZ_4K - 1, SZ_4K + 2);
	read_all();
	write_by(dev, BASE, 1);
	write_by(dev, BASE + SIZE - 1, 1);
	read_all();
	write_by(dev, BASE, EMULATED_MAX_WRITE);
	read_all();
}

TEST_F(software, parts_and_page_sizes)
{
	unsigned int round;

	test_cmd_start(self->fd, SZ_4K);
	for (round = 0; round < 50; round++) {
		__u64 length = 1 + next_random(&self->seed) % SIZE;
		__u64 at = next_random(&self->seed) % (SIZE - length + 1);

		write_some(&self->dev[round % 2], 4);
		model_read(&self->members.model, .fd = self->fd,
			   .who = MODEL_ALL, .iova = BASE + (at & -SZ_4K),
			   .length = (length + SZ_4K - 1) & -SZ_4K,
			   .page_size = SZ_4K << (round % 5),
			   .at = { .bit_offset = round });
	}
	read_all();
}

TEST_F(software, reads_of_the_device_are_clean)
{
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(0, _emulated_run(self->dev[0].fd, EMULATED_DMA_READ, BASE,
				   SZ_1M, 0));
	read_all();
}

TEST_F(software, a_write_that_fails_midway)
{
	struct emulated *dev = &self->dev[0];

	ASSERT_EQ(0, _iommu_ioas_unmap(self->members.iommu,
				       self->members.ioas_id, BASE, SIZE));
	ASSERT_EQ(0, _iommu_ioas_map(self->members.iommu,
				     self->members.ioas_id,
				     self->members.buffer, SZ_4K, BASE));
	memset(self->members.buffer, 1, SZ_4K);
	test_cmd_start(self->fd, SZ_4K);
	test_err_emulated(ENOENT, dev, EMULATED_DMA_WRITE, BASE, 2 * SZ_4K);
	/* The first page has been written. */
	EXPECT_EQ(0, *(__u8 *)self->members.buffer);
	model_write(&self->members.model, dev->who, BASE, 2 * SZ_4K, SZ_4K);
	read_all();
}

TEST_F(software, pinned_pages_are_dirty_in_each_read)
{
	struct emulated *dev = &self->dev[0];
	unsigned int i;

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(dev, BASE + 5 * SZ_4K, 3 * SZ_4K);
	emulated_pin(dev, BASE + SZ_1M, SZ_2M);
	for (i = 0; i < 3; i++) {
		read_all();
		read_part(BASE + 6 * SZ_4K, SZ_4K);
		read_part(BASE + SZ_1M + SZ_64K, 2 * SZ_2M);
	}
	ASSERT_EQ(0, _emulated_run(dev->fd, EMULATED_FILL,
				   BASE + 6 * SZ_4K + 100, 8, 0x5a));
	EXPECT_EQ(0x5a, ((__u8 *)self->members.buffer)[6 * SZ_4K + 100]);

	/* Once more after the unpin, and not again. */
	unpin_by(dev, BASE + 5 * SZ_4K, 3 * SZ_4K);
	read_all();
	unpin_by(dev, BASE + SZ_1M, SZ_2M);
	read_all();
	read_all();
}

TEST_F(software, pinned_twice)
{
	struct emulated *dev = &self->dev[0];

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(dev, BASE, 4 * SZ_4K);
	emulated_pin(dev, BASE, 4 * SZ_4K);
	emulated_pin(dev, BASE + 2 * SZ_4K, 4 * SZ_4K);
	read_all();
	unpin_by(dev, BASE, 4 * SZ_4K);
	read_all();
	read_all();
	unpin_by(dev, BASE, 4 * SZ_4K);
	read_all();
	read_all();
	unpin_by(dev, BASE + 2 * SZ_4K, 4 * SZ_4K);
	read_all();
	read_all();
}

TEST_F(software, pinned_before_start)
{
	struct emulated *dev = &self->dev[0];

	emulated_pin(dev, BASE + SZ_1M, SZ_64K);
	emulated_pin(dev, BASE + SZ_2M, SZ_64K);
	/* Gone before anybody tracks. */
	unpin_by(dev, BASE + SZ_2M, SZ_64K);
	model_clean(&self->members.model, MODEL_ALL, BASE, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	read_all();
	read_all();
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
	read_all();
	unpin_by(dev, BASE + SZ_1M, SZ_64K);
	read_all();
	read_all();
}

TEST_F(software, pinned_for_reading_is_clean)
{
	struct emulated *dev = &self->dev[0];

	test_cmd_start(self->fd, SZ_4K);
	ASSERT_EQ(0, _emulated_run(dev->fd, EMULATED_PIN, BASE, SZ_64K, 0));
	read_all();
	unpin_by(dev, BASE, SZ_64K);
	read_all();
}

/* Two devices that pin the same range share iommufd's record of it. */
TEST_F(software, a_pin_that_two_share)
{
	struct emulated *dev = &self->dev[0];
	__u64 dirty;

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(dev, BASE, SZ_64K);
	ASSERT_EQ(0, _emulated_run(self->dev[1].fd, EMULATED_PIN, BASE, SZ_64K,
				   0));
	read_one(dev);
	/* The other one may be told of it, and of nothing else. */
	test_cmd_count(self->fd, self->dev[1].id, BASE, SIZE, NULL, &dirty);
	EXPECT_GE(16, dirty);
	unpin_by(dev, BASE, SZ_64K);
	test_cmd_count(self->fd, dev->id, BASE, SIZE, NULL, &dirty);
	EXPECT_EQ(16, dirty);
	ASSERT_EQ(0, _emulated_run(self->dev[1].fd, EMULATED_UNPIN, BASE,
				   SZ_64K, 0));
	test_cmd_count(self->fd, dev->id, BASE, SIZE, NULL, &dirty);
	EXPECT_EQ(16, dirty);
	read_one(dev);
	read_one(dev);
}

TEST_F(software, each_device_has_its_own)
{
	unsigned int round;

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(&self->dev[1], BASE + SZ_1M, SZ_64K);
	for (round = 0; round < 10; round++) {
		write_some(&self->dev[0], 10);
		write_some(&self->dev[1], 10);
		read_one(&self->dev[round % 2]);
		if (round % 3 == 0)
			read_all();
	}
	read_one(&self->dev[0]);
	read_one(&self->dev[1]);
	read_all();
}

TEST_F(software, merged_with_a_page_table)
{
	unsigned int round;

	if (!have_hwpt(self->fd))
		SKIP(return, NO_HWPT);
	members_add_hwpt(_metadata, &self->members, false);
	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(&self->dev[0], BASE + SZ_1M, SZ_64K);
	for (round = 0; round < 10; round++) {
		write_some(&self->dev[round % 2], 5);
		members_write_some(_metadata, &self->members, 5, &self->seed);
		if (round % 3 == 0)
			read_one(&self->dev[0]);
		read_all();
	}
}

TEST_F(software, unmapped_while_pinned)
{
	struct emulated *dev = &self->dev[0];

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(dev, BASE + SZ_1M, SZ_64K);
	read_all();
	ASSERT_EQ(0, _iommu_ioas_unmap(self->members.iommu,
				       self->members.ioas_id, BASE, SIZE));
	EXPECT_EQ(0, _emulated_run(dev->fd, EMULATED_NR_PINNED, 0, 0, 0));
	emulated_unpinned(&self->members.model, dev, BASE + SZ_1M, SZ_64K);
	read_all();
	read_all();
}

TEST_F(software, stopped_and_started_again)
{
	test_cmd_start(self->fd, SZ_4K);
	write_some(&self->dev[0], 20);
	test_cmd_stop(self->fd);
	write_some(&self->dev[0], 20);
	model_clean(&self->members.model, MODEL_ALL, BASE, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	read_all();
	write_some(&self->dev[0], 20);
	read_all();
}

TEST_F(software, read_without_clearing)
{
	__u64 dirty;

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(&self->dev[1], BASE + SZ_1M, SZ_64K);
	write_some(&self->dev[0], 20);
	read_all(.flags = IOMMUFD_DIRTY_READ_NO_CLEAR);
	read_part(BASE + SZ_64K, SZ_1M, .flags = IOMMUFD_DIRTY_READ_NO_CLEAR);
	test_cmd_count(self->fd, 0, BASE, SIZE, NULL, &dirty);
	EXPECT_EQ(model_count(&self->members.model, MODEL_ALL, BASE, SIZE,
			      SZ_4K),
		  dirty);
	read_all(.flags = IOMMUFD_DIRTY_READ_FINAL);
	read_all();
}

TEST_F(software, extents)
{
	struct iommufd_dirty_bitmap range = { .iova = BASE, .length = SIZE };
	struct iommufd_dirty_range extents[4];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.extents_uptr = (uintptr_t)extents,
		.nr_extents = 4,
		.extent_len = sizeof(extents[0]),
	};

	test_cmd_start(self->fd, SZ_4K);
	/* From one word of the bitmap to the next. */
	write_by(&self->dev[0], BASE + 60 * SZ_4K, 10 * SZ_4K);
	emulated_pin(&self->dev[1], BASE + SZ_1M, SZ_64K);
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	ASSERT_EQ(2, cmd.out_nr_extents);
	EXPECT_EQ(26, cmd.out_dirty);
	EXPECT_EQ(BASE + 60 * SZ_4K, extents[0].iova);
	EXPECT_EQ(10 * SZ_4K, extents[0].length);
	EXPECT_EQ(BASE + SZ_1M, extents[1].iova);
	EXPECT_EQ(SZ_64K, extents[1].length);
	model_clean(&self->members.model, MODEL_ALL, BASE, SIZE);
	read_all();
}

TEST_F(software, ranges_change_while_tracking)
{
	struct emulated *dev = &self->dev[0];

	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(dev, BASE + SZ_1M - SZ_64K, 2 * SZ_64K);
	write_some(dev, 50);
	write_by(dev, BASE + SZ_1M, SZ_2M);

	/* What stays keeps its dirt. */
	test_cmd_range_remove(self->fd, BASE + SZ_1M, SZ_1M);
	model_clean(&self->members.model, MODEL_ALL, BASE + SZ_1M, SZ_1M);
	write_by(dev, BASE + SZ_1M + SZ_64K, SZ_64K);
	read_part(BASE, SZ_1M);
	read_part(BASE + SZ_2M, SIZE - SZ_2M);

	/* What was written meanwhile has been dropped. */
	ASSERT_EQ(0, _test_cmd_range(self->fd,
				     IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN,
				     BASE + SZ_1M, SZ_1M));
	model_clean(&self->members.model, MODEL_ALL, BASE + SZ_1M, SZ_1M);
	write_by(dev, BASE + SZ_2M - SZ_4K, 2 * SZ_4K);
	read_all();

	test_cmd_range_remove(self->fd, BASE, SIZE);
	write_some(dev, 10);
	model_clean(&self->members.model, MODEL_ALL, BASE, SIZE);
	test_cmd_range_add(self->fd, BASE, SZ_1M);
	model_write(&self->members.model, dev->who, BASE, SZ_1M, SZ_4K);
	read_part(BASE, SZ_1M);
	read_part(BASE, SZ_1M);
}

TEST_HARNESS_MAIN
