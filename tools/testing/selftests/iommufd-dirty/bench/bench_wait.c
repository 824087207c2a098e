// SPDX-License-Identifier: GPL-2.0
/*
 * N devices whose logs take 5 ms each to read: one merged READ beside a READ of
 * one device, and beside a loop that reads one after the other.
 */
#include "bench.h"

#define REPS 21
#define LATENCY_MS 5
#define LENGTH (64 * SZ_1M)
#define BYTES (LENGTH / SZ_4K / 8)

FIXTURE(bench_wait)
{
	int fd;
	int mock[MEMBERS_MAX];
	__u32 id[MEMBERS_MAX];
	__u8 *bitmap;
	__u8 *expected;
};

FIXTURE_SETUP(bench_wait)
{
	const struct mock_create create = { .caps = MOCK_CAP_WAITS };
	unsigned int i;

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	for (i = 0; i < MEMBERS_MAX; i++) {
		self->mock[i] = test_mock_create(&create);
		test_mock_knob(self->mock[i], MOCK_KNOB_LATENCY_MS, LATENCY_MS);
		test_mock_bind(self->mock[i], self->fd, POLICY_FAIL,
			       &self->id[i]);
	}
	self->bitmap = bench_alloc(BYTES);
	self->expected = bench_alloc(BYTES);
	test_cmd_range_add(self->fd, MEMBERS_BASE, LENGTH);
	test_cmd_start(self->fd, SZ_4K);
}

FIXTURE_TEARDOWN(bench_wait)
{
	close(self->fd);
}

/* One READ of tracker @id, or of all of them, or of each of the first @nr. */
static void read_in_turn(struct __test_metadata *_metadata,
			 struct _test_data_bench_wait *self, unsigned int nr,
			 bool merged, struct bench *bench, unsigned int rep)
{
	unsigned int i, calls = merged ? 1 : nr;
	struct bench_count count = {
		.calls = calls,
		.user_bytes = calls * (BYTES + sizeof(struct iommufd_dirty_read)),
	};
	__u64 begin;

	memset(self->bitmap, 0, BYTES);
	memset(self->expected, 0, BYTES);
	for (i = 0; i < nr; i++) {
		test_mock_dirty(self->mock[i], MEMBERS_BASE + i * SZ_4K, SZ_4K);
		bit_set(self->expected, i);
	}
	count.pinned = bench_pinned(_metadata);
	begin = bench_now();
	for (i = 0; i < calls; i++)
		test_cmd_read(self->fd, merged ? 0 : self->id[i], 0,
			      MEMBERS_BASE, LENGTH, SZ_4K, self->bitmap, NULL,
			      NULL);
	bench->ns[rep] = bench_now() - begin;
	count.pinned = bench_pinned(_metadata) - count.pinned;
	count.kernel_bytes = bench_kernel_bytes(_metadata, self->fd);
	ASSERT_EQ(0, memcmp(self->bitmap, self->expected, BYTES));
	bench_count(bench, rep, &count);
}

TEST_F_TIMEOUT(bench_wait, read, 120)
{
	static struct bench merged = { .method = "merged" },
			    one = { .method = "one-device" },
			    serial = { .method = "serial-loop" };
	unsigned int rep;

	for (rep = 0; rep < REPS; rep++) {
		read_in_turn(_metadata, self, MEMBERS_MAX, true, &merged, rep);
		read_in_turn(_metadata, self, 1, false, &one, rep);
		read_in_turn(_metadata, self, MEMBERS_MAX, false, &serial, rep);
	}
	bench_report("device-5ms-N8", &merged, NULL, 0, REPS);
	bench_report("device-5ms-N8", &one, &merged, 2, REPS);
	bench_report("device-5ms-N8", &serial, &merged, 0, REPS);
}

TEST_HARNESS_MAIN
