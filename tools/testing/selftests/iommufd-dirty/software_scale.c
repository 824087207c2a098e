// SPDX-License-Identifier: GPL-2.0
/*
 * The software tracker where there is much to track, and little memory to do it
 * with: an address space of a terabyte.
 */
#include <sys/wait.h>

#include "cgroup.h"
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
	__u32 status;
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
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.extents_uptr = (uintptr_t)out->at,
		.nr_extents = EXTENTS,
		.extent_len = sizeof(out->at[0]),
	};

	ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_READ, &cmd));
	ASSERT_EQ(0, cmd.next_range);
	out->nr = cmd.out_nr_extents;
	out->pages = cmd.out_dirty;
	out->status = cmd.out_status;
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
		EXPECT_EQ(0, extents.status);
		for (i = 0; i < PLACES; i++)
			ASSERT_EQ(PLACE(i), extents.at[i].iova);
	}

	/* Written before and clean: the tracker has nothing to say. */
	test_cmd_stats(self->fd, self->dev.id, &before);
	read_extents(_metadata, self->fd, &extents);
	EXPECT_EQ(0, extents.nr);
	test_cmd_stats(self->fd, self->dev.id, &after);
	EXPECT_EQ(before.out_extents, after.out_extents);
	EXPECT_EQ(0, after.out_overreported);
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
		EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, extents.status);

		/* Once: the next READ is clean, the one after a write is not. */
		read_extents(_metadata, self->fd, &extents);
		EXPECT_EQ(0, extents.nr);
		EXPECT_EQ(0, extents.status);
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
	EXPECT_EQ(0, extents.status);

	close_device();
}

/* Two GiB, in blocks that are one allocation each: 64 KiB are not enough for all. */
#define BLOCK (16 * SZ_1M)
#define BLOCK_PAGES (BLOCK / SZ_4K)
#define BLOCKS 128U
#define BLOCK_PLACE(n) ((n) * BLOCK + (n) * 37 % BLOCK_PAGES * SZ_4K)
#define BLOCKS_BYTES (BLOCKS * BLOCK / SZ_4K / 8)

/* READ of all blocks, and what it did with two trackers. */
static __u32 read_blocks(struct __test_metadata *_metadata, int fd, __u32 id,
			 __u32 flags, __u8 *bits,
			 struct iommufd_dirty_read_result *results)
{
	struct iommufd_dirty_bitmap range = {
		.iova = BASE,
		.length = BLOCKS * BLOCK,
		.bitmap_uptr = (uintptr_t)bits,
	};
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.tracker_id = id,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = SZ_4K,
		.nr_results = 2,
		.result_len = sizeof(*results),
		.results_uptr = (uintptr_t)results,
	};

	memset(bits, 0, BLOCKS_BYTES);
	ASSERT_EQ(0, ioctl(fd, IOMMUFD_DIRTY_READ, &cmd));
	EXPECT_EQ(2, cmd.nr_results);
	return cmd.out_status;
}

/*
 * Each block is as it was written, but for those without memory, which are dirty as
 * a whole if there was a write. How many are these?
 */
static unsigned int whole_blocks(struct __test_metadata *_metadata,
				 const __u8 *bits, const __u8 *written)
{
	static const __u8 none[BLOCK_PAGES / 8];
	unsigned int n, at, whole = 0;

	for (n = 0; n < BLOCKS; n++) {
		const __u8 *block = bits + n * sizeof(none);
		const __u8 *model = written + n * sizeof(none);

		if (!memcmp(block, model, sizeof(none)))
			continue;
		ASSERT_NE(0, memcmp(none, model, sizeof(none)));
		for (at = 0; at < sizeof(none); at++)
			ASSERT_EQ(0xff, block[at]);
		whole++;
	}
	return whole;
}

/* More than was written: the call, the tracker and the statistics say so. */
TEST_F(software_scale, what_is_reported_for_want_of_memory_says_so)
{
	static __u8 bits[BLOCKS_BYTES], written[2][BLOCKS_BYTES];
	struct iommufd_dirty_read_result results[2];
	const __u32 over = IOMMUFD_DIRTY_STATUS_OVERREPORTED;
	struct iommufd_dirty_stats stats;
	struct emulated other;
	unsigned int n, whole;
	__u32 status;

	close_device();
	ASSERT_EQ(0, load_emulated("software_max_kib=64"));
	open_device();
	emulated_open(&other, 1, self->iommu, self->ioas_id);
	test_vfio_dirty_bind(other.fd, self->fd, POLICY_FAIL, &other.id);
	test_cmd_start(self->fd, SZ_4K);
	for (n = 0; n < BLOCKS; n++) {
		map_at(BASE + BLOCK_PLACE(n));
		write_at(BASE + BLOCK_PLACE(n));
		bit_set(written[0], BLOCK_PLACE(n) / SZ_4K);
	}
	for (n = 0; n < BLOCKS; n += 40) {
		ASSERT_EQ(0, _emulated_run(other.fd, EMULATED_DMA_WRITE,
					   BASE + BLOCK_PLACE(n), 1, 1));
		bit_set(written[1], BLOCK_PLACE(n) / SZ_4K);
	}

	/* Merged. */
	status = read_blocks(_metadata, self->fd, 0,
			     IOMMUFD_DIRTY_READ_NO_CLEAR, bits, results);
	EXPECT_EQ(over, status);
	EXPECT_EQ(self->dev.id, results[0].tracker_id);
	EXPECT_EQ(over, results[0].status);
	EXPECT_EQ(other.id, results[1].tracker_id);
	EXPECT_EQ(0, results[1].status);
	EXPECT_LT(0, whole_blocks(_metadata, bits, written[0]));

	/* The one that had memory enough. */
	status = read_blocks(_metadata, self->fd, other.id, 0, bits, results);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, whole_blocks(_metadata, bits, written[1]));
	test_cmd_stats(self->fd, other.id, &stats);
	EXPECT_EQ(0, stats.out_overreported);

	/* A page of the last block, and then the rest of it, and all others. */
	test_cmd_read(self->fd, self->dev.id, 0, BASE + BLOCKS * BLOCK - SZ_4K,
		      SZ_4K, SZ_4K, bits, &status, NULL);
	EXPECT_EQ(over, status);
	status = read_blocks(_metadata, self->fd, self->dev.id, 0, bits,
			     results);
	EXPECT_EQ(over, status);
	EXPECT_FALSE(bit_test(bits, BLOCKS * BLOCK_PAGES - 1));
	bit_set(bits, BLOCKS * BLOCK_PAGES - 1);
	whole = whole_blocks(_metadata, bits, written[0]);
	EXPECT_LT(0, whole);
	test_cmd_stats(self->fd, self->dev.id, &stats);
	EXPECT_LE(whole * BLOCK, stats.out_overreported);

	/* What is over is over. */
	status = read_blocks(_metadata, self->fd, 0, 0, bits, results);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, results[0].status);
	EXPECT_EQ(0, results[0].bytes);

	test_cmd_unbind(self->fd, other.id, 0);
	close(other.fd);
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

/* A task that writes to each place when told to, in the cgroup it is in now. */
struct elsewhere {
	pid_t pid;
	int go;
};

static struct elsewhere fork_writer(int device)
{
	struct elsewhere writer;
	int pipes[2];
	unsigned int i;
	char byte;

	if (pipe(pipes))
		return (struct elsewhere){ .pid = -1 };
	writer.go = pipes[1];
	writer.pid = fork();
	if (writer.pid)
		return writer;
	close(pipes[1]);
	if (read(pipes[0], &byte, 1) != 1)
		_exit(1);
	for (i = 0; i < PLACES; i++) {
		if (_emulated_run(device, EMULATED_DMA_WRITE, PLACE(i), 1, 1))
			_exit(1);
	}
	/* The opener has nothing left to do that with. */
	_exit(write_file(CGROUP "/iommufd-dirty/memory.max", "max") ? 1 : 0);
}

static int let_write(const struct elsewhere *writer)
{
	int status;

	if (write(writer->go, "", 1) != 1 ||
	    waitpid(writer->pid, &status, 0) != writer->pid)
		return -1;
	return status;
}

#define reopen_context()                                                   \
	do {                                                               \
		test_cmd_unbind(self->fd, self->dev.id, 0);                \
		close(self->fd);                                           \
		self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);             \
		ASSERT_NE(-1, self->fd);                                   \
		test_vfio_dirty_bind(self->dev.fd, self->fd, POLICY_FAIL,  \
				     &self->dev.id);                       \
		test_cmd_range_add(self->fd, BASE, TIB);                   \
		test_cmd_start(self->fd, SZ_4K);                           \
	} while (0)

TEST_F(software_scale, memory_is_charged_to_the_opener)
{
	struct elsewhere writer = fork_writer(self->dev.fd);
	long long before, after;
	unsigned int i;

	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	for (i = 0; i < PLACES; i++)
		map_at(PLACE(i));
	reopen_context();
	before = cgroup_value("memory.current");
	ASSERT_LT(0, before);
	ASSERT_EQ(0, let_write(&writer));
	after = cgroup_value("memory.current");
	/* Charges are made for some pages at a time. */
	EXPECT_LE(before + (long long)bitmap_bytes(_metadata, self->fd,
						   self->dev.id) / 2,
		  after);
}

TEST_F(software_scale, opener_out_of_memory_survives)
{
	struct elsewhere writer = fork_writer(self->dev.fd);
	static struct extents extents;
	char limit[32];
	unsigned int i;

	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	for (i = 0; i < PLACES; i++)
		map_at(PLACE(i));
	reopen_context();
	/* In memory before the limit is set. */
	memset(&extents, 0, sizeof(extents));
	snprintf(limit, sizeof(limit), "%lld",
		 cgroup_value("memory.current") + 65536);
	ASSERT_EQ(0, write_file(CGROUP "/iommufd-dirty/memory.max", limit));
	ASSERT_EQ(0, let_write(&writer));
	read_extents(_metadata, self->fd, &extents);
	for (i = 0; i < PLACES; i++)
		ASSERT_TRUE(has_page(&extents, PLACE(i)));
	EXPECT_LT(PLACES, extents.pages);
}

TEST_HARNESS_MAIN
