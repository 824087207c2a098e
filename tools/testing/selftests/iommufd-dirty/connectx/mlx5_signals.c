// SPDX-License-Identifier: GPL-2.0
/*
 * Signals during a READ of virtual functions of mlx5-model. Each range is a report of its
 * own: a READ of many takes long. It is done by the task itself if there is one function,
 * and by workers if there are two.
 */
#include <time.h>

#include "mlx5_control.h"
#include "mlx5_ways.h"
#include "signals.h"

static __u64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

FIXTURE(functions)
{
	struct vf vf[2];
	struct tracking tracking;
	struct iommufd_dirty_range ranges[MAX_RANGES];
	int control;
};

FIXTURE_VARIANT(functions)
{
	unsigned int count;
};

FIXTURE_VARIANT_ADD(functions, one)
{
	.count = 1,
};

FIXTURE_VARIANT_ADD(functions, two)
{
	.count = 2,
};

FIXTURE_SETUP(functions)
{
	unsigned int i;
	__u32 id;

	for (i = 0; i < variant->count; i++)
		vf_init(&self->vf[i]);
	tracking_init(&self->tracking);
	self->control = control_open();
	ASSERT_NE(-1, self->control);
	if (!is_our_driver())
		SKIP(return, "the C driver ends a report by no signal");
	vf_open(_metadata, &self->vf[0], 0);
	test_tracking_open(&self->tracking, WAY_CONTEXT, &self->vf[0], POLICY_FAIL);
	for (i = 1; i < variant->count; i++) {
		vf_join(_metadata, &self->vf[i], i, &self->vf[0]);
		test_vfio_dirty_bind(self->vf[i].device, self->tracking.fd, POLICY_FAIL, &id);
	}
	scatter(self->ranges, MAX_RANGES, SIZE / MAX_RANGES);
	test_cmd_ranges(self->tracking.fd, 0, self->ranges, MAX_RANGES);
	test_cmd_start(self->tracking.fd, SZ_4K);
}

FIXTURE_TEARDOWN(functions)
{
	unsigned int i;

	tracking_close(&self->tracking);
	for (i = 0; i < variant->count; i++)
		vf_close(&self->vf[i]);
	close(self->control);
}

/* The last function writes the first page of each range, and the first one its second. */
#define write_all()                                                                      \
	for (unsigned int __i = 0; __i < MAX_RANGES; __i++) {                            \
		ASSERT_EQ(0, engine_fill(self->vf[0].engine,                             \
					 self->ranges[__i].iova + SZ_4K, 4));            \
		ASSERT_EQ(0, engine_fill(self->vf[variant->count - 1].engine,            \
					 self->ranges[__i].iova, 4));                    \
	}

#define expect_all(bits)                                                                 \
	do {                                                                             \
		unsigned int __page, __found = 0;                                        \
											 \
		for (unsigned int __i = 0; __i < MAX_RANGES; __i++) {                    \
			__page = (self->ranges[__i].iova - IOVA) / SZ_4K;                \
			EXPECT_EQ(3, (bits)[__page / 8] >> __page % 8 & 3);              \
		}                                                                        \
		for (__page = 0; __page < SIZE / SZ_4K; __page++)                        \
			__found += (bits)[__page / 8] >> __page % 8 & 1;                 \
		EXPECT_EQ(2 * MAX_RANGES, __found);                                      \
	} while (0)

#define read_bits(bits) \
	_test_cmd_read(self->tracking.fd, 0, 0, IOVA, SIZE, SZ_4K, bits, NULL, NULL)

/* It would take 16 * 150 ms; what was written is in this call's bitmap or the next one's. */
TEST_F(functions, a_signal_ends_a_read)
{
	__u8 bits[SIZE / SZ_4K / 8] = {};
	__u64 began;

	write_all();
	ASSERT_TRUE(control_do(self->control, "report-delay %x", 150));
	began = now_ms();
	ASSERT_EQ(0, interrupt_every(100));
	EXPECT_ERRNO(EINTR, read_bits(bits));
	ASSERT_EQ(0, interrupt_every(0));
	EXPECT_GT(1500, now_ms() - began);
	ASSERT_TRUE(control_do(self->control, "forget"));
	ASSERT_EQ(0, read_bits(bits));
	expect_all(bits);
}

/* Each time the read is given more, until that is enough: here 16 * 10 ms. */
TEST_F(functions, a_timer_does_not_starve_a_read)
{
	__u8 bits[SIZE / SZ_4K / 8] = {};
	unsigned int calls = 1;
	int ret;

	write_all();
	ASSERT_TRUE(control_do(self->control, "report-delay %x", 10));
	ASSERT_EQ(0, interrupt_every(20));
	while ((ret = read_bits(bits)) && errno == EINTR && calls < 30)
		calls++;
	ASSERT_EQ(0, interrupt_every(0));
	EXPECT_EQ(0, ret);
	EXPECT_LT(1, calls);
	ASSERT_TRUE(control_do(self->control, "forget"));
	expect_all(bits);
}

TEST_HARNESS_MAIN
