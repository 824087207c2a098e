// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel memory that a context holds: no bitmap, a residual that is sparse,
 * bounded, charged to the opener, and says too much where it cannot grow.
 */
#include "cgroup.h"
#include "members.h"
#include "modules.h"

#define IOVA 0x100000000ULL
/* Every other page is written: an extent for each. */
#define EXTENTS 60000U
#define LENGTH (2ULL * EXTENTS * SZ_4K)

struct session {
	int fd;
	int mock;
	__u32 id;
};

FIXTURE(memory)
{
	struct session session;
	bool reloaded;
};

FIXTURE_SETUP(memory)
{
	self->session = (struct session){ .fd = -1, .mock = -1 };
}

FIXTURE_TEARDOWN(memory)
{
	if (self->session.fd != -1)
		close(self->session.fd);
	if (self->session.mock != -1)
		close(self->session.mock);
	if (self->reloaded && (remove_modules() || load_modules("")))
		TH_LOG("cannot load the modules again: %s", strerror(errno));
}

static void open_context(struct __test_metadata *_metadata,
			 struct session *session)
{
	session->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, session->fd);
	session->mock = test_mock_create(NULL);
	test_mock_bind(session->mock, session->fd, POLICY_FAIL, &session->id);
	test_cmd_range_add(session->fd, IOVA, LENGTH);
	test_cmd_start(session->fd, SZ_4K);
}

/* Put all of it into the residual. */
static void fill_residual(struct __test_metadata *_metadata,
			  struct session *session)
{
	test_mock_dirty_stride(session->mock, IOVA, SZ_4K, 2 * SZ_4K, EXTENTS);
	test_cmd_harvest(session->fd, session->id, IOVA, LENGTH, NULL);
}

/* All that was written is read, and how much else; then it is clean. */
static __u64 drain(struct __test_metadata *_metadata,
		   struct session *session, __u32 *status)
{
	__u8 *bits = calloc(1, LENGTH / SZ_4K / 8);
	struct iommufd_dirty_stats stats;
	__u64 i, dirty, more = 0;

	ASSERT_NE(NULL, bits);
	test_cmd_read(session->fd, 0, 0, IOVA, LENGTH, SZ_4K, bits, status,
		      &dirty);
	for (i = 0; i < LENGTH / SZ_4K; i += 2) {
		ASSERT_TRUE(bit_test(bits, i));
		more += bit_test(bits, i + 1);
	}
	EXPECT_EQ(EXTENTS + more, dirty);
	free(bits);
	test_cmd_count(session->fd, 0, IOVA, LENGTH, NULL, &dirty);
	EXPECT_EQ(0, dirty);
	test_cmd_stats(session->fd, 0, &stats);
	EXPECT_EQ(0, stats.out_residual_bytes);
	EXPECT_EQ(0, stats.out_residual_memory);
	return more;
}

TEST_F(memory, residual_is_sparse_and_given_back)
{
	struct session *session = &self->session;
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_stats before, stats, whole;
	__u32 status;

	open_context(_metadata, session);
	test_cmd_stats(session->fd, session->id, &before);
	EXPECT_EQ(0, before.out_residual_memory);
	fill_residual(_metadata, session);
	test_cmd_stats(session->fd, session->id, &stats);
	EXPECT_EQ((__u64)EXTENTS * SZ_4K, stats.out_residual_bytes);
	EXPECT_LE(16 * EXTENTS, stats.out_residual_memory);
	EXPECT_GE(64 * EXTENTS, stats.out_residual_memory);
	EXPECT_LE(stats.out_residual_memory, stats.out_memory);
	EXPECT_EQ(0, stats.out_bitmap_bytes);
	test_cmd_stats(session->fd, 0, &whole);
	EXPECT_LE(stats.out_memory, whole.out_memory);
	EXPECT_EQ(stats.out_residual_bytes, whole.out_residual_bytes);
	test_cmd_tracker_info(session->fd, session->id, &info);
	EXPECT_EQ(stats.out_memory, info.out_memory);

	EXPECT_EQ(0, drain(_metadata, session, &status));
	EXPECT_EQ(0, status);
	test_cmd_stats(session->fd, session->id, &stats);
	EXPECT_EQ(before.out_memory, stats.out_memory);

	/* What lies side by side is one extent. */
	test_mock_dirty(session->mock, IOVA, LENGTH);
	test_cmd_harvest(session->fd, session->id, IOVA, LENGTH, NULL);
	test_cmd_stats(session->fd, session->id, &stats);
	EXPECT_EQ(LENGTH, stats.out_residual_bytes);
	EXPECT_GE(SZ_64K, stats.out_residual_memory);
}

TEST_F(memory, bounded_residual_overreports)
{
	struct session *session = &self->session;
	struct iommufd_dirty_stats stats;
	struct iommufd_dirty_info info;
	__u32 status;

	if (!have_modules())
		SKIP(return, NO_MODULES);
	ASSERT_EQ(0, remove_modules());
	self->reloaded = true;
	ASSERT_EQ(0, load_modules("residual_max_kib=64"));
	open_context(_metadata, session);
	test_cmd_info(session->fd, &info);
	EXPECT_EQ(SZ_64K, info.out_max_residual);
	fill_residual(_metadata, session);
	test_cmd_stats(session->fd, session->id, &stats);
	EXPECT_GE(SZ_64K, stats.out_residual_memory);
	EXPECT_LT(0, stats.out_residual_memory);
	EXPECT_LT(0, stats.out_overreported);
	EXPECT_LT((__u64)EXTENTS * SZ_4K, stats.out_residual_bytes);
	EXPECT_LT(0, drain(_metadata, session, &status));
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, status);

	/* Of a new session nothing of the kind is said. */
	test_cmd_stop(session->fd);
	test_cmd_start(session->fd, SZ_4K);
	test_cmd_count(session->fd, 0, IOVA, LENGTH, &status, NULL);
	EXPECT_EQ(0, status);
}

TEST_F(memory, residual_is_charged_to_the_opener)
{
	struct session *session = &self->session;
	struct iommufd_dirty_stats stats;
	long long before, after;

	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	open_context(_metadata, session);
	before = cgroup_value("memory.current");
	ASSERT_LT(0, before);
	fill_residual(_metadata, session);
	after = cgroup_value("memory.current");
	test_cmd_stats(session->fd, session->id, &stats);
	/* Charges are made for some pages at a time. */
	EXPECT_LE(before + (long long)stats.out_residual_memory / 2, after);
}

TEST_F(memory, opener_out_of_memory_overreports_and_survives)
{
	struct session *session = &self->session;
	struct iommufd_dirty_stats stats;
	char limit[32];
	__u32 status;
	__u64 dirty;
	int max;

	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	/* Where nothing is left, there is no memory to open a file either. */
	max = open(CGROUP "/iommufd-dirty/memory.max", O_WRONLY | O_CLOEXEC);
	ASSERT_NE(-1, max);
	open_context(_metadata, session);
	/* All that the rest needs is in memory before the limit is set. */
	test_cmd_stats(session->fd, session->id, &stats);
	test_mock_dirty_stride(session->mock, IOVA, SZ_4K, 2 * SZ_4K, EXTENTS);
	/* Nothing that could be reclaimed instead; EAGAIN says that it is less. */
	write_file(CGROUP "/iommufd-dirty/memory.reclaim", "1G");
	snprintf(limit, sizeof(limit), "%lld",
		 cgroup_value("memory.current") + 65536);
	ASSERT_EQ(strlen(limit), write(max, limit, strlen(limit)));
	/* Neither an error nor the OOM killer. */
	test_cmd_harvest(session->fd, session->id, IOVA, LENGTH, NULL);
	test_cmd_stats(session->fd, session->id, &stats);
	test_cmd_count(session->fd, 0, IOVA, LENGTH, &status, &dirty);
	ASSERT_EQ(3, pwrite(max, "max", 3, 0));
	close(max);
	EXPECT_LT(0, stats.out_overreported);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_OVERREPORTED, status);
	EXPECT_LT(EXTENTS, dirty);
	EXPECT_LT(0, drain(_metadata, session, &status));
}

/* A limit is no reason to fail as long as something can be given up for it. */
TEST_F(memory, what_can_be_reclaimed_is)
{
	static struct iommufd_dirty_range ranges[16384];
	struct session *session = &self->session;
	size_t length = 16 * sizeof(ranges);
	char limit[32];
	unsigned int i;
	void *spare;
	int max;

	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	max = open(CGROUP "/iommufd-dirty/memory.max", O_WRONLY | O_CLOEXEC);
	ASSERT_NE(-1, max);
	open_context(_metadata, session);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		ranges[i].iova = 2 * IOVA + i * 2 * SZ_4K;
		ranges[i].length = SZ_4K;
	}
	/* Memory that was given up, and is there until somebody needs it. */
	spare = mmap(NULL, length, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, spare);
	memset(spare, 1, length);
	ASSERT_EQ(0, madvise(spare, length, MADV_FREE));
	snprintf(limit, sizeof(limit), "%lld", cgroup_value("memory.current"));
	ASSERT_EQ(strlen(limit), write(max, limit, strlen(limit)));
	EXPECT_EQ(0, _test_cmd_ranges(session->fd, 0, ranges,
				      ARRAY_SIZE(ranges)))
	{
		TH_LOG("RANGES: %s", strerror(errno));
	}
	ASSERT_EQ(3, pwrite(max, "max", 3, 0));
	close(max);
	munmap(spare, length);
}

TEST_HARNESS_MAIN
