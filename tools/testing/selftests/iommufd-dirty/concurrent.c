// SPDX-License-Identifier: GPL-2.0
/*
 * Writers, readers and everything else at the same time: what all READs
 * delivered is exactly what was written.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)
#define WRITERS 2
#define WRITES 600

/* A page that is written, in the order of the writes. */
struct writer {
	pthread_t thread;
	struct members *members;
	unsigned int member;
	__u64 seed;
	__u32 pages[WRITES];
	/* Writes that are complete: what a READ from now on has to have. */
	atomic_uint done;
	int error;
};

/* READs that were made since the writers began. */
static atomic_uint reads_done;

static void *writer_run(void *data)
{
	struct writer *writer = data;
	unsigned int i;

	for (i = 0; i < WRITES && !writer->error; i++) {
		__u32 page = next_random(&writer->seed) % BITS;

		/* Not ahead of the readers, however the two are scheduled. */
		while (atomic_load(&reads_done) < i / 50)
			sched_yield();
		writer->pages[i] = page;
		writer->error = _member_write(writer->members, writer->member,
					      MEMBERS_BASE + page * SZ_4K,
					      SZ_4K);
		atomic_store(&writer->done, i + 1);
	}
	return NULL;
}

FIXTURE(concurrent)
{
	struct members members;
	struct writer writers[WRITERS];
};

FIXTURE_VARIANT(concurrent)
{
	struct members_variant members;
};

FIXTURE_VARIANT_ADD(concurrent, mock) { .members = { 2, 0, false } };
FIXTURE_VARIANT_ADD(concurrent, mock_8) { .members = { 8, 0, false } };
FIXTURE_VARIANT_ADD(concurrent, hwpt) { .members = { 0, 2, false } };
FIXTURE_VARIANT_ADD(concurrent, huge) { .members = { 0, 2, true } };
FIXTURE_VARIANT_ADD(concurrent, mixed) { .members = { 1, 1, false } };

FIXTURE_SETUP(concurrent)
{
	members_open(_metadata, &self->members, &variant->members);
	if (_metadata->exit_code)
		return;
	test_cmd_start(self->members.fd, SZ_4K);
}

FIXTURE_TEARDOWN(concurrent)
{
	members_close(&self->members);
}

static void start_writers(struct __test_metadata *_metadata,
			  struct members *members, struct writer *writer)
{
	unsigned int i;

	atomic_store(&reads_done, 0);
	for (i = 0; i < WRITERS; i++, writer++) {
		*writer = (struct writer){
			.members = members,
			.member = members->nr - 1 - i,
			.seed = 0xabcd + i,
		};
		ASSERT_EQ(0, pthread_create(&writer->thread, NULL, writer_run,
					    writer));
	}
}

static void join_writers(struct __test_metadata *_metadata,
			 struct writer *writer)
{
	unsigned int i;

	for (i = 0; i < WRITERS; i++, writer++) {
		ASSERT_EQ(0, pthread_join(writer->thread, NULL));
		ASSERT_EQ(0, writer->error);
	}
}

/* Exactly what was written, with each tracker's huge IOPTEs. */
static void expect_union(struct __test_metadata *_metadata,
			 struct members *members, struct writer *writer,
			 const __u8 *bits)
{
	struct model *model = &members->model;
	struct guarded guarded;
	unsigned int i, n;

	for (i = 0; i < WRITERS; i++, writer++) {
		for (n = 0; n < WRITES; n++)
			model_write(model, 1 << writer->member,
				    MEMBERS_BASE + writer->pages[n] * SZ_4K,
				    SZ_4K, members->member[writer->member].unit);
	}
	ASSERT_TRUE(guarded_init(&guarded, BITS, &(struct placement){}, 0));
	model_bits(model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		   guarded.shadow_bits, 0);
	memcpy(guarded.bits, bits, BITS / 8);
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	guarded_free(&guarded);
}

TEST_F(concurrent, next_read_has_every_completed_write)
{
	__u8 bits[BITS / 8], all[BITS / 8] = {};
	unsigned int done[WRITERS], i, n;
	bool writing;

	start_writers(_metadata, &self->members, self->writers);
	do {
		writing = false;
		for (i = 0; i < WRITERS; i++) {
			done[i] = atomic_load(&self->writers[i].done);
			writing |= done[i] < WRITES;
		}
		memset(bits, 0, sizeof(bits));
		test_cmd_read(self->members.fd, 0, 0, MEMBERS_BASE,
			      MEMBERS_SIZE, SZ_4K, bits, NULL, NULL);
		atomic_fetch_add(&reads_done, 1);
		for (i = 0; i < sizeof(bits); i++)
			all[i] |= bits[i];
		/* This READ or an earlier one. */
		for (i = 0; i < WRITERS; i++) {
			for (n = 0; n < done[i]; n++)
				ASSERT_TRUE(bit_test(all,
						     self->writers[i].pages[n]));
		}
	} while (writing);
	join_writers(_metadata, self->writers);
	expect_union(_metadata, &self->members, self->writers, all);
}

/* A READ of one part in a loop until it is told to end. */
struct part_reader {
	pthread_t thread;
	int fd;
	__u64 iova;
	__u64 length;
	__u8 *bits;
	__u64 bit_offset;
	atomic_bool end;
	int error;
};

static void *part_reader_run(void *data)
{
	struct part_reader *reader = data;
	struct iommufd_dirty_bitmap range = {
		.iova = reader->iova,
		.length = reader->length,
		.bitmap_uptr = (uintptr_t)reader->bits,
		.bit_offset = reader->bit_offset,
	};
	bool end;

	do {
		struct iommufd_dirty_read cmd = {
			.size = sizeof(cmd),
			.nr_ranges = 1,
			.range_len = sizeof(range),
			.ranges_uptr = (uintptr_t)&range,
			.page_size = SZ_4K,
		};

		/* Once more after the writers have ended. */
		end = atomic_load(&reader->end);
		if (ioctl(reader->fd, IOMMUFD_DIRTY_READ, &cmd)) {
			reader->error = errno;
			break;
		}
		atomic_fetch_add(&reads_done, 1);
	} while (!end);
	/* After an error nobody shall wait for another READ. */
	atomic_store(&reads_done, WRITES);
	return NULL;
}

TEST_F(concurrent, readers_share_the_words_of_a_bitmap)
{
	/* Parts that end within a byte: 2048 pages in 3 unequal parts. */
	static const __u64 seams[] = { 0, 683, 1363, BITS };
	struct part_reader readers[3];
	__u8 all[BITS / 8] = {};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		readers[i] = (struct part_reader){
			.fd = self->members.fd,
			.iova = MEMBERS_BASE + seams[i] * SZ_4K,
			.length = (seams[i + 1] - seams[i]) * SZ_4K,
			.bits = all,
			.bit_offset = seams[i],
		};
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    part_reader_run, &readers[i]));
	}
	start_writers(_metadata, &self->members, self->writers);
	join_writers(_metadata, self->writers);
	for (i = 0; i < ARRAY_SIZE(readers); i++)
		atomic_store(&readers[i].end, true);
	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		ASSERT_EQ(0, pthread_join(readers[i].thread, NULL));
		EXPECT_EQ(0, readers[i].error);
	}
	expect_union(_metadata, &self->members, self->writers, all);
}

/* A READ in a loop that leaves the upper half of each byte to userspace. */
struct nibble_reader {
	pthread_t thread;
	int fd;
	struct iommufd_dirty_bitmap ranges[BITS / 4];
	atomic_bool end;
	int error;
};

static void *nibble_reader_run(void *data)
{
	struct nibble_reader *reader = data;
	bool end;

	do {
		/* All stays dirty, so that each READ sets all bits again. */
		struct iommufd_dirty_read cmd = {
			.size = sizeof(cmd),
			.flags = IOMMUFD_DIRTY_READ_NO_CLEAR,
			.nr_ranges = ARRAY_SIZE(reader->ranges),
			.range_len = sizeof(reader->ranges[0]),
			.ranges_uptr = (uintptr_t)reader->ranges,
			.page_size = SZ_4K,
		};

		end = atomic_load(&reader->end);
		if (ioctl(reader->fd, IOMMUFD_DIRTY_READ, &cmd)) {
			reader->error = errno;
			break;
		}
	} while (!end);
	return NULL;
}

TEST_F(concurrent, userspace_changes_the_bitmap_meanwhile)
{
	struct nibble_reader reader = { .fd = self->members.fd };
	atomic_uchar bytes[BITS / 4] = {};
	__u8 mine[BITS / 4] = {}, old;
	unsigned int i, pass;

	for (i = 0; i < BITS / 4; i++)
		reader.ranges[i] = (struct iommufd_dirty_bitmap){
			.iova = MEMBERS_BASE + i * 4 * SZ_4K,
			.length = 4 * SZ_4K,
			.bitmap_uptr = (uintptr_t)bytes,
			.bit_offset = i * 8,
		};
	member_write(&self->members, 0, MEMBERS_BASE, MEMBERS_SIZE);
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, nibble_reader_run,
				    &reader));
	/* A VMM's bits are as it left them, and it may take the kernel's. */
	for (pass = 0; pass < 2000; pass++) {
		for (i = 0; i < BITS / 4; i++) {
			old = atomic_fetch_xor(&bytes[i], 0x50);
			ASSERT_EQ(mine[i], old & 0xf0);
			mine[i] ^= 0x50;
			atomic_fetch_and(&bytes[i], 0xf0);
		}
	}
	atomic_store(&reader.end, true);
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(0, reader.error);
	for (i = 0; i < BITS / 4; i++)
		ASSERT_EQ(mine[i] | 0x0f, bytes[i]);
}

/* What else may be called at any time. */
static void *harvester_run(void *data)
{
	struct part_reader *harvester = data;
	struct iommufd_dirty_stats stats;
	__u64 seed = 99;

	while (!atomic_load(&harvester->end)) {
		__u64 at = next_random(&seed) % (MEMBERS_SIZE / 2);

		if (_test_cmd_harvest(harvester->fd, 0, MEMBERS_BASE + at,
				      1 + next_random(&seed) % SZ_1M, NULL) ||
		    _test_cmd_read(harvester->fd, 0,
				   IOMMUFD_DIRTY_READ_COUNT_ONLY, MEMBERS_BASE,
				   MEMBERS_SIZE, SZ_64K, NULL, NULL, NULL) ||
		    _test_cmd_stats(harvester->fd, 0, &stats)) {
			harvester->error = errno;
			break;
		}
	}
	return NULL;
}

TEST_F(concurrent, harvest_and_count_lose_nothing)
{
	struct part_reader harvester = { .fd = self->members.fd }, reader = {
		.fd = self->members.fd,
		.iova = MEMBERS_BASE,
		.length = MEMBERS_SIZE,
	};
	__u8 all[BITS / 8] = {};

	reader.bits = all;
	ASSERT_EQ(0, pthread_create(&harvester.thread, NULL, harvester_run,
				    &harvester));
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, part_reader_run,
				    &reader));
	start_writers(_metadata, &self->members, self->writers);
	join_writers(_metadata, self->writers);
	atomic_store(&harvester.end, true);
	ASSERT_EQ(0, pthread_join(harvester.thread, NULL));
	EXPECT_EQ(0, harvester.error);
	atomic_store(&reader.end, true);
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(0, reader.error);
	expect_union(_metadata, &self->members, self->writers, all);
}

/* Starts, stops, binds, loses and unregisters; only that all of it ends. */
static void *meddler_run(void *data)
{
	struct part_reader *meddler = data;
	struct iommufd_dirty_tracker_info info;
	__u32 id, nr = 0;

	while (!atomic_load(&meddler->end)) {
		int mock = _test_mock_create(NULL);

		_test_cmd_stop(meddler->fd);
		if (!_test_mock_bind(mock, meddler->fd, POLICY_IGNORE, &id)) {
			_test_cmd_start(meddler->fd, 0, SZ_4K);
			_test_mock_knob(mock, MOCK_KNOB_LOSE, EIO);
			_test_cmd_tracker_info(meddler->fd, id, &info);
			close(mock);
			_test_cmd_list(meddler->fd, NULL, &nr);
			_test_cmd_unbind(meddler->fd, id,
					 IOMMUFD_DIRTY_UNBIND_KEEP);
		} else {
			close(mock);
		}
		_test_cmd_start(meddler->fd, 0, SZ_4K);
		_test_cmd_range(meddler->fd, IOMMUFD_DIRTY_RANGES_REMOVE,
				MEMBERS_BASE, SZ_1M);
		_test_cmd_range(meddler->fd, 0, MEMBERS_BASE, SZ_1M);
	}
	return NULL;
}

TEST_F(concurrent, sessions_come_and_go_under_readers)
{
	struct part_reader meddlers[2], reader = {
		.fd = self->members.fd,
		.iova = MEMBERS_BASE,
		.length = MEMBERS_SIZE,
	};
	__u8 all[BITS / 8] = {};
	unsigned int i;

	reader.bits = all;
	for (i = 0; i < ARRAY_SIZE(meddlers); i++) {
		meddlers[i] = (struct part_reader){ .fd = self->members.fd };
		ASSERT_EQ(0, pthread_create(&meddlers[i].thread, NULL,
					    meddler_run, &meddlers[i]));
	}
	for (i = 0; i < 500; i++) {
		if (_test_cmd_read(reader.fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE,
				   SZ_4K, all, NULL, NULL))
			ASSERT_EQ(ENODATA, errno);
	}
	for (i = 0; i < ARRAY_SIZE(meddlers); i++) {
		atomic_store(&meddlers[i].end, true);
		ASSERT_EQ(0, pthread_join(meddlers[i].thread, NULL));
	}
	/* All is as it was: the members that were there still work. */
	test_cmd_stop(self->members.fd);
	test_cmd_start(self->members.fd, SZ_4K);
	member_write(&self->members, 0, MEMBERS_BASE, SZ_4K);
	members_read_all(&self->members);
}

TEST_HARNESS_MAIN
