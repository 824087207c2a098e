// SPDX-License-Identifier: GPL-2.0
/*
 * The promises of a READ, one test each, for every mix of trackers. Every READ
 * here is compared with the model bit for bit.
 */
#include "members.h"
#include "signals.h"

MEMBERS_FIXTURE(read)
MEMBERS_VARIANTS(read);

TEST_F(read, promise_1_completed_write_is_in_the_next_read)
{
	unsigned int round;

	for (round = 0; round < 32; round++) {
		members_write_some(_metadata, &self->members, 1 + round,
				   &self->seed);
		members_read_all(&self->members);
	}
	/* Nothing was written since. */
	EXPECT_EQ(0, model_count(&self->members.model, MODEL_ALL, MEMBERS_BASE,
				 MEMBERS_SIZE, SZ_4K));
	members_read_all(&self->members);
}

TEST_F(read, promise_1_each_tracker_by_itself)
{
	struct members *members = &self->members;
	unsigned int round, i;

	for (round = 0; round < 8; round++) {
		members_write_some(_metadata, members, 64, &self->seed);
		for (i = 0; i < members->nr; i++) {
			model_read(&members->model, .fd = members->fd,
				   .tracker_id = members->member[i].id,
				   .who = 1 << i, .iova = MEMBERS_BASE,
				   .length = MEMBERS_SIZE, .page_size = SZ_4K);
			/* One more, which a later READ has to deliver. */
			member_write(members, i, MEMBERS_BASE + i * SZ_64K,
				     SZ_4K);
		}
	}
	members_read_all(members);
}

/* Where the bitmap that cannot be written is. */
enum bad_bitmap {
	BITMAP_NULL,
	BITMAP_KERNEL,
	BITMAP_UNMAPPED,
	BITMAP_PROT_NONE,
	BITMAP_READ_ONLY,
	BITMAP_BAD_SECOND_PAGE,
	BITMAP_BAD_FIRST_PAGE,
	BITMAP_LAST,
};

#define BITMAP_BYTES (MEMBERS_SIZE / SZ_4K / 8)

TEST_F(read, promise_2_nothing_is_lost_on_efault)
{
	struct members *members = &self->members;
	struct guarded guarded;
	enum bad_bitmap bad;

	for (bad = 0; bad < BITMAP_LAST; bad++) {
		__u8 *two = mmap(NULL, 2 * SZ_4K, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		__u8 *split = two + SZ_4K - BITMAP_BYTES / 2;
		__u8 *bitmap = two;
		size_t i;

		ASSERT_NE(MAP_FAILED, two);
		switch (bad) {
		case BITMAP_NULL:
			bitmap = NULL;
			break;
		case BITMAP_KERNEL:
			bitmap = (__u8 *)0xffff888000000000UL;
			break;
		case BITMAP_UNMAPPED:
			ASSERT_EQ(0, munmap(two, SZ_4K));
			break;
		case BITMAP_PROT_NONE:
			ASSERT_EQ(0, mprotect(two, SZ_4K, PROT_NONE));
			break;
		case BITMAP_READ_ONLY:
			ASSERT_EQ(0, mprotect(two, SZ_4K, PROT_READ));
			break;
		case BITMAP_BAD_SECOND_PAGE:
			bitmap = split;
			ASSERT_EQ(0, mprotect(two + SZ_4K, SZ_4K, PROT_NONE));
			break;
		default:
			bitmap = split;
			ASSERT_EQ(0, mprotect(two, SZ_4K, PROT_READ));
		}

		members_write_some(_metadata, members, 64, &self->seed);
		test_err_read(EFAULT, members->fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, bitmap);

		/* What is in the good page and what comes later is all. */
		ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
					 &(struct placement){}, 0));
		model_bits(&members->model, MODEL_ALL, MEMBERS_BASE,
			   MEMBERS_SIZE, SZ_4K, guarded.shadow_bits, 0);
		if (bitmap == split) {
			ASSERT_EQ(0, mprotect(two, 2 * SZ_4K, PROT_READ));
			memcpy(guarded.bits, split, BITMAP_BYTES);
		}
		test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE,
			      SZ_4K, guarded.bits, NULL, NULL);
		ASSERT_EQ(LONG_MAX, guarded_diff(&guarded))
		{
			TH_LOG("bad bitmap %d: byte %ld", bad,
			       guarded_diff(&guarded));
		}
		guarded_free(&guarded);
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);

		/* Nothing outside of the bitmap was written. */
		for (i = 0; bitmap == split && i < 2 * SZ_4K; i++) {
			if (two + i < split || two + i >= split + BITMAP_BYTES)
				ASSERT_EQ(0, two[i]);
		}
		munmap(two, 2 * SZ_4K);
	}
}

TEST_F(read, promise_3_any_subrange_loses_nothing)
{
	struct members *members = &self->members;
	unsigned int round;

	members_write_some(_metadata, members, 64, &self->seed);
	for (round = 0; round < 256; round++) {
		__u64 pages = 1 + next_random(&self->seed) % 64;
		__u64 at = next_random(&self->seed) %
			   (MEMBERS_SIZE / SZ_4K - pages);

		if (round % 16 == 0)
			members_write_some(_metadata, members, 4, &self->seed);
		model_read(&members->model, .fd = members->fd,
			   .who = MODEL_ALL,
			   .iova = MEMBERS_BASE + at * SZ_4K,
			   .length = pages * SZ_4K, .page_size = SZ_4K);
	}
	members_read_all(members);
}

TEST_F(read, promise_3_one_page_of_a_huge_iopte)
{
	struct members *members = &self->members;
	__u64 page;

	/* Each page in a READ of its own: the first takes the dirty bit. */
	member_write(members, 0, MEMBERS_BASE + 5 * SZ_4K, SZ_4K);
	member_write(members, members->nr - 1, MEMBERS_BASE + SZ_1M, SZ_4K);
	for (page = 2 * SZ_1M / SZ_4K + 1; page > 0; page--) {
		model_read(&members->model, .fd = members->fd,
			   .who = MODEL_ALL,
			   .iova = MEMBERS_BASE + (page - 1) * SZ_4K,
			   .length = SZ_4K, .page_size = SZ_4K);
	}
	members_read_all(members);
}

TEST_F(read, promise_3_any_byte)
{
	struct members *members = &self->members;
	struct model *model = &members->model;
	unsigned int round, i;

	/* The same with one cell for a byte, and requests of any alignment. */
	model_free(model);
	ASSERT_TRUE(model_init(model, MEMBERS_BASE, SZ_1M, 0));
	for (i = 0; i < 8; i++)
		member_write(members, i % members->nr,
			     MEMBERS_BASE + (i * 7 + 1) * SZ_4K, SZ_4K);
	for (round = 0; round < 64; round++) {
		__u64 length = 1 + next_random(&self->seed) % (3 * SZ_4K);
		__u64 at = next_random(&self->seed) % (SZ_64K * 2);

		model_read(model, .fd = members->fd, .who = MODEL_ALL,
			   .iova = MEMBERS_BASE + at, .length = length,
			   .page_size = SZ_4K);
	}
	members_read_all(members);
}

TEST_F(read, promise_4_bits_are_ored)
{
	struct members *members = &self->members;
	static const __u8 fills[] = { 0x00, 0x5a, 0xff };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fills); i++) {
		members_write_some(_metadata, members, 64, &self->seed);
		model_read(&members->model, .fd = members->fd,
			   .who = MODEL_ALL, .iova = MEMBERS_BASE,
			   .length = MEMBERS_SIZE, .page_size = SZ_4K,
			   .at = { .misalign = 1, .bit_offset = 3 },
			   .fill = fills[i]);
	}
}

TEST_F(read, promise_5_final_read_is_complete)
{
	struct members *members = &self->members;
	struct mock_state state;
	unsigned int i;

	members_write_some(_metadata, members, 128, &self->seed);
	model_read(&members->model, .fd = members->fd,
		   .flags = IOMMUFD_DIRTY_READ_FINAL, .who = MODEL_ALL,
		   .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
		   .page_size = SZ_4K);
	for (i = 0; i < variant->members.mocks; i++) {
		test_mock_state(members->member[i].mock, &state);
		EXPECT_NE(0, state.final_reads);
		EXPECT_EQ(state.reads, state.final_reads);
	}
	test_cmd_stop(members->fd);
}

TEST_F(read, promise_6_merged_read_holds_no_bitmap)
{
	struct members *members = &self->members;
	struct iommufd_dirty_stats stats;

	members_write_some(_metadata, members, 256, &self->seed);
	members_read_all(members);
	test_cmd_stats(members->fd, 0, &stats);
	EXPECT_EQ(1, stats.out_reads);
	EXPECT_EQ(0, stats.out_bitmap_bytes);
	if (!variant->members.mocks)
		return;
	/* That it is counted at all. */
	test_mock_knob(members->member[0].mock, MOCK_KNOB_BITMAP_BYTES, 12345);
	test_cmd_stats(members->fd, 0, &stats);
	EXPECT_EQ(12345, stats.out_bitmap_bytes);
}

TEST_F(read, promise_7_hole_reads_clean)
{
	struct members *members = &self->members;
	__u32 status, with_hole = IOMMUFD_DIRTY_STATUS_HOLE;

	members_write_some(_metadata, members, 64, &self->seed);
	status = members_read_all(members);
	EXPECT_EQ(0, status);

	/* Holes below, above, on both sides and all over. */
	members_write_some(_metadata, members, 64, &self->seed);
	status = model_read(&members->model, .fd = members->fd,
			    .who = MODEL_ALL, .iova = MEMBERS_BASE - SZ_1M,
			    .length = SZ_2M, .page_size = SZ_4K);
	EXPECT_EQ(with_hole, status);
	status = model_read(&members->model, .fd = members->fd,
			    .who = MODEL_ALL,
			    .iova = MEMBERS_BASE + MEMBERS_SIZE - SZ_1M,
			    .length = SZ_2M, .page_size = SZ_4K);
	EXPECT_EQ(with_hole, status);
	status = model_read(&members->model, .fd = members->fd,
			    .who = MODEL_ALL, .iova = 0,
			    .length = MEMBERS_BASE + 2 * MEMBERS_SIZE,
			    .page_size = SZ_4K);
	EXPECT_EQ(with_hole, status);
	status = model_read(&members->model, .fd = members->fd,
			    .who = MODEL_ALL, .iova = 0, .length = SZ_1M,
			    .page_size = SZ_4K);
	EXPECT_EQ(with_hole, status);
}

TEST_F(read, promise_7_strict_hole_is_an_error_and_clears_nothing)
{
	struct members *members = &self->members;
	__u8 bits[2 * BITMAP_BYTES] = {};
	unsigned int i;

	members_write_some(_metadata, members, 64, &self->seed);
	test_err_read(ENXIO, members->fd, 0, IOMMUFD_DIRTY_READ_STRICT,
		      MEMBERS_BASE, MEMBERS_SIZE + SZ_4K, SZ_4K, bits);
	for (i = 0; i < sizeof(bits); i++)
		ASSERT_EQ(0, bits[i]);
	model_read(&members->model, .fd = members->fd,
		   .flags = IOMMUFD_DIRTY_READ_STRICT, .who = MODEL_ALL,
		   .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
		   .page_size = SZ_4K);
}

TEST_F(read, no_clear_leaves_everything_dirty)
{
	struct members *members = &self->members;
	unsigned int i;

	members_write_some(_metadata, members, 64, &self->seed);
	for (i = 0; i < 3; i++) {
		model_read(&members->model, .fd = members->fd,
			   .flags = IOMMUFD_DIRTY_READ_NO_CLEAR,
			   .who = MODEL_ALL, .iova = MEMBERS_BASE,
			   .length = MEMBERS_SIZE, .page_size = SZ_4K);
		members_write_some(_metadata, members, 4, &self->seed);
	}
	members_read_all(members);
	members_read_all(members);
}

/* With a mock tracker, which can be slow and can fail. */
MEMBERS_FIXTURE(read_mock)
MEMBERS_MOCK_VARIANTS(read_mock);
MEMBERS_MIXED_VARIANTS(read_mock);

TEST_F(read_mock, promise_2_nothing_is_lost_on_eintr)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap ranges[16];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.nr_ranges = ARRAY_SIZE(ranges),
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)ranges,
		.page_size = SZ_4K,
	};
	__u64 part = MEMBERS_SIZE / ARRAY_SIZE(ranges);
	unsigned int i, interrupted = 0, calls = 0;
	__u64 newly, dirty = 0;
	struct guarded guarded;

	members_write_some(_metadata, members, 128, &self->seed);
	ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
				 &(struct placement){}, 0));
	newly = model_bits(&members->model, MODEL_ALL, MEMBERS_BASE,
			   MEMBERS_SIZE, SZ_4K, guarded.shadow_bits, 0);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = MEMBERS_BASE + i * part,
			.length = part,
			.bitmap_uptr = (uintptr_t)guarded.bits,
			.bit_offset = i * part / SZ_4K,
		};
	}
	for (i = 0; i < members->nr; i++) {
		if (members->member[i].mock != -1)
			test_mock_knob(members->member[i].mock,
				       MOCK_KNOB_LATENCY_MS, 10);
	}
	ASSERT_EQ(0, interrupt_every(30));

	/* Called again with the structure as it is, as the header says. */
	while (ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd)) {
		ASSERT_EQ(EINTR, errno);
		ASSERT_GT(ARRAY_SIZE(ranges), cmd.next_range);
		ASSERT_GT(1000, ++calls);
		interrupted++;
		dirty += cmd.out_dirty;
	}
	ASSERT_EQ(0, interrupt_every(0));

	EXPECT_NE(0, interrupted);
	EXPECT_EQ(newly, dirty + cmd.out_dirty);
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	EXPECT_EQ(0, cmd.next_range);
	guarded_free(&guarded);
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE);
	members_read_all(members);
}

TEST_F(read_mock, promise_2_nothing_is_lost_on_eio)
{
	struct members *members = &self->members;
	struct guarded guarded;
	unsigned int round;
	__u32 status;

	for (round = 1; round <= 4; round++) {
		unsigned int n = round % variant->members.mocks;

		members_write_some(_metadata, members, 64, &self->seed);
		ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
					 &(struct placement){}, 0));
		model_bits(&members->model, MODEL_ALL, MEMBERS_BASE,
			   MEMBERS_SIZE, SZ_4K, guarded.shadow_bits, 0);

		test_mock_knob(members->member[n].mock, MOCK_KNOB_FAIL_READ, 1);
		test_err_read(EIO, members->fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, guarded.bits);
		/* The same bitmap: what was delivered and what was not. */
		test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE,
			      SZ_4K, guarded.bits, &status, NULL);
		ASSERT_EQ(LONG_MAX, guarded_diff(&guarded));
		ASSERT_EQ(0, status);
		guarded_free(&guarded);
		model_clean(&members->model, MODEL_ALL, MEMBERS_BASE,
			    MEMBERS_SIZE);
	}
	members_read_all(members);
}

TEST_HARNESS_MAIN
