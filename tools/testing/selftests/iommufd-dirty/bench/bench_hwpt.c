// SPDX-License-Identifier: GPL-2.0
/*
 * N page tables of 1 GiB: one merged READ beside what there is without it, a
 * loop of IOMMU_HWPT_GET_DIRTY_BITMAP into one bitmap that all share, as QEMU
 * does it, or into N bitmaps that are ORed.
 */
#include "bench.h"

#define LENGTH SZ_1G
#define PAGES (LENGTH / SZ_4K)
#define BYTES (PAGES / 8)

static const unsigned int percents[] = { 0, 1, 10, 100 };

FIXTURE(bench_hwpt)
{
	int fd;
	int iommu;
	void *memory;
	__u32 hwpt_id[MEMBERS_MAX];
	/* What each one writes, and what a read has to find. */
	__u64 *writes[MEMBERS_MAX];
	__u64 *expected;
	__u64 *bitmap[MEMBERS_MAX];
};

FIXTURE_VARIANT(bench_hwpt)
{
	unsigned int nr;
	bool huge;
	unsigned int reps;
};

#define VARIANT(name, ...)                   \
	FIXTURE_VARIANT_ADD(bench_hwpt, name) \
	{                                     \
		__VA_ARGS__                   \
	}

VARIANT(4k_1, .nr = 1, .reps = 5);
VARIANT(4k_4, .nr = 4, .reps = 5);
VARIANT(4k_8, .nr = 8, .reps = 5);
VARIANT(huge_1, .nr = 1, .huge = true, .reps = 21);
VARIANT(huge_4, .nr = 4, .huge = true, .reps = 21);
VARIANT(huge_8, .nr = 8, .huge = true, .reps = 21);

/* 1 GiB of addresses that takes 2 MiB of memory. */
static void *alias(struct __test_metadata *_metadata, bool huge)
{
	int fd = memfd_create("bench", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));
	char *map, *at;

	ASSERT_NE(-1, fd);
	ASSERT_EQ(0, ftruncate(fd, SZ_2M));
	/* Aligned, for huge pages. */
	map = mmap(NULL, LENGTH + SZ_2M, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	map = (char *)(((uintptr_t)map + SZ_2M - 1) & ~(SZ_2M - 1));
	for (at = map; at < map + LENGTH; at += SZ_2M)
		ASSERT_EQ(at, mmap(at, SZ_2M, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, fd, 0))
		{
			TH_LOG("boot with hugepages=80 or more");
		}
	close(fd);
	return map;
}

FIXTURE_SETUP(bench_hwpt)
{
	__u32 ioas_id, idev_id;
	unsigned int i;

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	if (!have_hwpt(self->fd))
		SKIP(return, NO_HWPT);
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	self->memory = alias(_metadata, variant->huge);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &ioas_id));
	if (!variant->huge)
		ASSERT_EQ(0, _iommu_no_huge_pages(self->iommu, ioas_id));
	ASSERT_EQ(0, _iommu_mock_device(self->iommu, ioas_id, &idev_id));
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, ioas_id, self->memory, LENGTH,
				     MEMBERS_BASE));
	for (i = 0; i < variant->nr; i++) {
		ASSERT_EQ(0, _iommu_hwpt_alloc(self->iommu, idev_id, ioas_id,
					       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
					       variant->huge ?
						       MOCK_IOMMUPT_HUGE :
						       MOCK_IOMMUPT_DEFAULT,
					       &self->hwpt_id[i]));
		test_cmd_bind_hwpt(self->fd, self->iommu, self->hwpt_id[i],
				   POLICY_FAIL, NULL);
		self->writes[i] = bench_alloc(BYTES);
		self->bitmap[i] = bench_alloc(BYTES);
	}
	self->expected = bench_alloc(BYTES);
	test_cmd_range_add(self->fd, MEMBERS_BASE, LENGTH);
}

FIXTURE_TEARDOWN(bench_hwpt)
{
	close(self->fd);
	close(self->iommu);
}

/* Each writes @percent of its IOPTEs, others than its neighbours do. */
static void choose(struct _test_data_bench_hwpt *self,
		   const struct _fixture_variant_bench_hwpt *variant,
		   unsigned int percent)
{
	__u64 unit = variant->huge ? MOCK_HUGE_PAGE_SIZE / SZ_4K : 1;
	__u64 seed = 0x1234567, page, bit;
	unsigned int i;

	memset(self->expected, 0, BYTES);
	for (i = 0; i < variant->nr; i++) {
		memset(self->writes[i], 0, BYTES);
		for (page = 0; page < PAGES; page += unit) {
			if (next_random(&seed) % 100 >= percent)
				continue;
			bit_set((__u8 *)self->writes[i], page);
			for (bit = page; bit < page + unit; bit++)
				bit_set((__u8 *)self->expected, bit);
		}
	}
}

static void let_write(struct __test_metadata *_metadata,
		      struct _test_data_bench_hwpt *self,
		      const struct _fixture_variant_bench_hwpt *variant,
		      unsigned int percent)
{
	unsigned int i;

	for (i = 0; i < variant->nr; i++) {
		struct iommu_test_cmd cmd = {
			.size = sizeof(cmd),
			.op = IOMMU_TEST_OP_DIRTY,
			.id = self->hwpt_id[i],
			.dirty = {
				.iova = MEMBERS_BASE,
				.length = LENGTH,
				.page_size = SZ_4K,
				.uptr = (uintptr_t)self->writes[i],
			},
		};

		memset(self->bitmap[i], 0, BYTES);
		if (percent)
			ASSERT_EQ(0, ioctl(self->iommu, IOMMU_TEST_CMD, &cmd));
	}
}

static void merged(struct __test_metadata *_metadata,
		   struct _test_data_bench_hwpt *self,
		   const struct _fixture_variant_bench_hwpt *variant,
		   unsigned int percent, struct bench *bench, unsigned int rep)
{
	struct bench_count count = {
		.calls = 1,
		.user_bytes = BYTES + sizeof(struct iommufd_dirty_read),
	};
	__u64 begin;

	test_cmd_start(self->fd, SZ_4K);
	let_write(_metadata, self, variant, percent);
	count.pinned = bench_pinned(_metadata);
	begin = bench_now();
	test_cmd_read(self->fd, 0, 0, MEMBERS_BASE, LENGTH, SZ_4K,
		      self->bitmap[0], NULL, NULL);
	bench->ns[rep] = bench_now() - begin;
	count.pinned = bench_pinned(_metadata) - count.pinned;
	count.kernel_bytes = bench_kernel_bytes(_metadata, self->fd);
	ASSERT_EQ(0, memcmp(self->bitmap[0], self->expected, BYTES));
	bench_count(bench, rep, &count);
	test_cmd_stop(self->fd);
}

static void track(struct __test_metadata *_metadata,
		  struct _test_data_bench_hwpt *self,
		  const struct _fixture_variant_bench_hwpt *variant, __u32 flags)
{
	unsigned int i;

	for (i = 0; i < variant->nr; i++) {
		struct iommu_hwpt_set_dirty_tracking cmd = {
			.size = sizeof(cmd),
			.flags = flags,
			.hwpt_id = self->hwpt_id[i],
		};

		ASSERT_EQ(0, ioctl(self->iommu, IOMMU_HWPT_SET_DIRTY_TRACKING,
				   &cmd));
	}
}

/* Upstream's loop: into the first bitmap, or into all and ORed. */
static void loop(struct __test_metadata *_metadata,
		 struct _test_data_bench_hwpt *self,
		 const struct _fixture_variant_bench_hwpt *variant,
		 unsigned int percent, bool shared, struct bench *bench,
		 unsigned int rep)
{
	struct bench_count count = {
		.calls = variant->nr,
		.user_bytes = BYTES * variant->nr,
	};
	unsigned int i;
	__u64 begin;

	track(_metadata, self, variant, IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
	let_write(_metadata, self, variant, percent);
	count.pinned = bench_pinned(_metadata);
	begin = bench_now();
	for (i = 0; i < variant->nr; i++) {
		struct iommu_hwpt_get_dirty_bitmap cmd = {
			.size = sizeof(cmd),
			.hwpt_id = self->hwpt_id[i],
			.iova = MEMBERS_BASE,
			.length = LENGTH,
			.page_size = SZ_4K,
			.data = (uintptr_t)self->bitmap[shared ? 0 : i],
		};

		ASSERT_EQ(0, ioctl(self->iommu, IOMMU_HWPT_GET_DIRTY_BITMAP,
				   &cmd));
	}
	for (i = 1; i < variant->nr && !shared; i++)
		bench_or(self->bitmap[0], self->bitmap[i], BYTES);
	bench->ns[rep] = bench_now() - begin;
	count.pinned = bench_pinned(_metadata) - count.pinned;
	ASSERT_EQ(0, memcmp(self->bitmap[0], self->expected, BYTES));
	bench_count(bench, rep, &count);
	track(_metadata, self, variant, 0);
}

TEST_F_TIMEOUT(bench_hwpt, read, 600)
{
	static struct bench ours = { .method = "merged" },
			    shared = { .method = "shared-bitmap" },
			    several = { .method = "N-bitmaps+OR" };
	unsigned int i, rep;
	char name[64];

	for (i = 0; i < ARRAY_SIZE(percents); i++) {
		unsigned int percent = percents[i];
		const double goal = percent == 100 ? 0.6 : 1;

		choose(self, variant, percent);
		for (rep = 0; rep < variant->reps; rep++) {
			merged(_metadata, self, variant, percent, &ours, rep);
			loop(_metadata, self, variant, percent, true, &shared,
			     rep);
			loop(_metadata, self, variant, percent, false, &several,
			     rep);
		}
		snprintf(name, sizeof(name), "hwpt-%s-N%u-%u%%",
			 variant->huge ? "huge" : "4K", variant->nr, percent);
		bench_report(name, &ours, NULL, 0, variant->reps);
		bench_report(name, &shared, &ours, goal, variant->reps);
		bench_report(name, &several, &ours,
			     variant->huge && variant->nr == 4 ? 0.7 : 0,
			     variant->reps);
		EXPECT_EQ(1, ours.count.calls);
		EXPECT_EQ(0, ours.count.kernel_bytes);
		EXPECT_GE(BYTES / SZ_4K, ours.count.pinned);
	}
}

TEST_HARNESS_MAIN
