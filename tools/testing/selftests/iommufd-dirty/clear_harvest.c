// SPDX-License-Identifier: GPL-2.0
/*
 * CLEAR, which cleans exactly what it is told, and HARVEST, which takes the dirt
 * out of the hardware before an unmap.
 */
#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)

MEMBERS_FIXTURE(clear)
MEMBERS_VARIANTS(clear);

/* CLEAR of each page that has its bit set, in the model. */
static void model_clear(struct model *model, __u16 who, __u64 iova,
			__u64 length, __u64 page_size, const __u8 *bits,
			__u64 bit_offset)
{
	__u64 last = iova + length - 1, at = iova, page = 0;

	for (; page <= (length - 1) / page_size; page++, at += page_size) {
		__u64 end = last - at < page_size ? last : at + page_size - 1;

		if (bit_test(bits, bit_offset + page))
			model_clean(model, who, at, end - at + 1);
	}
}

TEST_F(clear, what_was_read_with_no_clear)
{
	struct members *members = &self->members;
	__u8 bits[BITS / 8] = {};

	/* As for KVM: read, clear, copy. What is written after stays dirty. */
	members_write_some(_metadata, members, 64, &self->seed);
	test_cmd_read(members->fd, 0, IOMMUFD_DIRTY_READ_NO_CLEAR, MEMBERS_BASE,
		      MEMBERS_SIZE, SZ_4K, bits, NULL, NULL);
	test_cmd_clear(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, bits,
		       0);
	model_clear(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE,
		    SZ_4K, bits, 0);
	members_write_some(_metadata, members, 16, &self->seed);
	members_read_all(members);
}

TEST_F(clear, exactly_the_pages_that_are_told)
{
	struct members *members = &self->members;
	static const struct placement placements[] = {
		{ 0, 0 }, { 1, 0 }, { 2048, 3 }, { 4095, 9 },
	};
	__u64 page_size;
	unsigned int i;
	size_t byte;

	for (page_size = SZ_4K; page_size <= SZ_2M; page_size *= 2) {
		for (i = 0; i < ARRAY_SIZE(placements); i++) {
			const struct placement *at = &placements[i];
			__u64 iova = MEMBERS_BASE + 5 * SZ_4K;
			__u64 length = MEMBERS_SIZE - 12 * SZ_4K;
			struct guarded guarded;

			/* Bits outside of the request are set, and not seen. */
			ASSERT_TRUE(guarded_init(&guarded, BITS, at, 0xff));
			for (byte = 0; byte < BITS / 8; byte++)
				guarded.bits[byte] = next_random(&self->seed);
			memcpy(guarded.shadow, guarded.map, guarded.length);

			members_write_some(_metadata, members, 16, &self->seed);
			test_cmd_clear(members->fd, 0, iova, length, page_size,
				       guarded.bits, at->bit_offset);
			model_clear(&members->model, MODEL_ALL, iova, length,
				    page_size, guarded.bits, at->bit_offset);
			EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
			guarded_free(&guarded);
			model_read(&members->model, .fd = members->fd,
				   .flags = IOMMUFD_DIRTY_READ_NO_CLEAR,
				   .who = MODEL_ALL, .iova = MEMBERS_BASE,
				   .length = MEMBERS_SIZE, .page_size = SZ_4K);
		}
		members_read_all(members);
	}
}

TEST_F(clear, one_page_of_a_huge_iopte)
{
	struct members *members = &self->members;
	__u8 bit = 1;

	member_write(members, members->nr - 1, MEMBERS_BASE + SZ_1M, SZ_4K);
	member_write(members, 0, MEMBERS_BASE + SZ_1M + 8 * SZ_4K, SZ_4K);
	test_cmd_clear(members->fd, 0, MEMBERS_BASE + SZ_1M + 8 * SZ_4K, SZ_4K,
		       SZ_4K, &bit, 0);
	model_clean(&members->model, MODEL_ALL,
		    MEMBERS_BASE + SZ_1M + 8 * SZ_4K, SZ_4K);
	members_read_all(members);
}

TEST_F(clear, one_tracker)
{
	struct members *members = &self->members;
	__u8 bits[BITS / 8];

	memset(bits, 0xff, sizeof(bits));
	members_write_some(_metadata, members, 64, &self->seed);
	test_cmd_clear(members->fd, members->member[0].id, MEMBERS_BASE,
		       MEMBERS_SIZE, SZ_4K, bits, 0);
	model_clean(&members->model, 1 << 0, MEMBERS_BASE, MEMBERS_SIZE);
	members_read_all(members);
}

TEST_F(clear, read_only_bitmap_is_good_enough)
{
	struct members *members = &self->members;
	__u8 *page = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, page);
	memset(page, 0xff, SZ_4K);
	ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ));
	members_write_some(_metadata, members, 16, &self->seed);
	test_cmd_clear(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, page,
		       0);
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE);
	members_read_all(members);
	munmap(page, SZ_4K);
}

MEMBERS_FIXTURE(harvest)
MEMBERS_VARIANTS(harvest);

TEST_F(harvest, next_read_delivers_it)
{
	struct members *members = &self->members;
	struct iommufd_dirty_stats stats;
	struct mock_state state;
	unsigned int i;
	__u32 status;

	members_write_some(_metadata, members, 64, &self->seed);
	test_cmd_harvest(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status);
	EXPECT_EQ(0, status);
	for (i = 0; i < members->nr; i++) {
		test_cmd_stats(members->fd, members->member[i].id, &stats);
		EXPECT_EQ(model_count(&members->model, 1 << i, MEMBERS_BASE,
				      MEMBERS_SIZE, SZ_4K) * SZ_4K,
			  stats.out_residual_bytes);
		if (members->member[i].mock == -1)
			continue;
		test_mock_state(members->member[i].mock, &state);
		EXPECT_EQ(0, state.dirty);
	}
	members_write_some(_metadata, members, 16, &self->seed);
	members_read_all(members);
	test_cmd_stats(members->fd, 0, &stats);
	EXPECT_EQ(0, stats.out_residual_bytes);
	EXPECT_EQ(0, stats.out_residual_memory);
}

TEST_F(harvest, any_subrange)
{
	struct members *members = &self->members;
	unsigned int round;

	/* Of any alignment; a READ of any other range finds all of it. */
	for (round = 0; round < 64; round++) {
		__u64 at = next_random(&self->seed) % (MEMBERS_SIZE / 2);
		__u64 length = 1 + next_random(&self->seed) % SZ_1M;
		__u64 page = next_random(&self->seed) % (BITS / 2);

		members_write_some(_metadata, members, 4, &self->seed);
		test_cmd_harvest(members->fd, 0, MEMBERS_BASE + at, length,
				 NULL);
		model_read(&members->model, .fd = members->fd,
			   .who = MODEL_ALL,
			   .iova = MEMBERS_BASE + page * SZ_4K,
			   .length = 64 * SZ_4K, .page_size = SZ_4K);
	}
	members_read_all(members);
}

TEST_F(harvest, one_tracker)
{
	struct members *members = &self->members;
	struct iommufd_dirty_stats stats;
	__u64 bytes;

	members_write_some(_metadata, members, 64, &self->seed);
	bytes = model_count(&members->model, 1 << 0, MEMBERS_BASE,
			    MEMBERS_SIZE, SZ_4K) * SZ_4K;
	test_cmd_harvest(members->fd, members->member[0].id, MEMBERS_BASE,
			 MEMBERS_SIZE, NULL);
	test_cmd_stats(members->fd, 0, &stats);
	EXPECT_EQ(bytes, stats.out_residual_bytes);
	members_read_all(members);
}

TEST_F(harvest, of_a_hole)
{
	struct members *members = &self->members;
	__u32 status;

	members_write_some(_metadata, members, 16, &self->seed);
	test_cmd_harvest(members->fd, 0, MEMBERS_BASE - SZ_1M,
			 MEMBERS_SIZE + SZ_2M, &status);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	members_read_all(members);
}

/* What was written as extents and could not be told is dirty again, all of it. */
TEST_F(harvest, untold_extents_of_what_is_not_tracked_any_more)
{
	struct members *members = &self->members;
	struct iommufd_dirty_bitmap range = { MEMBERS_BASE, MEMBERS_SIZE, 0, 0 };
	struct iommufd_dirty_range extents[4];
	struct iommufd_dirty_read *cmd;
	__u64 dirty;

	cmd = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = read_cmd(&range, 1, .flags = IOMMUFD_DIRTY_READ_EXTENTS,
			into_extents(extents, 4));
	member_write(members, 0, MEMBERS_BASE + SZ_1M, SZ_4K);
	test_cmd_harvest(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, NULL);
	test_cmd_range_remove(members->fd, MEMBERS_BASE, MEMBERS_SIZE);
	ASSERT_EQ(0, mprotect(cmd, SZ_4K, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(members->fd, IOMMUFD_DIRTY_READ, cmd));
	test_cmd_count(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, NULL,
		       &dirty);
	EXPECT_EQ(model_count(&members->model, MODEL_ALL, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K), dirty);
	munmap(cmd, SZ_4K);
}

/* With a mock tracker, which can fail. */
MEMBERS_FIXTURE(failing)
MEMBERS_MOCK_VARIANTS(failing);
MEMBERS_MIXED_VARIANTS(failing);

TEST_F(failing, clear_cleans_nothing_that_was_not_asked_for)
{
	struct members *members = &self->members;
	struct guarded guarded;
	__u8 bits[BITS / 8];
	size_t i;

	memset(bits, 0, sizeof(bits));
	memset(bits, 0xff, sizeof(bits) / 2);
	members_write_some(_metadata, members, 64, &self->seed);
	test_mock_knob(members->member[0].mock, MOCK_KNOB_FAIL_READ, 1);
	test_err_clear(EIO, members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		       bits);

	/* The first half may be either; the second one has all its dirt. */
	ASSERT_TRUE(guarded_init(&guarded, BITS, &(struct placement){}, 0));
	model_bits(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE,
		   SZ_4K, guarded.shadow_bits, 0);
	test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		      guarded.bits, NULL, NULL);
	for (i = 0; i < BITS / 8; i++) {
		ASSERT_EQ(0, guarded.bits[i] & ~guarded.shadow_bits[i]);
		if (i >= BITS / 8 / 2)
			ASSERT_EQ(guarded.shadow_bits[i], guarded.bits[i]);
	}
	guarded_free(&guarded);
}

TEST_F(failing, harvest_keeps_the_whole_range_dirty)
{
	static const __u32 policies[] = { POLICY_FAIL, POLICY_IGNORE,
					  POLICY_ALL_DIRTY };
	struct members *members = &self->members;
	unsigned int i;

	/* What is unmapped now cannot be read later: better too much. */
	for (i = 0; i < ARRAY_SIZE(policies); i++) {
		test_cmd_set_policy(members->fd, members->member[0].id,
				    policies[i]);
		members_write_some(_metadata, members, 16, &self->seed);
		test_mock_knob(members->member[0].mock, MOCK_KNOB_FAIL_READ, 1);
		if (policies[i] == POLICY_FAIL)
			test_err_harvest(EIO, members->fd, 0,
					 MEMBERS_BASE + SZ_1M, SZ_1M);
		else
			test_cmd_harvest(members->fd, 0, MEMBERS_BASE + SZ_1M,
					 SZ_1M, NULL);
		model_write(&members->model, 1 << 0, MEMBERS_BASE + SZ_1M,
			    SZ_1M, SZ_4K);
		EXPECT_EQ(policies[i] == POLICY_ALL_DIRTY ?
				  0 : IOMMUFD_DIRTY_STATUS_OVERREPORTED,
			  members_read_all(members));
	}
}

/* With something that can be unmapped. */
MEMBERS_FIXTURE(unmap)
MEMBERS_HWPT_VARIANTS(unmap);
MEMBERS_MIXED_VARIANTS(unmap);

TEST_F(unmap, harvest_before_an_unmap)
{
	struct members *members = &self->members;
	__u32 status;

	members_write_some(_metadata, members, 128, &self->seed);
	test_cmd_harvest(members->fd, 0, MEMBERS_BASE, MEMBERS_SIZE, &status);
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, _iommu_ioas_unmap(members->iommu, members->ioas_id,
				       MEMBERS_BASE, MEMBERS_SIZE));
	status = members_read_all(members);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
}

TEST_HARNESS_MAIN
