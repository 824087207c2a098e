// SPDX-License-Identifier: GPL-2.0
/*
 * Where the user's bitmap lies and what its bits stand for: placements, page
 * sizes, ranges larger than what is pinned at a time, many ranges in one READ.
 */
#include "members.h"

static const struct placement placements[] = {
	{ 0, 0 },
	{ 1, 0 },
	{ 2048, 0 },
	{ 4095, 0 },
	{ 0, 1 },
	{ 3, 7 },
	{ 2048, 63 },
	{ 4091, 8 * 5 + 3 },
	{ 8, 8 * 4096 - 1 },
};

MEMBERS_FIXTURE(bitmaps)
MEMBERS_VARIANTS(bitmaps);

TEST_F(bitmaps, any_placement_and_page_size)
{
	struct members *members = &self->members;
	__u64 page_size;
	unsigned int i;

	for (page_size = SZ_4K; page_size <= SZ_1G; page_size *= 2) {
		for (i = 0; i < ARRAY_SIZE(placements); i++) {
			members_write_some(_metadata, members, 3, &self->seed);
			model_read(&members->model, .fd = members->fd,
				   .who = MODEL_ALL, .iova = MEMBERS_BASE,
				   .length = MEMBERS_SIZE,
				   .page_size = page_size,
				   .at = placements[i], .fill = i & 1 ? 0x5a : 0);
		}
	}
	members_read_all(members);
}

TEST_F(bitmaps, pages_are_counted_from_the_request)
{
	struct members *members = &self->members;
	__u64 page_size;
	unsigned int i;

	/* Neither the start nor the end is a multiple of the page size. */
	for (page_size = SZ_4K; page_size <= 4 * SZ_1M; page_size *= 4) {
		for (i = 0; i < ARRAY_SIZE(placements); i++) {
			__u64 at = next_random(&self->seed) % 512;
			__u64 pages = 1 + next_random(&self->seed) % 1024;

			members_write_some(_metadata, members, 2, &self->seed);
			model_read(&members->model, .fd = members->fd,
				   .who = MODEL_ALL,
				   .iova = MEMBERS_BASE + at * SZ_4K,
				   .length = pages * SZ_4K,
				   .page_size = page_size,
				   .at = placements[i]);
		}
	}
	members_read_all(members);
}

TEST_F(bitmaps, page_size_need_not_be_a_granule)
{
	struct members *members = &self->members;

	/* A page size that is larger than all there is, and the largest. */
	members_write_some(_metadata, members, 1, &self->seed);
	model_read(&members->model, .fd = members->fd, .who = MODEL_ALL,
		   .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
		   .page_size = 1ULL << 40, .at = { 1, 6 });
	model_read(&members->model, .fd = members->fd, .who = MODEL_ALL,
		   .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
		   .page_size = 1ULL << 63, .at = { 1, 7 });
	members_write_some(_metadata, members, 1, &self->seed);
	model_read(&members->model, .fd = members->fd, .who = MODEL_ALL,
		   .iova = 0, .length = -1ULL, .page_size = 1ULL << 63,
		   .at = { 5, 7 });
	members_read_all(members);
}

TEST_F(bitmaps, many_ranges_share_a_bitmap)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap ranges[64];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.nr_ranges = ARRAY_SIZE(ranges),
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)ranges,
		.page_size = SZ_4K,
	};
	__u64 part = MEMBERS_SIZE / ARRAY_SIZE(ranges), newly;
	struct guarded guarded;
	unsigned int i;

	/* Neighbours in the bitmap, from the last to the first: 33 bits each. */
	members_write_some(_metadata, members, 32, &self->seed);
	ASSERT_TRUE(guarded_init(&guarded, ARRAY_SIZE(ranges) * 33,
				 &(struct placement){ 5, 0 }, 0));
	newly = 0;
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		struct iommufd_dirty_bitmap *range =
			&ranges[ARRAY_SIZE(ranges) - 1 - i];

		range->iova = MEMBERS_BASE + i * part;
		range->length = part;
		range->bitmap_uptr = (uintptr_t)guarded.bits;
		range->bit_offset = i * 33;
		newly += model_bits(&members->model, MODEL_ALL, range->iova,
				    part, SZ_4K, guarded.shadow_bits, i * 33);
	}
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	EXPECT_EQ(newly, cmd.out_dirty);
	EXPECT_EQ(0, cmd.next_range);
	guarded_free(&guarded);
}

TEST_F(bitmaps, begins_where_it_is_told)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap ranges[2];
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.nr_ranges = 2,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)ranges,
		.page_size = SZ_4K,
		.next_range = 1,
		.next_offset = SZ_64K,
	};
	struct guarded guarded;
	unsigned int i;

	members_write_some(_metadata, members, 200, &self->seed);
	ASSERT_TRUE(guarded_init(&guarded, MEMBERS_SIZE / SZ_4K,
				 &(struct placement){}, 0));
	for (i = 0; i < 2; i++) {
		ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = MEMBERS_BASE + i * MEMBERS_SIZE / 2,
			.length = MEMBERS_SIZE / 2,
			.bitmap_uptr = (uintptr_t)guarded.bits,
			.bit_offset = i * MEMBERS_SIZE / 2 / SZ_4K,
		};
	}
	/* What is skipped keeps its bits, and its dirt. */
	model_bits(&members->model, MODEL_ALL, ranges[1].iova + SZ_64K,
		   MEMBERS_SIZE / 2 - SZ_64K, SZ_4K, guarded.shadow_bits,
		   (MEMBERS_SIZE / 2 + SZ_64K) / SZ_4K);
	ASSERT_EQ(0, ioctl(members->fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	guarded_free(&guarded);
	model_clean(&members->model, MODEL_ALL, ranges[1].iova + SZ_64K,
		    MEMBERS_SIZE / 2 - SZ_64K);
	members_read_all(members);
}

/*
 * The kernel pins 512 pages of the bitmap at a time: with 4 KiB pages that is
 * 64 GiB of I/O address space, with 2 MiB pages 32 TiB.
 */
FIXTURE(windows)
{
	int fd;
	int mock[2];
	struct model model;
};

FIXTURE_VARIANT(windows)
{
	unsigned int page_shift;
	__u64 block;
};

FIXTURE_VARIANT_ADD(windows, pages_4k) { .page_shift = 12 };
FIXTURE_VARIANT_ADD(windows, pages_64k) { .page_shift = 16 };
FIXTURE_VARIANT_ADD(windows, pages_2m) { .page_shift = 21 };
FIXTURE_VARIANT_ADD(windows, pages_1g) { .page_shift = 30 };
FIXTURE_VARIANT_ADD(windows, huge_blocks) { .page_shift = 12, .block = SZ_1G };

#define WINDOW (512ULL * 4096 * 8)	/* bits */
#define WINDOWS_BASE 0x100000000ULL

FIXTURE_SETUP(windows)
{
	struct mock_create create = {
		.pgsizes = 1ULL << variant->page_shift,
		.block = variant->block,
	};
	__u64 size = (WINDOW + 4096) << variant->page_shift;
	unsigned int i;

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	for (i = 0; i < 2; i++) {
		self->mock[i] = test_mock_create(&create);
		test_mock_bind(self->mock[i], self->fd, POLICY_FAIL, NULL);
	}
	test_cmd_range_add(self->fd, WINDOWS_BASE, size);
	ASSERT_TRUE(model_init(&self->model, WINDOWS_BASE, size,
			       variant->page_shift));
	test_cmd_start(self->fd, 1ULL << variant->page_shift);
}

FIXTURE_TEARDOWN(windows)
{
	model_free(&self->model);
	close(self->fd);
	close(self->mock[0]);
	close(self->mock[1]);
}

TEST_F(windows, nothing_is_lost_at_the_seams)
{
	__u64 page_size = 1ULL << variant->page_shift;
	__u64 unit = variant->block ?: page_size;
	static const __u64 misaligned[] = { 0, 1, 2048 };
	unsigned int i;
	__s64 page;

	for (i = 0; i < ARRAY_SIZE(misaligned); i++) {
		/* Both sides of where pinned pages end, and both ends. */
		for (page = -3; page <= 3; page++) {
			__u64 seam = WINDOW - misaligned[i] * 8 + page;
			__u64 iova = WINDOWS_BASE + seam * page_size;

			test_mock_dirty(self->mock[page & 1], iova, page_size);
			model_write(&self->model, 1, iova, page_size, unit);
		}
		test_mock_dirty(self->mock[0], WINDOWS_BASE, page_size);
		model_write(&self->model, 1, WINDOWS_BASE, page_size, unit);
		test_mock_dirty(self->mock[1],
				WINDOWS_BASE + self->model.size - page_size,
				page_size);
		model_write(&self->model, 1,
			    WINDOWS_BASE + self->model.size - page_size,
			    page_size, unit);
		model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
			   .iova = WINDOWS_BASE, .length = self->model.size,
			   .page_size = page_size,
			   .at = { .misalign = misaligned[i],
				   .bit_offset = i });
	}
}

TEST_F(windows, a_run_across_the_seam)
{
	__u64 page_size = 1ULL << variant->page_shift;
	__u64 unit = variant->block ?: page_size;
	__u64 iova = WINDOWS_BASE + (WINDOW - 2048) * page_size;

	test_mock_dirty(self->mock[0], iova, 4096 * page_size);
	model_write(&self->model, 1, iova, 4096 * page_size, unit);
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
		   .iova = WINDOWS_BASE, .length = self->model.size,
		   .page_size = page_size, .at = { 4095, 5 });
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,
		   .iova = WINDOWS_BASE, .length = self->model.size,
		   .page_size = page_size);
}

TEST_HARNESS_MAIN
