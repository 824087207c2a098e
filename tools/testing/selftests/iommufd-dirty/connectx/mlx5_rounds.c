// SPDX-License-Identifier: GPL-2.0
/*
 * Rounds of reads while a virtual function of mlx5-model writes: at each moment the
 * test knows which writes must be in a read, and which may be. At the end of a session
 * one more read, with the function quiet, makes the union exactly what was written.
 *
 * MLX5_ROUNDS and MLX5_SEED in the environment: how many, and which.
 */
#include <pthread.h>
#include <sys/random.h>

#include "mlx5_control.h"
#include "mlx5_ways.h"

#define PAGES (SIZE / SZ_4K)
#define ROUNDS 1000
/* A granule and a set of ranges for so many rounds. */
#define SESSION 50
#define MAX_STORMS 65536
#define MAX_WRITES 64

/* An order to the engine, and the read during or before which it began. */
struct storm {
	__u32 seed;
	__u32 count;
	__u64 iova;
	__u32 length;
	unsigned int began_in;
};

/**
 * struct writer - The thread that makes the function write
 * @begun: Storms that have begun, or have been done
 * @done: Storms that are done
 * @wanted: Do no more than these
 * @failed: DMA writes that failed
 */
struct writer {
	pthread_t thread;
	__u8 *engine;
	struct storm *storms;
	unsigned int begun;
	unsigned int done;
	unsigned int wanted;
	unsigned int failed;
	bool stop;
};

/**
 * struct page - What a test knows of 4 KiB
 * @owed: Was written, and has not been in a read since
 * @may: Is or was being written during a read that had it: may come, or come again
 * @written: Was written in this session
 * @read: Was in a read of this session
 * @read_in: The last read that had it, from 1
 */
struct page {
	bool owed;
	bool may;
	bool written;
	bool read;
	unsigned int read_in;
};

/**
 * struct rounds - A function that writes and is read
 * @pages: Of its memory
 * @reads: So far
 * @settled: Storms that were done before the last one of them
 * @max_writes: Of one storm
 * @ranges: Those that are tracked
 */
struct rounds {
	struct vf vf;
	struct tracking tracking;
	struct writer writer;
	struct page *pages;
	int control;
	__u64 seed;
	unsigned int reads;
	unsigned int settled;
	unsigned int max_writes;
	struct iommufd_dirty_range ranges[8];
	unsigned int nr_ranges;
};

FIXTURE(rounds)
{
	struct rounds rounds;
};

FIXTURE_VARIANT(rounds)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(rounds, log)
{
	.way = WAY_LOG,
};

FIXTURE_VARIANT_ADD(rounds, context)
{
	.way = WAY_CONTEXT,
};

static unsigned int from_environment(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static void *write_away(void *arg)
{
	struct writer *writer = arg;
	unsigned int next = 0;

	while (!__atomic_load_n(&writer->stop, __ATOMIC_ACQUIRE)) {
		struct storm *storm = &writer->storms[next];

		if (next == __atomic_load_n(&writer->wanted, __ATOMIC_ACQUIRE)) {
			usleep(200);
			continue;
		}
		next++;
		__atomic_store_n(&writer->begun, next, __ATOMIC_SEQ_CST);
		writer->failed += engine_storm(writer->engine, storm->iova, storm->length,
					       storm->count, storm->seed);
		__atomic_store_n(&writer->done, next, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

FIXTURE_SETUP(rounds)
{
	struct rounds *rounds = &self->rounds;

	vf_init(&rounds->vf);
	tracking_init(&rounds->tracking);
	rounds->control = control_open();
	ASSERT_NE(-1, rounds->control);
	vf_open(_metadata, &rounds->vf, 0);
	test_tracking_open(&rounds->tracking, variant->way, &rounds->vf, POLICY_FAIL);
	rounds->pages = calloc(PAGES, sizeof(*rounds->pages));
	rounds->writer.storms = calloc(MAX_STORMS, sizeof(*rounds->writer.storms));
	ASSERT_NE(NULL, rounds->writer.storms);
	rounds->writer.engine = rounds->vf.engine;
	ASSERT_EQ(0, pthread_create(&rounds->writer.thread, NULL, write_away, &rounds->writer));
	rounds->seed = from_environment("MLX5_SEED", 0);
	while (!rounds->seed)
		ASSERT_EQ(4, getrandom(&rounds->seed, 4, 0));
	TH_LOG("MLX5_SEED=0x%llx", rounds->seed);
}

FIXTURE_TEARDOWN(rounds)
{
	struct rounds *rounds = &self->rounds;

	if (rounds->writer.thread) {
		__atomic_store_n(&rounds->writer.stop, true, __ATOMIC_RELEASE);
		pthread_join(rounds->writer.thread, NULL);
	}
	tracking_close(&rounds->tracking);
	vf_close(&rounds->vf);
	close(rounds->control);
	free(rounds->writer.storms);
	free(rounds->pages);
}

/* Which granules the storm writes to, as the model's engine chooses them. */
#define for_each_write(rounds, storm, page)                                             \
	for (__u64 __random = (storm)->seed, __n = 0,                                 \
	     page = written_page(rounds, storm, &__random);                             \
	     __n < (storm)->count; __n++, page = written_page(rounds, storm, &__random))

static bool is_tracked(struct rounds *rounds, __u64 iova)
{
	unsigned int i;

	for (i = 0; i < rounds->nr_ranges; i++) {
		if (iova - rounds->ranges[i].iova < rounds->ranges[i].length)
			return true;
	}
	return false;
}

/* The first page of the granule, or PAGES if it is not tracked. */
static __u64 written_page(struct rounds *rounds, const struct storm *storm, __u64 *random)
{
	__u64 iova;

	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	iova = storm->iova + *random % (storm->length / 4) * 4;
	if (!is_tracked(rounds, iova))
		return PAGES;
	return ((iova & ~(rounds->tracking.granule - 1)) - IOVA) / SZ_4K;
}

/* The storms [from, to) were done: each page is owed, or was in a read that they met. */
static void settle(struct rounds *rounds, unsigned int from, unsigned int to)
{
	unsigned int i;
	__u64 p;

	for (i = from; i < to; i++) {
		const struct storm *storm = &rounds->writer.storms[i];

		for_each_write(rounds, storm, first) {
			if (first == PAGES)
				continue;
			for (p = first; p < first + rounds->tracking.granule / SZ_4K; p++) {
				struct page *page = &rounds->pages[p];

				page->written = true;
				if (storm->began_in && page->read_in >= storm->began_in)
					page->may = true;
				else
					page->owed = true;
			}
		}
	}
}

/* These were begun when the read ended, and not done when it began. */
static void meet(struct rounds *rounds, unsigned int from, unsigned int to)
{
	unsigned int i;
	__u64 p;

	for (i = from; i < to; i++) {
		struct storm *storm = &rounds->writer.storms[i];

		if (!storm->began_in)
			storm->began_in = rounds->reads;
		for_each_write(rounds, storm, first) {
			for (p = first; first < PAGES &&
			     p < first + rounds->tracking.granule / SZ_4K; p++)
				rounds->pages[p].may = true;
		}
	}
}

static void read_and_compare(struct __test_metadata *_metadata, struct rounds *rounds,
			     __u64 from, __u64 count)
{
	__u8 bitmap[PAGES / 8] = {};
	unsigned int done, begun;
	__u64 p;

	done = __atomic_load_n(&rounds->writer.done, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, tracking_read(&rounds->tracking, IOVA + from * SZ_4K, count * SZ_4K,
				   bitmap));
	begun = __atomic_load_n(&rounds->writer.begun, __ATOMIC_SEQ_CST);
	rounds->reads++;
	settle(rounds, rounds->settled, done);
	meet(rounds, done, begun);
	rounds->settled = done;

	for (p = from; p < from + count; p++) {
		struct page *page = &rounds->pages[p];
		bool dirty = bit_test(bitmap, p - from);

		if (dirty ? !page->owed && !page->may : page->owed) {
			TH_LOG("read %u of 0x%llx+0x%llx, granule 0x%llx, storms %u to %u:",
			       rounds->reads, from, count, rounds->tracking.granule, done, begun);
			TH_LOG("page 0x%llx is %s", p, dirty ? "not written" : "missing");
			ASSERT_TRUE(false);
		}
		page->owed = false;
		page->may = false;
		if (dirty) {
			page->read = true;
			page->read_in = rounds->reads;
		}
	}
	/* A bit behind the last one is nobody's. */
	for (p = count; p < PAGES; p++)
		ASSERT_FALSE(bit_test(bitmap, p));
}

/* A granule, and one to eight ranges of whole granules. */
static __u64 choose_session(struct rounds *rounds)
{
	__u64 granule = SZ_4K << next_random(&rounds->seed) % 10;
	__u64 granules = SIZE / granule, piece;
	unsigned int i;

	rounds->nr_ranges = 1 + next_random(&rounds->seed) % ARRAY_SIZE(rounds->ranges);
	if (rounds->nr_ranges > granules)
		rounds->nr_ranges = 1;
	piece = granules / rounds->nr_ranges;
	for (i = 0; i < rounds->nr_ranges; i++) {
		__u64 skip = next_random(&rounds->seed) % piece;

		rounds->ranges[i].iova = IOVA + (i * piece + skip) * granule;
		rounds->ranges[i].length = (1 + next_random(&rounds->seed) % (piece - skip)) *
					 granule;
	}
	return granule;
}

static void order_storms(struct __test_metadata *_metadata, struct rounds *rounds)
{
	unsigned int i, wanted = rounds->writer.wanted;
	unsigned int count = next_random(&rounds->seed) % 8;

	ASSERT_GE(MAX_STORMS, wanted + count);
	for (i = 0; i < count; i++) {
		__u64 first = next_random(&rounds->seed) % PAGES;
		__u64 pages = 1 + next_random(&rounds->seed) % (PAGES - first);

		rounds->writer.storms[wanted + i] = (struct storm){
			.seed = 1 + next_random(&rounds->seed) % 0xfffffffe,
			.count = next_random(&rounds->seed) % rounds->max_writes,
			.iova = IOVA + first * SZ_4K,
			.length = pages * SZ_4K,
		};
	}
	__atomic_store_n(&rounds->writer.wanted, wanted + count, __ATOMIC_RELEASE);
}

static void wait_until_quiet(struct __test_metadata *_metadata, struct rounds *rounds)
{
	while (__atomic_load_n(&rounds->writer.done, __ATOMIC_SEQ_CST) != rounds->writer.wanted)
		usleep(200);
	ASSERT_EQ(0, rounds->writer.failed);
}

/* Someone else knows that this was written: the granules that are tracked. */
static void witness(struct rounds *rounds, bool *written, __u64 first, __u64 last)
{
	__u64 p;

	for (; first <= last; first = (first | (SZ_4K - 1)) + 1) {
		if (!is_tracked(rounds, first))
			continue;
		p = ((first & ~(rounds->tracking.granule - 1)) - IOVA) / SZ_4K;
		memset(written + p, true, rounds->tracking.granule / SZ_4K);
	}
}

static void compare_with(struct __test_metadata *_metadata, struct rounds *rounds,
			 const bool *written, const char *who)
{
	__u64 p;

	for (p = 0; p < PAGES; p++) {
		ASSERT_EQ(written[p], rounds->pages[p].written)
		{
			TH_LOG("page 0x%llx: the test does not know what %s knows", p, who);
		}
	}
}

/* Nothing but the function writes to its memory, and it writes no zeros. */
static void compare_with_memory(struct __test_metadata *_metadata, struct rounds *rounds)
{
	static const __u8 clean[SZ_4K];
	bool written[PAGES] = {};
	__u64 p;

	for (p = 0; p < PAGES; p++) {
		__u8 *page = rounds->vf.memory + p * SZ_4K;

		if (!memcmp(page, clean, SZ_4K))
			continue;
		memset(page, 0, SZ_4K);
		witness(rounds, written, IOVA + p * SZ_4K, IOVA + p * SZ_4K);
	}
	compare_with(_metadata, rounds, written, "the memory");
}

static void compare_with_model(struct __test_metadata *_metadata, struct rounds *rounds)
{
	char *answer, *word, *end, *rest;
	bool written[PAGES] = {};
	__u64 first;

	answer = control(rounds->control, "written %x", rounds->vf.number + 1);
	ASSERT_NE(NULL, answer);
	for (word = strtok_r(answer + 2, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		first = strtoull(word, &end, 16);
		ASSERT_EQ('-', *end);
		witness(rounds, written, first, strtoull(end + 1, NULL, 16));
	}
	free(answer);
	compare_with(_metadata, rounds, written, "the model");
}

TEST_F_TIMEOUT(rounds, reads_while_it_writes, 1200)
{
	unsigned int count = from_environment("MLX5_ROUNDS", ROUNDS);
	struct rounds *rounds = &self->rounds;
	unsigned int round, i, written = 0;
	__u64 page_size = SZ_4K, unit = SZ_4K, from, pages;

	for (round = 0; round < count; round++) {
		if (round % SESSION == 0) {
			page_size = choose_session(rounds);
			memset(rounds->pages, 0, PAGES * sizeof(*rounds->pages));
			rounds->settled = rounds->writer.wanted;
			rounds->max_writes = round ? MAX_WRITES : MAX_WRITES / 16;
			/* What was before, be it too much to tell, is forgotten. */
			if (!round)
				control_do(rounds->control, "written %x",
					   rounds->vf.number + 1);
			ASSERT_EQ(0, tracking_start(&rounds->tracking, page_size, rounds->ranges,
						    rounds->nr_ranges));
			ASSERT_EQ(page_size, rounds->tracking.granule);
			/* The C driver drops what begins before the request. */
			unit = variant->way == WAY_LOG && !is_our_driver() ? page_size : SZ_4K;
		}
		order_storms(_metadata, rounds);
		pages = SIZE / unit;
		from = next_random(&rounds->seed) % 4 ? next_random(&rounds->seed) % pages : 0;
		pages = from ? 1 + next_random(&rounds->seed) % (pages - from) : pages;
		read_and_compare(_metadata, rounds, from * unit / SZ_4K, pages * unit / SZ_4K);
		if (round % SESSION != SESSION - 1 && round != count - 1)
			continue;

		wait_until_quiet(_metadata, rounds);
		read_and_compare(_metadata, rounds, 0, PAGES);
		for (i = 0; i < PAGES; i++) {
			ASSERT_EQ(rounds->pages[i].written, rounds->pages[i].read);
			written += rounds->pages[i].written;
		}
		compare_with_memory(_metadata, rounds);
		/* It tells little at a time: a serial port is slow. */
		if (round < SESSION)
			compare_with_model(_metadata, rounds);
		/* It has been told everything. */
		read_and_compare(_metadata, rounds, 0, PAGES);
		ASSERT_EQ(0, tracking_stop(&rounds->tracking));
	}
	TH_LOG("%u rounds, %u storms, %u pages", count, rounds->writer.done, written);
	ASSERT_LT(count, rounds->writer.done);
	/* A few rounds are one session, of few writes. */
	ASSERT_LT(count < 1000 ? 0 : 10 * count, written);
}

TEST_HARNESS_MAIN
