// SPDX-License-Identifier: GPL-2.0
/*
 * N emulated devices that write here and there: one merged READ beside N single
 * ones into N bitmaps that are ORed.
 */
#include "bench.h"
#include "emulated.h"

#define REPS 3
#define BASE (4 * SZ_1G)

FIXTURE(bench_software)
{
	int fd;
	int iommu;
	__u32 ioas_id;
	int device[MEMBERS_MAX];
	__u32 id[MEMBERS_MAX];
	char *memory;
	__u64 *bitmap[MEMBERS_MAX];
	__u64 *expected;
};

/*
 * Of 1 TiB each writes a thousand pages. One percent of it would be 21 million
 * writes for each round: what a page costs is the same in 2 GiB.
 */
FIXTURE_VARIANT(bench_software)
{
	const char *name;
	__u64 length;
	unsigned int writes;
};

FIXTURE_VARIANT_ADD(bench_software, sparse)
{
	.name = "software-1TiB-N8-1000",
	.length = SZ_1T,
	.writes = 1000,
};

FIXTURE_VARIANT_ADD(bench_software, percent)
{
	.name = "software-2GiB-N8-1%",
	.length = 2 * SZ_1G,
	.writes = 2 * SZ_1G / SZ_4K / 100,
};

static size_t bitmap_bytes(const struct _fixture_variant_bench_software *variant)
{
	return variant->length / SZ_4K / 8;
}

/* So much address space takes no memory but for the pages that are written. */
static void map(struct __test_metadata *_metadata,
		struct _test_data_bench_software *self, __u64 length)
{
	self->memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	madvise(self->memory, length, MADV_NOHUGEPAGE);
	/* Many writes share two megabytes. */
	if (length < SZ_1T) {
		int fd = memfd_create("bench", MFD_CLOEXEC);
		__u64 at;

		ASSERT_NE(-1, fd);
		ASSERT_EQ(0, ftruncate(fd, SZ_2M));
		for (at = 0; at < length; at += SZ_2M)
			ASSERT_EQ(self->memory + at,
				  mmap(self->memory + at, SZ_2M,
				       PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, fd, 0));
		close(fd);
	}
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, self->memory,
				     length, BASE));
}

FIXTURE_SETUP(bench_software)
{
	unsigned int i;

	if (!have_emulated())
		SKIP(return, "there is no iommufd-dirty-vfio.ko");
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &self->ioas_id));
	map(_metadata, self, variant->length);
	for (i = 0; i < MEMBERS_MAX; i++) {
		self->device[i] = _emulated_open(i);
		ASSERT_NE(-1, self->device[i])
		{
			TH_LOG("load iommufd-dirty-emulated with nr=%u",
			       MEMBERS_MAX);
		}
		ASSERT_EQ(0, _vfio_bind_iommufd(self->device[i], self->iommu,
						NULL));
		ASSERT_EQ(0, _vfio_attach(self->device[i], self->ioas_id));
		test_vfio_dirty_bind(self->device[i], self->fd, POLICY_FAIL,
				     &self->id[i]);
		self->bitmap[i] = bench_alloc(bitmap_bytes(variant));
	}
	self->expected = bench_alloc(bitmap_bytes(variant));
	test_cmd_range_add(self->fd, BASE, variant->length);
	test_cmd_start(self->fd, SZ_4K);
}

FIXTURE_TEARDOWN(bench_software)
{
	unsigned int i;

	close(self->fd);
	for (i = 0; i < MEMBERS_MAX; i++)
		close(self->device[i]);
	close(self->iommu);
}

/* @nr devices; the same pages each time, so that the memory for them is bounded. */
static void let_write(struct __test_metadata *_metadata,
		      struct _test_data_bench_software *self,
		      const struct _fixture_variant_bench_software *variant,
		      unsigned int nr)
{
	__u64 seed = 0x1234567;
	unsigned int i, n;

	memset(self->expected, 0, bitmap_bytes(variant));
	for (i = 0; i < nr; i++) {
		memset(self->bitmap[i], 0, bitmap_bytes(variant));
		for (n = 0; n < variant->writes; n++) {
			__u64 page = next_random(&seed) %
				     (variant->length / SZ_4K);

			ASSERT_EQ(0, _emulated_run(self->device[i],
						   EMULATED_DMA_WRITE,
						   BASE + page * SZ_4K, 1, 1));
			bit_set((__u8 *)self->expected, page);
		}
	}
}

/* One READ of all, or one of each, ORed. */
static void read_all(struct __test_metadata *_metadata,
		     struct _test_data_bench_software *self,
		     const struct _fixture_variant_bench_software *variant,
		     bool merged, struct bench *bench, unsigned int rep)
{
	unsigned int i, calls = merged ? 1 : MEMBERS_MAX;
	struct bench_count count = {
		.calls = calls,
		.user_bytes = calls * (bitmap_bytes(variant) +
				       sizeof(struct iommufd_dirty_read)),
	};
	__u64 begin;

	let_write(_metadata, self, variant, MEMBERS_MAX);
	count.pinned = bench_pinned(_metadata);
	begin = bench_now();
	for (i = 0; i < calls; i++)
		test_cmd_read(self->fd, merged ? 0 : self->id[i], 0, BASE,
			      variant->length, SZ_4K, self->bitmap[i], NULL,
			      NULL);
	for (i = 1; i < calls; i++)
		bench_or(self->bitmap[0], self->bitmap[i],
			 bitmap_bytes(variant));
	bench->ns[rep] = bench_now() - begin;
	count.pinned = bench_pinned(_metadata) - count.pinned;
	count.kernel_bytes = bench_kernel_bytes(_metadata, self->fd);
	ASSERT_EQ(0, memcmp(self->bitmap[0], self->expected,
			    bitmap_bytes(variant)));
	bench_count(bench, rep, &count);
}

TEST_F_TIMEOUT(bench_software, read, 600)
{
	static struct bench merged = { .method = "merged" },
			    several = { .method = "N-READs+OR" };
	unsigned int rep;

	for (rep = 0; rep < REPS; rep++) {
		read_all(_metadata, self, variant, true, &merged, rep);
		read_all(_metadata, self, variant, false, &several, rep);
	}
	bench_report(variant->name, &merged, NULL, 0, REPS);
	bench_report(variant->name, &several, &merged, 0.5, REPS);
	EXPECT_EQ(1, merged.count.calls);
	EXPECT_EQ(several.count.user_bytes,
		  MEMBERS_MAX * merged.count.user_bytes);
}

/* The dirty pages of a bitmap, which is clean afterwards. */
static unsigned int scan(__u64 *bitmap, size_t bytes, __u64 *found)
{
	unsigned int nr = 0;
	__u64 word, bits;

	for (word = 0; word < bytes / sizeof(*bitmap); word++) {
		for (bits = bitmap[word]; bits; bits &= bits - 1)
			found[nr++] = word * 64 + __builtin_ctzll(bits);
		if (bitmap[word])
			bitmap[word] = 0;
	}
	return nr;
}

/* A thousand pages of one device: EXTENTS beside a bitmap that is scanned. */
TEST_F_TIMEOUT(bench_software, extents, 300)
{
	static struct bench ours = { .method = "extents" },
			    scanned = { .method = "bitmap+scan" };
	static struct iommufd_dirty_range extents[1024];
	static __u64 found[1024], expected[1024];
	struct iommufd_dirty_bitmap range = {
		.iova = BASE,
		.length = variant->length,
	};
	unsigned int rep, i, nr;
	__u64 begin;

	if (variant->length != SZ_1T)
		SKIP(return, "once is enough");
	for (rep = 0; rep < REPS; rep++) {
		struct iommufd_dirty_read cmd = {
			.size = sizeof(cmd),
			.flags = IOMMUFD_DIRTY_READ_EXTENTS,
			.tracker_id = self->id[0],
			.nr_ranges = 1,
			.range_len = sizeof(range),
			.ranges_uptr = (uintptr_t)&range,
			.page_size = SZ_4K,
			.extents_uptr = (uintptr_t)extents,
			.nr_extents = ARRAY_SIZE(extents),
			.extent_len = sizeof(extents[0]),
		};

		let_write(_metadata, self, variant, 1);
		nr = scan(self->expected, bitmap_bytes(variant), expected);
		begin = bench_now();
		ASSERT_EQ(0, ioctl(self->fd, IOMMUFD_DIRTY_READ, &cmd));
		ours.ns[rep] = bench_now() - begin;
		ASSERT_EQ(nr, cmd.out_nr_extents);
		for (i = 0; i < nr; i++) {
			ASSERT_EQ(BASE + expected[i] * SZ_4K, extents[i].iova);
			ASSERT_EQ(SZ_4K, extents[i].length);
		}

		let_write(_metadata, self, variant, 1);
		begin = bench_now();
		test_cmd_read(self->fd, self->id[0], 0, BASE, variant->length,
			      SZ_4K, self->bitmap[0], NULL, NULL);
		ASSERT_EQ(nr, scan(self->bitmap[0], bitmap_bytes(variant),
				   found));
		scanned.ns[rep] = bench_now() - begin;
		ASSERT_EQ(0, memcmp(found, expected, nr * sizeof(*found)));
		ours.count.calls = 1;
		ours.count.user_bytes = sizeof(cmd) + nr * sizeof(*extents);
		scanned.count.calls = 1;
		scanned.count.user_bytes = sizeof(cmd) + bitmap_bytes(variant);
	}
	bench_report("software-1TiB-N1-1000", &ours, NULL, 0, REPS);
	bench_report("software-1TiB-N1-1000", &scanned, &ours, 1 / 20., REPS);
	EXPECT_GE(16384, ours.count.user_bytes);
}

/* What a tracker costs that is bound but not started, see bench_stopped.c. */
#define STOPPED_REPS 51
#define STOPPED_PAGES 512

static __u64 run(struct __test_metadata *_metadata, int device, __u32 op,
		 __u64 length)
{
	__u64 begin = bench_now();

	ASSERT_EQ(0, _emulated_run(device, op, BASE, length, 1));
	return bench_now() - begin;
}

TEST_F_TIMEOUT(bench_software, stopped, 120)
{
	static const struct {
		const char *name;
		__u32 op;
		__u64 length;
	} ops[] = {
		{ "vfio-pin-2MiB", EMULATED_PIN_WRITE, STOPPED_PAGES * SZ_4K },
		{ "vfio-unpin-2MiB", EMULATED_UNPIN, STOPPED_PAGES * SZ_4K },
		{ "vfio-dma-rw-4KiB", EMULATED_DMA_WRITE, SZ_4K },
	};
	static struct bench bench[ARRAY_SIZE(ops)][2];
	unsigned int rep, with, i;

	if (variant->length == SZ_1T)
		SKIP(return, "once is enough");
	test_cmd_stop(self->fd);
	for (rep = 0; rep < STOPPED_REPS; rep++) {
		for (with = 0; with < 2; with++) {
			if (!with) {
				test_cmd_unbind(self->fd, self->id[0], 0);
			} else {
				test_vfio_dirty_bind(self->device[0], self->fd,
						     POLICY_FAIL, &self->id[0]);
			}
			for (i = 0; i < ARRAY_SIZE(ops); i++)
				bench[i][with].ns[rep] =
					run(_metadata, self->device[0],
					    ops[i].op, ops[i].length);
		}
	}
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		bench[i][0].count.calls = 1;
		bench[i][1].count.calls = 1;
		bench[i][0].method = "no-tracker";
		bench[i][1].method = "stopped";
		bench_report(ops[i].name, &bench[i][1], NULL, 0, STOPPED_REPS);
		bench_report(ops[i].name, &bench[i][0], &bench[i][1], 1.02,
			     STOPPED_REPS);
	}
}

TEST_HARNESS_MAIN
