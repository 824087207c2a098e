// SPDX-License-Identifier: GPL-2.0
/*
 * READ without a bitmap: EXTENTS, which can be resumed, and COUNT_ONLY.
 */
#include "members.h"
#include "signals.h"

MEMBERS_FIXTURE(extents)
MEMBERS_VARIANTS(extents);

/*
 * READ with an array of @nr extents, again and again until all is told, and
 * compare with the model. Returns the number of calls.
 */
static unsigned int read_extents(struct __test_metadata *_metadata,
				 struct members *members, __u32 flags,
				 __u64 iova, __u64 length, __u64 page_size,
				 __u32 nr)
{
	struct iommufd_dirty_bitmap range = { .iova = iova, .length = length };
	struct iommufd_dirty_range extents[256], guard = { 4711, 4711 };
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS | flags,
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = page_size,
		.extent_len = sizeof(struct iommufd_dirty_range),
		.extents_uptr = (uintptr_t)extents,
	};
	__u64 pages = (length - 1) / page_size + 1;
	__u64 last = iova + length - 1, told = 0, newly, end = 0;
	unsigned int i, calls = 0;
	struct guarded guarded;

	ASSERT_GT(ARRAY_SIZE(extents), nr);
	ASSERT_TRUE(guarded_init(&guarded, pages, &(struct placement){}, 0));
	newly = model_bits(&members->model, MODEL_ALL, iova, length, page_size,
			   guarded.shadow_bits, 0);
	cmd.nr_extents = nr;
	do {
		extents[nr] = guard;
		ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
		ASSERT_GT(10000, ++calls);
		ASSERT_EQ(nr, cmd.nr_extents);
		ASSERT_GE(nr, cmd.out_nr_extents);
		ASSERT_EQ(0, memcmp(&extents[nr], &guard, sizeof(guard)));
		told += cmd.out_dirty;
		for (i = 0; i < cmd.out_nr_extents; i++) {
			__u64 from = extents[i].iova;
			__u64 to = from + extents[i].length - 1;
			__u64 page;

			/* Ascending, in whole pages, inside of the request. */
			ASSERT_LT(0, extents[i].length);
			ASSERT_LE(iova + end, from);
			ASSERT_GE(last, to);
			ASSERT_EQ(0, (from - iova) % page_size);
			if (to != last)
				ASSERT_EQ(0, extents[i].length % page_size);
			end = to - iova + 1;
			for (page = (from - iova) / page_size;
			     page <= (to - iova) / page_size; page++)
				bit_set(guarded.bits, page);
		}
	} while (cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE);
	EXPECT_EQ(0, cmd.next_range);
	EXPECT_EQ(newly, told);
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	guarded_free(&guarded);
	if (!(flags & IOMMUFD_DIRTY_READ_NO_CLEAR))
		model_clean(&members->model, MODEL_ALL, iova, length);
	return calls;
}

TEST_F(extents, tell_the_same_as_a_bitmap)
{
	struct members *members = &self->members;
	unsigned int round;

	for (round = 0; round < 8; round++) {
		members_write_some(_metadata, members, 16, &self->seed);
		EXPECT_EQ(1, read_extents(_metadata, members, 0, MEMBERS_BASE,
					  MEMBERS_SIZE, SZ_4K, 255));
	}
	members_read_all(members);
}

TEST_F(extents, go_on_where_the_array_was_full)
{
	struct members *members = &self->members;
	static const __u32 nrs[] = { 1, 2, 7, 64 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(nrs); i++) {
		members_write_some(_metadata, members, 48, &self->seed);
		read_extents(_metadata, members, 0, MEMBERS_BASE, MEMBERS_SIZE,
			     SZ_4K, nrs[i]);
	}
	members_read_all(members);
}

TEST_F(extents, full_array_loses_nothing)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap range = { .iova = MEMBERS_BASE,
					      .length = MEMBERS_SIZE };
	struct iommufd_dirty_range extent;
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.extent_len = sizeof(struct iommufd_dirty_range),
		.extents_uptr = (uintptr_t)&extent,
		.nr_extents = 1,
	};

	/* One extent is taken and the call is not made again. */
	member_write(members, 0, MEMBERS_BASE + SZ_4K, SZ_4K);
	member_write(members, members->nr - 1, MEMBERS_BASE + 4 * SZ_1M, SZ_4K);
	member_write(members, 0, MEMBERS_BASE + 6 * SZ_1M, SZ_4K);
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	ASSERT_EQ(1, cmd.out_nr_extents);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_MORE, cmd.out_status);
	model_clean(&members->model, MODEL_ALL, extent.iova, extent.length);
	members_read_all(members);
}

TEST_F(extents, are_grown_to_pages_and_cut_at_the_end)
{
	struct members *members = &self->members;
	__u64 page_size;

	for (page_size = SZ_4K; page_size <= SZ_1G; page_size *= 8) {
		members_write_some(_metadata, members, 8, &self->seed);
		read_extents(_metadata, members, 0, MEMBERS_BASE + 3 * SZ_4K,
			     MEMBERS_SIZE - 10 * SZ_4K, page_size, 3);
	}
	members_read_all(members);
}

TEST_F(extents, no_clear)
{
	struct members *members = &self->members;

	members_write_some(_metadata, members, 32, &self->seed);
	read_extents(_metadata, members, IOMMUFD_DIRTY_READ_NO_CLEAR,
		     MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, 5);
	read_extents(_metadata, members, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		     255);
	members_read_all(members);
}

TEST_F(extents, several_ranges)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap ranges[8];
	struct iommufd_dirty_range extents[2];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = ARRAY_SIZE(ranges),
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)ranges,
		.page_size = SZ_4K,
		.extent_len = sizeof(struct iommufd_dirty_range),
		.extents_uptr = (uintptr_t)extents,
	};
	unsigned int i, calls = 0;
	struct guarded guarded;

	/* One range for each MiB; where one ends, an extent ends. */
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = MEMBERS_BASE + i * SZ_1M,
			.length = SZ_1M,
		};
	members_write_some(_metadata, members, 24, &self->seed);
	member_write(members, 0, MEMBERS_BASE + SZ_1M - SZ_4K, 2 * SZ_4K);
	ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
				 &(struct placement){}, 0));
	model_bits(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE,
		   SZ_4K, guarded.shadow_bits, 0);
	cmd.nr_extents = ARRAY_SIZE(extents);
	do {
		ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
		ASSERT_GT(10000, ++calls);
		for (i = 0; i < cmd.out_nr_extents; i++) {
			__u64 at = extents[i].iova - MEMBERS_BASE;
			__u64 last = at + extents[i].length - 1;

			ASSERT_EQ(at / SZ_1M, last / SZ_1M);
			for (; at < last; at += SZ_4K) {
				ASSERT_FALSE(bit_test(guarded.bits,
						      at / SZ_4K));
				bit_set(guarded.bits, at / SZ_4K);
			}
		}
	} while (cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE);
	EXPECT_EQ(0, cmd.next_range);
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	guarded_free(&guarded);
}

TEST_F(extents, bad_array_is_efault_and_loses_nothing)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap range = { .iova = MEMBERS_BASE,
					      .length = MEMBERS_SIZE };
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.nr_extents = 16,
		.extent_len = sizeof(struct iommufd_dirty_range),
	};
	struct iommufd_dirty_range *extent;
	void *page = mmap(NULL, 2 * SZ_4K, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, munmap(page + SZ_4K, SZ_4K));
	members_write_some(_metadata, members, 64, &self->seed);
	cmd.extents_uptr = (uintptr_t)page;
	EXPECT_ERRNO(EFAULT, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	members_read_all(members);

	/* The array ends in a page that is not there. */
	ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ | PROT_WRITE));
	members_write_some(_metadata, members, 64, &self->seed);
	cmd.extents_uptr = (uintptr_t)page + SZ_4K - 16;
	cmd.nr_extents = UINT_MAX;
	extent = page + SZ_4K - sizeof(*extent);
	/* It is a success if one extent was all that there was. */
	if (ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd))
		EXPECT_EQ(EFAULT, errno);
	ASSERT_GE(1, cmd.out_nr_extents);
	if (cmd.out_nr_extents)
		model_clean(&members->model, MODEL_ALL, extent->iova,
			    extent->length);
	members_read_all(members);
	munmap(page, SZ_4K);
}

TEST_F(extents, count_clears_nothing)
{
	struct members *members = &self->members;
	__u64 page_size, dirty;
	unsigned int i;
	__u32 status;

	members_write_some(_metadata, members, 16, &self->seed);
	for (page_size = SZ_4K; page_size <= SZ_1G; page_size *= 2) {
		for (i = 0; i < 2; i++) {
			test_cmd_read(members->fd, 0,
				      IOMMUFD_DIRTY_READ_COUNT_ONLY,
				      MEMBERS_BASE + i * SZ_4K,
				      MEMBERS_SIZE - i * SZ_4K, page_size, NULL,
				      &status, &dirty);
			EXPECT_EQ(0, status);
			EXPECT_EQ(model_count(&members->model, MODEL_ALL,
					      MEMBERS_BASE + i * SZ_4K,
					      MEMBERS_SIZE - i * SZ_4K,
					      page_size),
				  dirty);
		}
	}
	for (i = 0; i < members->nr; i++) {
		test_cmd_count(members->fd, members->member[i].id, MEMBERS_BASE,
			       MEMBERS_SIZE, &status, &dirty);
		EXPECT_EQ(model_count(&members->model, 1 << i, MEMBERS_BASE,
				      MEMBERS_SIZE, SZ_4K),
			  dirty);
	}
	members_read_all(members);
	test_cmd_count(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status,
		       &dirty);
	EXPECT_EQ(0, dirty);
}

/* With a mock tracker, which can be slow. */
MEMBERS_FIXTURE(slow)
MEMBERS_MOCK_VARIANTS(slow);
MEMBERS_MIXED_VARIANTS(slow);

TEST_F(slow, extents_go_on_after_a_signal)
{
	struct members *members = &self->members;
	struct iommufd_dirty_range extents[4];
	struct iommufd_dirty_bitmap ranges[16];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = ARRAY_SIZE(ranges),
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)ranges,
		.page_size = SZ_4K,
		.extent_len = sizeof(struct iommufd_dirty_range),
		.extents_uptr = (uintptr_t)extents,
		.nr_extents = ARRAY_SIZE(extents),
	};
	__u64 part = MEMBERS_SIZE / ARRAY_SIZE(ranges);
	unsigned int i, interrupted = 0, calls = 0;
	struct guarded guarded;
	int ret;

	members_write_some(_metadata, members, 12, &self->seed);
	ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
				 &(struct placement){}, 0));
	model_bits(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE,
		   SZ_4K, guarded.shadow_bits, 0);
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = MEMBERS_BASE + i * part,
			.length = part,
		};
	for (i = 0; i < variant->members.mocks; i++)
		test_mock_knob(members->member[i].mock, MOCK_KNOB_LATENCY_MS,
			       10);
	ASSERT_EQ(0, interrupt_every(30));

	/* The structure as it is, after a signal as after a full array. */
	do {
		ret = ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd);
		if (ret) {
			ASSERT_EQ(EINTR, errno);
			interrupted++;
		}
		ASSERT_GT(1000, ++calls);
		for (i = 0; i < cmd.out_nr_extents; i++) {
			__u64 at = extents[i].iova - MEMBERS_BASE;
			__u64 last = at + extents[i].length - 1;

			for (; at < last; at += SZ_4K) {
				ASSERT_FALSE(bit_test(guarded.bits,
						      at / SZ_4K));
				bit_set(guarded.bits, at / SZ_4K);
			}
		}
	} while (ret || cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE);
	ASSERT_EQ(0, interrupt_every(0));

	EXPECT_NE(0, interrupted);
	EXPECT_EQ(0, cmd.next_range);
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	guarded_free(&guarded);
}

TEST_HARNESS_MAIN
