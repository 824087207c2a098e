// SPDX-License-Identifier: GPL-2.0
/*
 * The software tracker where there is much: an address space of a terabyte,
 * little memory, many tasks that write at once.
 */
#include <pthread.h>

#include "emulated.h"

#define TIB (1024 * SZ_1G)
#define BASE TIB

/* A context with one device, in an IOAS where a page of memory is mapped often. */
FIXTURE(software_scale)
{
	struct emulated dev;
	void *page;
	int fd;
	int iommu;
	__u32 ioas_id;
};

#define open_device()                                                      \
	do {                                                               \
		emulated_open(&self->dev, 0, self->iommu, self->ioas_id);  \
		test_vfio_dirty_bind(self->dev.fd, self->fd, POLICY_FAIL,  \
				     &self->dev.id);                       \
	} while (0)

/* The tracker goes, and with it the last one that holds the module. */
#define close_device()                                                     \
	do {                                                               \
		test_cmd_unbind(self->fd, self->dev.id, 0);                \
		close(self->dev.fd);                                       \
		self->dev.fd = -1;                                         \
		ASSERT_EQ(0, remove_module("iommufd_dirty_vfio"));         \
	} while (0)

FIXTURE_SETUP(software_scale)
{
	self->fd = -1;
	self->iommu = -1;
	self->dev.fd = -1;
	if (!have_emulated())
		SKIP(return, NO_TRACKER);
	ASSERT_EQ(0, load_emulated(""));
	self->page = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &self->ioas_id));
	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	open_device();
	test_cmd_range_add(self->fd, BASE, TIB);
}

FIXTURE_TEARDOWN(software_scale)
{
	if (self->dev.fd != -1)
		close(self->dev.fd);
	if (self->fd != -1)
		close(self->fd);
	if (self->iommu != -1)
		close(self->iommu);
}

#define map_at(at)                                                          \
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, self->page, \
				     SZ_4K, at))
#define write_at(at)                                                        \
	ASSERT_EQ(0, _emulated_run(self->dev.fd, EMULATED_DMA_WRITE, at, 1, 1))

static __u64 bitmap_bytes(struct __test_metadata *_metadata, int fd, __u32 id)
{
	struct iommufd_dirty_stats stats;

	test_cmd_stats(fd, id, &stats);
	EXPECT_LE(stats.out_bitmap_bytes, stats.out_memory);
	return stats.out_bitmap_bytes;
}

#define EXTENTS 4096

struct extents {
	struct iommufd_dirty_range at[EXTENTS];
	unsigned int nr;
	__u64 pages;
};

/* READ of the whole range. */
static void read_extents(struct __test_metadata *_metadata, int fd,
			 struct extents *out)
{
	struct iommufd_dirty_bitmap range = { .iova = BASE, .length = TIB };
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = IOMMUFD_DIRTY_READ_EXTENTS,
		.nr_ranges = 1,
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.extents_uptr = (uintptr_t)out->at,
		.nr_extents = EXTENTS,
	};

	ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_READ, &cmd));
	ASSERT_EQ(1, cmd.next_range);
	out->nr = cmd.out_nr_extents;
	out->pages = cmd.out_dirty;
}

static bool has_page(const struct extents *extents, __u64 iova)
{
	unsigned int i;

	for (i = 0; i < extents->nr; i++) {
		if (extents->at[i].iova <= iova &&
		    iova - extents->at[i].iova < extents->at[i].length)
			return true;
	}
	return false;
}

#define PLACES 1024U
#define PLACE(n) (BASE + (n) * (TIB / PLACES))

TEST_F(software_scale, a_sparse_terabyte)
{
	struct iommufd_dirty_stats before, after;
	static struct extents extents;
	unsigned int i, round;
	__u64 bytes;

	for (i = 0; i < PLACES; i++)
		map_at(PLACE(i));
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(0, bitmap_bytes(_metadata, self->fd, self->dev.id));
	read_extents(_metadata, self->fd, &extents);
	EXPECT_EQ(0, extents.nr);
	EXPECT_EQ(0, bitmap_bytes(_metadata, self->fd, self->dev.id));

	for (round = 0; round < 2; round++) {
		for (i = 0; i < PLACES; i++)
			write_at(PLACE(i));
		/* A bitmap of the terabyte has 32 MiB. */
		bytes = bitmap_bytes(_metadata, self->fd, self->dev.id);
		EXPECT_LT(PLACES * 512, bytes);
		EXPECT_GT(PLACES * 2048, bytes);
		read_extents(_metadata, self->fd, &extents);
		ASSERT_EQ(PLACES, extents.nr);
		ASSERT_EQ(PLACES, extents.pages);
		for (i = 0; i < PLACES; i++)
			ASSERT_EQ(PLACE(i), extents.at[i].iova);
	}

	/* Written before and clean: the tracker has nothing to say. */
	test_cmd_stats(self->fd, self->dev.id, &before);
	read_extents(_metadata, self->fd, &extents);
	EXPECT_EQ(0, extents.nr);
	test_cmd_stats(self->fd, self->dev.id, &after);
	EXPECT_EQ(before.out_extents, after.out_extents);
	EXPECT_EQ(bytes, after.out_bitmap_bytes);

	test_cmd_stop(self->fd);
	EXPECT_EQ(0, bitmap_bytes(_metadata, self->fd, self->dev.id));
}

/* 64 KiB are enough for some 60 places. */
TEST_F(software_scale, too_much_is_reported_when_memory_ends)
{
	static struct extents extents;
	unsigned int i, round;

	close_device();
	ASSERT_EQ(0, load_emulated("software_max_kib=64"));
	open_device();

	for (i = 0; i < PLACES; i++)
		map_at(PLACE(i));
	test_cmd_start(self->fd, SZ_4K);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < PLACES; i++)
			write_at(PLACE(i));
		EXPECT_LT(SZ_64K / 2,
			  bitmap_bytes(_metadata, self->fd, self->dev.id));
		EXPECT_GE(SZ_64K,
			  bitmap_bytes(_metadata, self->fd, self->dev.id));
		read_extents(_metadata, self->fd, &extents);
		for (i = 0; i < PLACES; i++)
			ASSERT_TRUE(has_page(&extents, PLACE(i)));
		EXPECT_LT(PLACES, extents.pages);

		/* Once: the next READ is clean, the one after a write is not. */
		read_extents(_metadata, self->fd, &extents);
		EXPECT_EQ(0, extents.nr);
		write_at(PLACE(PLACES - 1));
		read_extents(_metadata, self->fd, &extents);
		EXPECT_TRUE(has_page(&extents, PLACE(PLACES - 1)));
		EXPECT_FALSE(has_page(&extents, PLACE(0)));
	}

	/* What memory there was is there again. */
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < 8; i++)
		write_at(PLACE(i * 64));
	read_extents(_metadata, self->fd, &extents);
	EXPECT_EQ(8, extents.pages);

	close_device();
}

/* A part of what is reported for want of memory is asked for, or goes away. */
TEST_F(software_scale, the_rest_of_too_much_is_kept)
{
	static struct extents extents;
	unsigned int i;
	__u64 dirty;

	close_device();
	ASSERT_EQ(0, load_emulated("software_max_kib=64"));
	open_device();

	for (i = 0; i < PLACES; i++)
		map_at(PLACE(i));
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < PLACES; i++)
		write_at(PLACE(i));
	/* Most places have no memory: read beside one, and remove beside one. */
	test_cmd_read(self->fd, 0, 0, PLACE(PLACES - 1) + SZ_1M, SZ_4K, SZ_4K,
		      &(__u64){ 0 }, NULL, &dirty);
	EXPECT_EQ(1, dirty);
	test_cmd_range_remove(self->fd, PLACE(PLACES / 2) + SZ_1M, SZ_1M);
	read_extents(_metadata, self->fd, &extents);
	for (i = 0; i < PLACES; i++)
		ASSERT_TRUE(has_page(&extents, PLACE(i)));
	EXPECT_FALSE(has_page(&extents, PLACE(PLACES / 2) + SZ_1M));

	close_device();
}

#define THREADS 4
#define MEMORY (16 * SZ_1M)

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

/* Memory of its own at BASE, and a second device that has it, too. */
static void open_memory(struct __test_metadata *_metadata, int fd, int iommu,
			__u32 ioas_id, __u8 **memory, int *other)
{
	*memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, *memory);
	ASSERT_EQ(0, _iommu_ioas_map(iommu, ioas_id, *memory, MEMORY, BASE));
	*other = _emulated_open(1);
	ASSERT_NE(-1, *other);
	ASSERT_EQ(0, _vfio_bind_iommufd(*other, iommu, NULL));
	ASSERT_EQ(0, _vfio_attach(*other, ioas_id));
	test_vfio_dirty_bind(*other, fd, POLICY_FAIL, NULL);
}

TEST_F(software_scale, many_write_while_one_reads)
{
	static __u8 bits[MEMORY / SZ_4K / 8];
	struct writer writers[THREADS] = {};
	__u8 *memory, *copy;
	unsigned int i, round;
	int stop = 0, other;
	__u64 dirty;

	open_memory(_metadata, self->fd, self->iommu, self->ioas_id, &memory,
		    &other);
	copy = malloc(MEMORY);
	ASSERT_NE(NULL, copy);

	/* They write already when tracking starts, and all is copied then. */
	for (i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){
			.stop = &stop,
			.device = i % 2 ? other : self->dev.fd,
			.seed = 0x1234567 + i,
			.pins = i >= THREADS / 2,
		};
		ASSERT_EQ(0, pthread_create(&writers[i].thread, NULL,
					    writer_run, &writers[i]));
	}
	test_cmd_start(self->fd, SZ_4K);
	memcpy(copy, memory, MEMORY);
	for (round = 0; round < 100; round++) {
		memset(bits, 0, sizeof(bits));
		test_cmd_read(self->fd, 0, 0, BASE, MEMORY, SZ_4K, bits, NULL,
			      NULL);
		copy_dirty(bits, memory, copy);
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
	copy_dirty(bits, memory, copy);
	EXPECT_EQ(0, memcmp(memory, copy, MEMORY));
	test_cmd_count(self->fd, 0, BASE, MEMORY, NULL, &dirty);
	EXPECT_EQ(0, dirty);

	close(other);
	free(copy);
	munmap(memory, MEMORY);
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
TEST_F(software_scale, what_was_written_before_a_read_is_in_it)
{
	static __u8 bits[2 * MEMORY / SZ_4K / 8];
	unsigned int written[2], i, n;
	struct sequence seq[2] = {};
	__u8 *memory;
	int other;

	open_memory(_metadata, self->fd, self->iommu, self->ioas_id, &memory,
		    &other);
	test_cmd_start(self->fd, SZ_4K);
	/* Behind it is so much dirt that a READ takes its time. */
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, memory, MEMORY,
				     BASE + MEMORY));
	for (i = 0; i < MEMORY / SZ_4K; i += 2)
		ASSERT_EQ(0, _emulated_run(other, EMULATED_DMA_WRITE,
					   BASE + MEMORY + i * SZ_4K, 1, 1));
	for (i = 0; i < 2; i++) {
		seq[i].device = i ? other : self->dev.fd;
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
	close(other);
	munmap(memory, MEMORY);
}

TEST_HARNESS_MAIN
