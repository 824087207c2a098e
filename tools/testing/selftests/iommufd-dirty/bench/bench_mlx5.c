// SPDX-License-Identifier: GPL-2.0
/*
 * Functions of mlx5-model that wrote to 1 GiB: one merged READ of their trackers
 * beside VFIO's DMA logging of each, with the C driver and with ours. A machine has
 * only one of the drivers at a time, and is not as fast at one time as at another. So
 * it runs in turns, with the C driver and then with ours, TURNS times each: what was
 * measured up to then is in /tmp, and the last one prints all.
 */
#include "bench.h"
#include "mlx5_control.h"
#include "mlx5_ways.h"

#define TURNS 3
#define REPS_PER_TURN 3
#define REPS (TURNS * REPS_PER_TURN)
#define LENGTH SZ_1G
#define BYTES (LENGTH / SZ_4K / 8)
#define MAX_VFS 8
#define RESULTS "/tmp/bench_mlx5"

/* Words that each function writes to random places: 0.1, 1 and 10 % of the pages. */
static const struct {
	const char *name;
	__u32 words;
} dirty[] = { { "0.1%", 262 }, { "1%", 2621 }, { "10%", 26214 } };

static const unsigned int many[] = { 1, 2, 8 };

/* What a firmware takes to begin with a report, and none at all. */
static const unsigned int delays[] = { 0, 5 };

#define NR_CASES (ARRAY_SIZE(delays) * ARRAY_SIZE(many) * ARRAY_SIZE(dirty))

/**
 * struct result - A method in a case
 * @bench: Its times
 * @hash: Of the bitmap of each repetition, which the other methods must have, too
 * @commands: That the firmware got in all repetitions
 * @interrupts: That it made
 */
struct result {
	struct bench bench;
	__u64 hash[REPS];
	__u64 commands;
	__u64 interrupts;
};

/**
 * struct results - All that was measured
 * @turns: Of the C driver, of ours
 */
static struct results {
	unsigned int turns[2];
	struct result by_c[NR_CASES];
	struct result by_log[NR_CASES];
	struct result by_read[NR_CASES];
} results;

FIXTURE(bench_mlx5)
{
	struct vf vfs[MAX_VFS];
	int control;
	int fd;
	__u8 *bitmap;
};

FIXTURE_SETUP(bench_mlx5)
{
	unsigned int i;

	for (i = 0; i < MAX_VFS; i++)
		vf_init(&self->vfs[i]);
	self->fd = -1;
	self->control = control_open();
	ASSERT_NE(-1, self->control)
	{
		TH_LOG(NO_CONTROL);
	}
	self->bitmap = bench_alloc(BYTES);
}

FIXTURE_TEARDOWN(bench_mlx5)
{
	control_do(self->control, "forget");
}

static __u64 hash(const __u8 *bytes)
{
	__u64 hash = 0xcbf29ce484222325;
	unsigned int i;

	for (i = 0; i < BYTES; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	return hash;
}

/* The same memory again and again, so that it need not be a GiB. */
static void open_vfs(struct __test_metadata *_metadata, struct _test_data_bench_mlx5 *self,
		     unsigned int nr)
{
	struct vf *first = &self->vfs[0];
	unsigned int i;
	__u64 at;

	vf_open(_metadata, first, 0);
	for (at = SIZE; at < LENGTH; at += SIZE)
		ASSERT_EQ(0, _iommu_ioas_map(first->iommu, first->ioas_id, first->memory, SIZE,
					     IOVA + at));
	for (i = 1; i < nr; i++)
		vf_join(_metadata, &self->vfs[i], i, first);
}

static void close_vfs(struct _test_data_bench_mlx5 *self, unsigned int nr)
{
	while (nr--)
		vf_close(&self->vfs[nr]);
}

static void start(struct __test_metadata *_metadata, struct _test_data_bench_mlx5 *self,
		  unsigned int nr, enum way way)
{
	__u64 page_size = SZ_4K;
	unsigned int i;

	if (way == WAY_CONTEXT) {
		self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
		ASSERT_NE(-1, self->fd);
		for (i = 0; i < nr; i++)
			test_vfio_dirty_bind(self->vfs[i].device, self->fd, POLICY_FAIL, NULL);
		test_cmd_range_add(self->fd, IOVA, LENGTH);
		test_cmd_start(self->fd, SZ_4K);
		return;
	}
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, _vfio_log_start(self->vfs[i].device, IOVA, LENGTH, &page_size));
		ASSERT_EQ(SZ_4K, page_size);
	}
}

static void stop(struct __test_metadata *_metadata, struct _test_data_bench_mlx5 *self,
		 unsigned int nr, enum way way)
{
	unsigned int i;

	if (way == WAY_CONTEXT) {
		test_cmd_stop(self->fd);
		close(self->fd);
		self->fd = -1;
		return;
	}
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, _vfio_log_stop(self->vfs[i].device));
}

static void firmware_counts(struct __test_metadata *_metadata,
			    struct _test_data_bench_mlx5 *self, __u64 *commands,
			    __u64 *interrupts)
{
	char *answer = control(self->control, "count");

	ASSERT_NE(NULL, answer);
	ASSERT_EQ(2, sscanf(answer, "ok commands=%llx interrupts=%llx", commands, interrupts));
	free(answer);
}

static void read_once(struct __test_metadata *_metadata, struct _test_data_bench_mlx5 *self,
		      unsigned int nr, enum way way, __u32 words, struct result *result,
		      unsigned int rep)
{
	struct bench_count count = {
		.calls = way == WAY_CONTEXT ? 1 : nr,
		.user_bytes = (way == WAY_CONTEXT ? 1 : nr) * BYTES,
	};
	__u64 commands[2], interrupts[2], began, pinned;
	unsigned int i;

	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, engine_storm(self->vfs[i].engine, IOVA, LENGTH, words,
					  100 * rep + i));
	memset(self->bitmap, 0, BYTES);
	firmware_counts(_metadata, self, &commands[0], &interrupts[0]);
	pinned = bench_pinned(_metadata);
	began = bench_now();
	if (way == WAY_CONTEXT) {
		test_cmd_read(self->fd, 0, 0, IOVA, LENGTH, SZ_4K, self->bitmap, NULL, NULL);
	} else {
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, _vfio_log_report(self->vfs[i].device, IOVA, LENGTH, SZ_4K,
						      self->bitmap));
	}
	result->bench.ns[rep] = bench_now() - began;
	pinned = bench_pinned(_metadata) - pinned;
	/* The memory of the bitmap may become a huge page at some time. */
	count.pinned = rep ? result->bench.count.pinned : pinned;
	if (way == WAY_CONTEXT)
		count.kernel_bytes = bench_kernel_bytes(_metadata, self->fd);
	firmware_counts(_metadata, self, &commands[1], &interrupts[1]);
	result->hash[rep] = hash(self->bitmap);
	result->commands += commands[1] - commands[0];
	result->interrupts += interrupts[1] - interrupts[0];
	bench_count(&result->bench, rep, &count);
}

/* All cases by one way, a start for as many as have the same functions. */
static void run(struct __test_metadata *_metadata, struct _test_data_bench_mlx5 *self,
		enum way way, unsigned int turn, struct result *cases)
{
	unsigned int n, d, p, rep;
	struct result *result;

	for (n = 0; n < ARRAY_SIZE(many); n++) {
		open_vfs(_metadata, self, many[n]);
		start(_metadata, self, many[n], way);
		for (d = 0; d < ARRAY_SIZE(delays); d++) {
			ASSERT_TRUE(control_do(self->control, "report-delay %x", delays[d]));
			for (p = 0; p < ARRAY_SIZE(dirty); p++) {
				result = &cases[(d * ARRAY_SIZE(many) + n) *
						ARRAY_SIZE(dirty) + p];
				for (rep = 0; rep < REPS_PER_TURN; rep++)
					read_once(_metadata, self, many[n], way, dirty[p].words,
						  result, turn * REPS_PER_TURN + rep);
			}
		}
		stop(_metadata, self, many[n], way);
		close_vfs(self, many[n]);
	}
}

static void keep(struct __test_metadata *_metadata)
{
	FILE *file = fopen(RESULTS, "w");

	ASSERT_NE(NULL, file);
	ASSERT_EQ(1, fwrite(&results, sizeof(results), 1, file));
	ASSERT_EQ(0, fclose(file));
}

/* The first turn finds nothing. */
static void take(struct __test_metadata *_metadata)
{
	FILE *file = fopen(RESULTS, "r");
	unsigned int i;

	if (!file)
		return;
	ASSERT_EQ(1, fread(&results, sizeof(results), 1, file));
	fclose(file);
	/* These were of another process. */
	for (i = 0; i < NR_CASES; i++) {
		results.by_c[i].bench.method = "REPORT,C";
		results.by_log[i].bench.method = "REPORT,Rust";
		results.by_read[i].bench.method = "READ";
	}
}

static void report(const char *name, const struct result *result, const struct result *ours,
		   double goal)
{
	printf("# bench-firmware case=%s method=%s commands=%.1f interrupts=%.1f\n", name,
	       result->bench.method, (double)result->commands / REPS,
	       (double)result->interrupts / REPS);
	bench_report(name, &result->bench, ours ? &ours->bench : NULL, goal, REPS);
}

TEST_F_TIMEOUT(bench_mlx5, read, 900)
{
	const struct result *by_c, *by_log, *by_read;
	struct result one;
	unsigned int n, d, p, i, rep, *turn;
	char name[64];

	take(_metadata);
	turn = &results.turns[is_our_driver()];
	ASSERT_GT(TURNS, *turn);
	ASSERT_EQ(results.turns[0], results.turns[1] + is_our_driver());
	if (is_our_driver()) {
		run(_metadata, self, WAY_LOG, *turn, results.by_log);
		run(_metadata, self, WAY_CONTEXT, *turn, results.by_read);
	} else {
		run(_metadata, self, WAY_LOG, *turn, results.by_c);
	}
	++*turn;
	keep(_metadata);
	if (results.turns[1] < TURNS)
		return;
	for (d = 0; d < ARRAY_SIZE(delays); d++) {
		for (p = 0; p < ARRAY_SIZE(dirty); p++) {
			for (n = 0; n < ARRAY_SIZE(many); n++) {
				i = (d * ARRAY_SIZE(many) + n) * ARRAY_SIZE(dirty) + p;
				by_c = &results.by_c[i];
				by_log = &results.by_log[i];
				by_read = &results.by_read[i];
				snprintf(name, sizeof(name), "mlx5-%s%s-N%u", dirty[p].name,
					 delays[d] ? "-5ms" : "", many[n]);
				for (rep = 0; rep < REPS; rep++) {
					EXPECT_EQ(by_c->hash[rep], by_log->hash[rep]);
					EXPECT_EQ(by_c->hash[rep], by_read->hash[rep]);
				}
				report(name, by_read, NULL, 0);
				report(name, by_c, by_read, many[n] == 1 ? 1 : 0);
				report(name, by_log, by_read, 0);
				if (many[n] == 1)
					continue;
				one = results.by_read[d * ARRAY_SIZE(many) * ARRAY_SIZE(dirty) + p];
				one.bench.method = "READ,one";
				report(name, &one, by_read, many[n] == 8 ? 2 : 0);
			}
		}
	}
}

TEST_HARNESS_MAIN
