// SPDX-License-Identifier: GPL-2.0
/*
 * The software tracker while many write: nothing that was written is missed.
 */
#include <pthread.h>

#include "emulated.h"

#define BASE SZ_1G
#define MEMORY (16 * SZ_1M)

/* Two devices that have the same memory. */
FIXTURE(software_race)
{
	struct emulated dev[EMULATED_DEVICES];
	__u8 *memory;
	int fd;
	int iommu;
	__u32 ioas_id;
};

FIXTURE_SETUP(software_race)
{
	unsigned int i;

	self->fd = -1;
	self->iommu = -1;
	for (i = 0; i < EMULATED_DEVICES; i++)
		self->dev[i].fd = -1;
	if (!have_emulated())
		SKIP(return, NO_TRACKER);
	ASSERT_EQ(0, load_emulated(""));
	self->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &self->ioas_id));
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, self->memory,
				     MEMORY, BASE));
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	for (i = 0; i < EMULATED_DEVICES; i++) {
		emulated_open(&self->dev[i], i, self->iommu, self->ioas_id);
		test_vfio_dirty_bind(self->dev[i].fd, self->fd, POLICY_FAIL,
				     &self->dev[i].id);
	}
	test_cmd_range_add(self->fd, BASE, 2 * MEMORY);
}

FIXTURE_TEARDOWN(software_race)
{
	unsigned int i;

	for (i = 0; i < EMULATED_DEVICES; i++) {
		if (self->dev[i].fd != -1)
			close(self->dev[i].fd);
	}
	if (self->fd != -1)
		close(self->fd);
	if (self->iommu != -1)
		close(self->iommu);
}

#define THREADS 4

struct writer {
	pthread_t thread;
	const int *stop;
	int device;
	__u64 seed;
	bool pins;
	unsigned long writes;
	int error;
};

/* Each write is of another byte than the one before. */
static void *writer_run(void *data)
{
	struct writer *w = data;

	while (!w->error && !__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
		__u64 at = BASE + next_random(&w->seed) % (MEMORY - SZ_64K);

		w->writes++;
		if (w->pins) {
			at &= -SZ_4K;
			w->error = _emulated_run(w->device, EMULATED_PIN_WRITE,
						 at, SZ_4K, 0) ?:
				_emulated_run(w->device, EMULATED_FILL, at, 16,
					      w->writes) ?:
				_emulated_run(w->device, EMULATED_UNPIN, at,
					      SZ_4K, 0);
		} else {
			w->error = _emulated_run(w->device, EMULATED_DMA_WRITE,
						 at, 64, w->writes);
		}
	}
	return NULL;
}

/* After a READ the pages that it reported are copied, as a migration does. */
static void copy_dirty(const __u8 *bits, const __u8 *from, __u8 *to)
{
	__u64 page;

	for (page = 0; page < MEMORY / SZ_4K; page++) {
		if (bit_test(bits, page))
			memcpy(to + page * SZ_4K, from + page * SZ_4K, SZ_4K);
	}
}

TEST_F(software_race, many_write_while_one_reads)
{
	static __u8 bits[MEMORY / SZ_4K / 8];
	struct writer writers[THREADS] = {};
	__u8 *copy = malloc(MEMORY);
	unsigned int i, round;
	int stop = 0;
	__u64 dirty;

	ASSERT_NE(NULL, copy);

	/* They write already when tracking starts, and all is copied then. */
	for (i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){
			.stop = &stop,
			.device = self->dev[i % 2].fd,
			.seed = 0x1234567 + i,
			.pins = i >= THREADS / 2,
		};
		ASSERT_EQ(0, pthread_create(&writers[i].thread, NULL,
					    writer_run, &writers[i]));
	}
	test_cmd_start(self->fd, SZ_4K);
	memcpy(copy, self->memory, MEMORY);
	for (round = 0; round < 100; round++) {
		memset(bits, 0, sizeof(bits));
		test_cmd_read(self->fd, 0, 0, BASE, MEMORY, SZ_4K, bits, NULL,
			      NULL);
		copy_dirty(bits, self->memory, copy);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(writers[i].thread, NULL));
		EXPECT_EQ(0, writers[i].error);
		EXPECT_LT(0, writers[i].writes);
	}
	memset(bits, 0, sizeof(bits));
	test_cmd_read(self->fd, 0, IOMMUFD_DIRTY_READ_FINAL, BASE, MEMORY,
		      SZ_4K, bits, NULL, NULL);
	copy_dirty(bits, self->memory, copy);
	EXPECT_EQ(0, memcmp(self->memory, copy, MEMORY));
	test_cmd_count(self->fd, 0, BASE, MEMORY, NULL, &dirty);
	EXPECT_EQ(0, dirty);
	free(copy);
}

/* Each page is written once: by dma_rw, or while it is pinned. */
struct sequence {
	pthread_t thread;
	int device;
	bool pins;
	unsigned int written;
	int error;
};

#define SEQUENCE (MEMORY / SZ_4K / 2)
#define SEQUENCE_PAGE(seq, n) (2ULL * (n) + (seq)->pins)
/* So many stay pinned: long enough that a READ begins meanwhile. */
#define SEQUENCE_LAG 8

static int sequence_op(const struct sequence *seq, __u32 op, unsigned int n)
{
	return _emulated_run(seq->device, op,
			     BASE + SEQUENCE_PAGE(seq, n) * SZ_4K, SZ_4K, 1);
}

static void *sequence_run(void *data)
{
	struct sequence *seq = data;
	unsigned int i;

	for (i = 0; i < SEQUENCE && !seq->error; i++) {
		if (seq->pins)
			seq->error = sequence_op(seq, EMULATED_PIN_WRITE, i) ?:
				sequence_op(seq, EMULATED_FILL, i);
		else
			seq->error = sequence_op(seq, EMULATED_DMA_WRITE, i);
		__atomic_store_n(&seq->written, i + 1, __ATOMIC_RELEASE);
		if (seq->pins && i >= SEQUENCE_LAG && !seq->error)
			seq->error = sequence_op(seq, EMULATED_UNPIN,
						 i - SEQUENCE_LAG);
	}
	return NULL;
}

/* Also what is unpinned while it is read. */
TEST_F(software_race, what_was_written_before_a_read_is_in_it)
{
	static __u8 bits[2 * MEMORY / SZ_4K / 8];
	unsigned int written[2], i, n;
	struct sequence seq[2] = {};

	test_cmd_start(self->fd, SZ_4K);
	/* Behind it is so much dirt that a READ takes its time. */
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, self->memory,
				     MEMORY, BASE + MEMORY));
	for (i = 0; i < MEMORY / SZ_4K; i += 2)
		ASSERT_EQ(0, _emulated_run(self->dev[1].fd, EMULATED_DMA_WRITE,
					   BASE + MEMORY + i * SZ_4K, 1, 1));
	for (i = 0; i < 2; i++) {
		seq[i].device = self->dev[i].fd;
		seq[i].pins = i;
		ASSERT_EQ(0, pthread_create(&seq[i].thread, NULL, sequence_run,
					    &seq[i]));
	}
	do {
		for (i = 0; i < 2; i++)
			written[i] = __atomic_load_n(&seq[i].written,
						     __ATOMIC_ACQUIRE);
		memset(bits, 0, sizeof(bits));
		test_cmd_read(self->fd, 0, IOMMUFD_DIRTY_READ_NO_CLEAR, BASE,
			      2 * MEMORY, SZ_4K, bits, NULL, NULL);
		for (i = 0; i < 2; i++) {
			for (n = 0; n < written[i]; n++)
				ASSERT_TRUE(bit_test(bits, SEQUENCE_PAGE(&seq[i],
									 n)))
				{
					TH_LOG("page %u of %u, pinned %u", n,
					       written[i], i);
				}
		}
	} while (written[0] < SEQUENCE || written[1] < SEQUENCE);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(seq[i].thread, NULL));
		EXPECT_EQ(0, seq[i].error);
	}
}

TEST_HARNESS_MAIN
