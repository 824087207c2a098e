/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmarks share: the clock, exact counts, and the lines from which
 * bench_table.sh makes a table.
 *
 * Each case measures several methods that have the same result, which is checked
 * each time. The methods take turns (A B C A B C ...), so that other load on the
 * machine affects all of them, and the medians are compared.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_BENCH
#define __SELFTEST_IOMMUFD_DIRTY_BENCH

#include <inttypes.h>
#include <time.h>

#include "members.h"

#define SZ_1T (1024 * SZ_1G)

#define BENCH_REPS_MAX 51

/**
 * struct bench_count - What a method costs besides time, all exact
 * @calls: System calls
 * @user_bytes: Bytes of user memory that the kernel was given to write: the
 *              bitmap's bytes for the range that was asked for, once for each
 *              call, or the extents that were written, and the structures that
 *              are copied out
 * @pinned: Pages of user memory that were pinned, by /proc/vmstat
 * @kernel_bytes: Bytes of bitmap that the kernel holds for it
 */
struct bench_count {
	__u64 calls;
	__u64 user_bytes;
	__u64 pinned;
	__u64 kernel_bytes;
};

/**
 * struct bench - A method of a case
 * @method: Its name
 * @ns: What each repetition took
 * @count: The counts of one repetition, the same for each
 */
struct bench {
	const char *method;
	__u64 ns[BENCH_REPS_MAX];
	struct bench_count count;
};

static inline __u64 bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Pages that were pinned since boot. */
static inline __u64 bench_pinned(struct __test_metadata *_metadata)
{
	__u64 pinned = ~0ULL;
	char line[128];
	FILE *file;

	/* Sums up what the processors have counted for themselves. */
	file = fopen("/proc/sys/vm/stat_refresh", "w");
	ASSERT_NE(NULL, file);
	fputs("1\n", file);
	ASSERT_EQ(0, fclose(file));
	file = fopen("/proc/vmstat", "r");
	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "nr_foll_pin_acquired %llu", &pinned);
	fclose(file);
	ASSERT_NE(~0ULL, pinned);
	return pinned;
}

/* A method's first repetition sets what it counts, the others must agree. */
static inline void __bench_count(struct __test_metadata *_metadata,
				 struct bench *bench, unsigned int rep,
				 const struct bench_count *count)
{
	if (!rep)
		bench->count = *count;
	ASSERT_EQ(0, memcmp(&bench->count, count, sizeof(*count)))
	{
		TH_LOG("%s: repetition %u counts differently", bench->method,
		       rep);
	}
}

#define bench_count(...) __bench_count(_metadata, __VA_ARGS__)

static inline int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double bench_median(double *values, unsigned int nr)
{
	qsort(values, nr, sizeof(*values), bench_compare);
	return nr % 2 ? values[nr / 2] :
			(values[nr / 2 - 1] + values[nr / 2]) / 2;
}

/*
 * One line for a method. With @ours, how long that takes for each second of
 * this method (the median over the rounds, in each of which the two were
 * neighbours), and with @goal how long it may.
 */
static inline void bench_report(const char *name, const struct bench *bench,
				const struct bench *ours, double goal,
				unsigned int reps)
{
	double values[BENCH_REPS_MAX];
	unsigned int i;

	for (i = 0; i < reps; i++)
		values[i] = bench->ns[i];
	printf("# bench case=%s method=%s ns=%.0f reps=%u", name, bench->method,
	       bench_median(values, reps), reps);
	printf(" calls=%llu user_bytes=%llu pinned=%llu kernel_bytes=%llu",
	       bench->count.calls, bench->count.user_bytes,
	       bench->count.pinned, bench->count.kernel_bytes);
	if (ours) {
		for (i = 0; i < reps; i++)
			values[i] = (double)ours->ns[i] / bench->ns[i];
		printf(" ratio=%.3f", bench_median(values, reps));
	}
	if (goal)
		printf(" goal=%.3f", goal);
	printf("\n");
	fflush(stdout);
}

static inline __u64 bench_kernel_bytes(struct __test_metadata *_metadata, int fd)
{
	struct iommufd_dirty_stats stats;

	test_cmd_stats(fd, 0, &stats);
	return stats.out_bitmap_bytes;
}

/* ORs @bytes, in words, of @from into @into. */
static inline void bench_or(__u64 *into, const __u64 *from, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes / sizeof(*into); i++)
		into[i] |= from[i];
}

/* Memory that is populated: its page faults are not measured. */
static inline void *__bench_alloc(struct __test_metadata *_metadata, size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	ASSERT_NE(MAP_FAILED, map);
	return map;
}

#define bench_alloc(bytes) __bench_alloc(_metadata, bytes)

#endif
