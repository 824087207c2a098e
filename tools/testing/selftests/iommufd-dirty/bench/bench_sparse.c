// SPDX-License-Identifier: GPL-2.0
/*
 * A few dirty pages in 1 TiB: READ with EXTENTS beside a READ into a bitmap that
 * is then scanned; and what a READ that finds nothing costs.
 */
#include "bench.h"

#define REPS 11
#define BASE (4 * SZ_1G)
#define PAGES (SZ_1T / SZ_4K)
#define BYTES (PAGES / 8)
#define DIRTY 1000

FIXTURE(bench_sparse)
{
	int fd;
	int mock;
	__u64 *bitmap;
	/* The dirty pages, ascending: what is expected, and what was found. */
	unsigned int nr;
	__u64 expected[DIRTY];
	unsigned int nr_found;
	struct iommufd_dirty_range found[DIRTY + 1];
};

FIXTURE_SETUP(bench_sparse)
{
	const struct mock_create create = { .caps = MOCK_CAP_PEEK };

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	self->mock = test_mock_create(&create);
	test_mock_bind(self->mock, self->fd, POLICY_FAIL, NULL);
	self->bitmap = bench_alloc(BYTES);
	test_cmd_range_add(self->fd, BASE, SZ_1T);
	test_cmd_start(self->fd, SZ_4K);
}

FIXTURE_TEARDOWN(bench_sparse)
{
	close(self->fd);
	close(self->mock);
}

/* @nr pages, one somewhere in each part of as many, and no two side by side. */
static void choose(struct _test_data_bench_sparse *self, unsigned int nr)
{
	__u64 seed = 0x1234567;
	unsigned int i;

	self->nr = nr;
	for (i = 0; i < nr; i++)
		self->expected[i] = i * (PAGES / nr) +
				    next_random(&seed) % (PAGES / nr - 1);
}

static void let_write(struct __test_metadata *_metadata,
		      struct _test_data_bench_sparse *self)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++)
		test_mock_dirty(self->mock, BASE + self->expected[i] * SZ_4K,
				SZ_4K);
	self->nr_found = 0;
}

/* All the extents, with one call; @flags may be COUNT_ONLY instead. */
static void extents(struct __test_metadata *_metadata,
		    struct _test_data_bench_sparse *self, __u32 flags,
		    struct bench_count *count)
{
	struct iommufd_dirty_bitmap range = { .iova = BASE, .length = SZ_1T };
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
	};

	if (flags & IOMMUFD_DIRTY_READ_EXTENTS) {
		cmd.extents_uptr = (uintptr_t)self->found;
		cmd.nr_extents = ARRAY_SIZE(self->found);
		cmd.extent_len = sizeof(self->found[0]);
	}
	ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
	ASSERT_EQ(0, cmd.next_range);
	ASSERT_EQ(self->nr, cmd.out_dirty);
	self->nr_found = cmd.out_nr_extents;
	count->user_bytes = sizeof(cmd) +
			    cmd.out_nr_extents * sizeof(self->found[0]);
}

/* Finds what is set, and leaves the bitmap clean for the next round. */
static void bitmap_and_scan(struct __test_metadata *_metadata,
			    struct _test_data_bench_sparse *self, __u32 flags,
			    struct bench_count *count)
{
	__u64 word, bits;

	test_cmd_read(self->fd, 0, flags, BASE, SZ_1T, SZ_4K, self->bitmap,
		      NULL, NULL);
	for (word = 0; word < BYTES / sizeof(word); word++) {
		bits = self->bitmap[word];
		if (!bits)
			continue;
		self->bitmap[word] = 0;
		for (; bits; bits &= bits - 1) {
			struct iommufd_dirty_range *to;

			ASSERT_LT(self->nr_found, ARRAY_SIZE(self->found));
			to = &self->found[self->nr_found++];
			to->iova = BASE + (word * 64 + __builtin_ctzll(bits)) * SZ_4K;
			to->length = SZ_4K;
		}
	}
	count->user_bytes = sizeof(struct iommufd_dirty_read) + BYTES;
}

typedef void (*method_fn)(struct __test_metadata *_metadata,
			  struct _test_data_bench_sparse *self, __u32 flags,
			  struct bench_count *count);

static void measure(struct __test_metadata *_metadata,
		    struct _test_data_bench_sparse *self, method_fn method,
		    __u32 flags, struct bench *bench, unsigned int rep)
{
	struct bench_count count = { .calls = 1 };
	unsigned int i;
	__u64 begin;

	let_write(_metadata, self);
	count.pinned = bench_pinned(_metadata);
	begin = bench_now();
	method(_metadata, self, flags, &count);
	bench->ns[rep] = bench_now() - begin;
	count.pinned = bench_pinned(_metadata) - count.pinned;
	count.kernel_bytes = bench_kernel_bytes(_metadata, self->fd);
	bench_count(bench, rep, &count);
	if (flags & IOMMUFD_DIRTY_READ_COUNT_ONLY)
		return;
	ASSERT_EQ(self->nr, self->nr_found);
	for (i = 0; i < self->nr; i++) {
		ASSERT_EQ(BASE + self->expected[i] * SZ_4K, self->found[i].iova);
		ASSERT_EQ(SZ_4K, self->found[i].length);
	}
}

TEST_F_TIMEOUT(bench_sparse, dirty, 300)
{
	static struct bench ours = { .method = "extents" },
			    scan = { .method = "bitmap+scan" };
	unsigned int rep;

	choose(self, DIRTY);
	for (rep = 0; rep < REPS; rep++) {
		measure(_metadata, self, extents, IOMMUFD_DIRTY_READ_EXTENTS,
			&ours, rep);
		measure(_metadata, self, bitmap_and_scan, 0, &scan, rep);
	}
	bench_report("1TiB-1000-pages", &ours, NULL, 0, REPS);
	bench_report("1TiB-1000-pages", &scan, &ours, 1 / 20., REPS);
	EXPECT_GE(16384, ours.count.user_bytes);
	EXPECT_EQ(0, ours.count.pinned);
	EXPECT_EQ(0, ours.count.kernel_bytes);
}

TEST_F_TIMEOUT(bench_sparse, clean, 300)
{
	static struct bench ours = { .method = "extents" },
			    counted = { .method = "count-only" },
			    scan = { .method = "bitmap+scan" };
	unsigned int rep;

	choose(self, 0);
	for (rep = 0; rep < REPS; rep++) {
		measure(_metadata, self, extents, IOMMUFD_DIRTY_READ_EXTENTS,
			&ours, rep);
		measure(_metadata, self, extents,
			IOMMUFD_DIRTY_READ_COUNT_ONLY, &counted, rep);
		measure(_metadata, self, bitmap_and_scan, 0, &scan, rep);
	}
	bench_report("1TiB-clean", &ours, NULL, 0, REPS);
	bench_report("1TiB-clean", &counted, &ours, 0, REPS);
	bench_report("1TiB-clean", &scan, &ours, 0, REPS);
}

TEST_HARNESS_MAIN
