// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking of a virtual function of mlx5-model, by VFIO's own interface and by
 * a context. The memory itself tells what the function wrote.
 */
#include "mlx5_ways.h"

#define PAGES (SIZE / SZ_4K)
#define WORDS (PAGES / 64)

FIXTURE(mlx5)
{
	struct vf vf;
	struct tracking tracking;
	__u64 truth[WORDS];
	__u64 bitmap[WORDS];
};

FIXTURE_VARIANT(mlx5)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(mlx5, log)
{
	.way = WAY_LOG,
};

FIXTURE_VARIANT_ADD(mlx5, context)
{
	.way = WAY_CONTEXT,
};

/* Which granules the device wrote since the last time, and forgets them. */
static void take_truth(__u8 *memory, __u64 granule, __u64 *truth)
{
	static const __u8 clean[SZ_4K];
	__u64 page, first, pages = granule / SZ_4K;

	memset(truth, 0, WORDS * 8);
	for (page = 0; page < PAGES; page++) {
		__u8 *at = memory + page * SZ_4K;

		if (!memcmp(at, clean, SZ_4K))
			continue;
		memset(at, 0, SZ_4K);
		for (first = page - page % pages; first < page - page % pages + pages; first++)
			truth[first / 64] |= 1ULL << first % 64;
	}
}

static unsigned int weight(const __u64 *bitmap)
{
	unsigned int i, sum = 0;

	for (i = 0; i < WORDS; i++)
		sum += __builtin_popcountll(bitmap[i]);
	return sum;
}

FIXTURE_SETUP(mlx5)
{
	vf_init(&self->vf);
	tracking_init(&self->tracking);
	vf_open(_metadata, &self->vf, 0);
	test_tracking_open(&self->tracking, variant->way, &self->vf, POLICY_FAIL);
}

FIXTURE_TEARDOWN(mlx5)
{
	tracking_close(&self->tracking);
	vf_close(&self->vf);
}

#define report_is_truth(granule)							\
	do {										\
		memset(self->bitmap, 0, sizeof(self->bitmap));				\
		ASSERT_EQ(0, tracking_read(&self->tracking, IOVA, SIZE, self->bitmap));	\
		take_truth(self->vf.memory, granule, self->truth);				\
		ASSERT_EQ(weight(self->truth), weight(self->bitmap));			\
		ASSERT_EQ(0, memcmp(self->truth, self->bitmap, sizeof(self->bitmap)));	\
	} while (0)

static const struct iommufd_dirty_range whole = {
	.iova = IOVA,
	.length = SIZE,
};

TEST_F(mlx5, start_report_stop)
{
	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
	report_is_truth(SZ_4K);
	ASSERT_EQ(0, weight(self->truth));

	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA + SZ_4K - 4, 8));
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA + 77 * SZ_4K, 3 * SZ_4K));
	report_is_truth(SZ_4K);
	ASSERT_EQ(5, weight(self->truth));
	/* It is reported once. */
	report_is_truth(SZ_4K);
	ASSERT_EQ(0, weight(self->truth));

	ASSERT_EQ(0, tracking_stop(&self->tracking));
}

TEST_F(mlx5, what_is_before_start_is_not_reported)
{
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_2M));
	take_truth(self->vf.memory, SZ_4K, self->truth);
	ASSERT_EQ(SZ_2M / SZ_4K, weight(self->truth));
	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
	report_is_truth(SZ_4K);
	ASSERT_EQ(0, tracking_stop(&self->tracking));
}

/* More than one report message, and more than the receives that are posted. */
TEST_F(mlx5, everything)
{
	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SIZE));
	report_is_truth(SZ_4K);
	ASSERT_EQ(PAGES, weight(self->truth));
	ASSERT_EQ(0, tracking_stop(&self->tracking));
}

TEST_F_TIMEOUT(mlx5, storms, 300)
{
	unsigned int round, pages = 0;

	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
	for (round = 1; round <= 100; round++) {
		ASSERT_EQ(0, engine_storm(self->vf.engine, IOVA, SIZE, round * 13 % 400, round));
		report_is_truth(SZ_4K);
		pages += weight(self->truth);
	}
	ASSERT_LT(10000, pages);
	ASSERT_EQ(0, tracking_stop(&self->tracking));
}

TEST_F(mlx5, every_page_size)
{
	__u64 granule;

	for (granule = SZ_4K; granule <= SZ_2M; granule *= 2) {
		ASSERT_EQ(0, tracking_start(&self->tracking, granule, &whole, 1));
		ASSERT_EQ(0, engine_storm(self->vf.engine, IOVA, SIZE, 20, granule));
		report_is_truth(granule);
		ASSERT_LT(0, weight(self->truth));
		ASSERT_EQ(0, tracking_stop(&self->tracking));
	}
}

/* A write beside the ranges is not seen, one into each of them is. */
TEST_F(mlx5, ranges)
{
	struct iommufd_dirty_range ranges[8];
	unsigned int i;

	for (i = 0; i < 8; i++) {
		ranges[i].iova = IOVA + i * 2 * SZ_2M;
		ranges[i].length = SZ_2M;
	}
	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, ranges, 8));
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SIZE));
	ASSERT_EQ(0, tracking_read(&self->tracking, IOVA, SIZE, self->bitmap));
	ASSERT_EQ(PAGES / 2, weight(self->bitmap));
	for (i = 0; i < WORDS; i++)
		ASSERT_EQ(i / 8 % 2 ? 0 : ~0ULL, self->bitmap[i]);
	ASSERT_EQ(0, tracking_stop(&self->tracking));
}

TEST_F(mlx5, a_part_is_read_and_the_rest_stays)
{
	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SIZE));
	ASSERT_EQ(0, tracking_read(&self->tracking, IOVA + SZ_2M, SZ_2M, self->bitmap));
	ASSERT_EQ(512, weight(self->bitmap));
	memset(self->bitmap, 0, sizeof(self->bitmap));
	ASSERT_EQ(0, tracking_read(&self->tracking, IOVA, SIZE, self->bitmap));
	ASSERT_EQ(PAGES - 512, weight(self->bitmap));
	ASSERT_EQ(0, self->bitmap[8]);
	ASSERT_EQ(0, tracking_stop(&self->tracking));
}

static int start_again(struct tracking *tracking)
{
	if (tracking->way == WAY_LOG)
		return tracking_start(tracking, SZ_4K, &whole, 1);
	return _test_cmd_start(tracking->fd, 0, SZ_4K) ? -errno : 0;
}

TEST_F(mlx5, what_the_device_cannot_do)
{
	struct iommufd_dirty_range huge = { .iova = 0, .length = 1ULL << 43 };
	bool log = variant->way == WAY_LOG;
	int err;

	err = tracking_start(&self->tracking, SZ_4K, &huge, 1);
	ASSERT_TRUE(err == -EOPNOTSUPP || (!log && err == -EDOM))
	{
		TH_LOG("%s", strerror(-err));
	}
	ASSERT_EQ(log ? -EINVAL : -ENODATA,
		  tracking_read(&self->tracking, IOVA, SIZE, self->bitmap));
	ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
	ASSERT_EQ(log ? -EINVAL : -EBUSY, start_again(&self->tracking));
	ASSERT_EQ(0, tracking_stop(&self->tracking));
	/* Outside of what is mapped no write gets through. */
	ASSERT_EQ(1, engine_fill(self->vf.engine, IOVA + SIZE, SZ_4K));
}

/* What a start or a stop leaves behind would be missed by the next ones. */
TEST_F_TIMEOUT(mlx5, again_and_again, 120)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, tracking_start(&self->tracking, SZ_4K, &whole, 1));
		ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA + i * SZ_4K, 4));
		report_is_truth(SZ_4K);
		ASSERT_EQ(1, weight(self->truth));
		ASSERT_EQ(0, tracking_stop(&self->tracking));
	}
}

TEST_HARNESS_MAIN
