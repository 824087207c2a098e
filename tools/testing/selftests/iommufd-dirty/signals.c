// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever userspace sets the length of ends within one call of one tracker when
 * a signal comes, goes on from there, and loses nothing.
 */
#include <sys/wait.h>

#include "members.h"
#include "signals.h"

#define IOVA 0x100000000ULL
#define RANGES 1000U
#define STEP (2 * SZ_4K)
#define LENGTH (RANGES * STEP)

enum op {
	READ,
	READ_RANGES,
	COUNT,
	EXTENTS,
	CLEAR,
	HARVEST,
	UNBIND_KEEP,
};

FIXTURE(signals)
{
	int fd;
	int mock[2];
	__u32 id[2];
	__u8 *bits;
	struct iommufd_dirty_bitmap *bitmaps;
	struct iommufd_dirty_range *extents;
	struct iommufd_dirty_range whole;
	struct iommufd_dirty_read read;
	struct iommufd_dirty_clear clear;
	struct iommufd_dirty_harvest harvest;
	struct iommufd_dirty_unbind unbind;
};

FIXTURE_VARIANT(signals)
{
	enum op op;
};

FIXTURE_VARIANT_ADD(signals, read) { .op = READ };
FIXTURE_VARIANT_ADD(signals, read_ranges) { .op = READ_RANGES };
FIXTURE_VARIANT_ADD(signals, count) { .op = COUNT };
FIXTURE_VARIANT_ADD(signals, extents) { .op = EXTENTS };
FIXTURE_VARIANT_ADD(signals, clear) { .op = CLEAR };
FIXTURE_VARIANT_ADD(signals, harvest) { .op = HARVEST };
FIXTURE_VARIANT_ADD(signals, unbind_keep) { .op = UNBIND_KEEP };

/* Every other page is tracked; of these every other one is written. */
FIXTURE_SETUP(signals)
{
	struct mock_create create = { .caps = MOCK_CAP_UNMAP_DROPS };
	struct iommufd_dirty_range *ranges = calloc(RANGES, sizeof(*ranges));
	unsigned int i;

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	for (i = 0; i < 2; i++) {
		self->mock[i] = test_mock_create(&create);
		test_mock_bind(self->mock[i], self->fd, POLICY_FAIL,
			       &self->id[i]);
	}
	self->bits = calloc(1, LENGTH / SZ_4K / 8);
	self->bitmaps = calloc(RANGES, sizeof(*self->bitmaps));
	self->extents = calloc(RANGES, sizeof(*self->extents));
	for (i = 0; i < RANGES; i++) {
		ranges[i].iova = IOVA + i * STEP;
		ranges[i].length = SZ_4K;
		self->bitmaps[i].iova = IOVA + i * STEP;
		self->bitmaps[i].length = SZ_4K;
		self->bitmaps[i].bitmap_uptr = (uintptr_t)self->bits;
		self->bitmaps[i].bit_offset = 2 * i;
	}
	test_cmd_ranges(self->fd, 0, ranges, RANGES);
	free(ranges);
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < 2; i++)
		test_mock_dirty_stride(self->mock[i], IOVA, SZ_4K, 2 * STEP,
				       RANGES / 2);

	self->whole.iova = IOVA;
	self->whole.length = LENGTH;
	self->read = (struct iommufd_dirty_read){
		.size = sizeof(self->read),
		.nr_ranges = RANGES,
		.range_len = sizeof(self->bitmaps[0]),
		.ranges_uptr = (uintptr_t)self->bitmaps,
		.page_size = SZ_4K,
	};
	if (variant->op != READ_RANGES) {
		self->read.nr_ranges = 1;
		self->bitmaps[0].length = LENGTH;
	}
	if (variant->op == COUNT || variant->op == EXTENTS)
		self->bitmaps[0].bitmap_uptr = 0;
	if (variant->op == COUNT)
		self->read.flags = IOMMUFD_DIRTY_READ_COUNT_ONLY;
	if (variant->op == EXTENTS) {
		self->read.flags = IOMMUFD_DIRTY_READ_EXTENTS;
		self->read.extents_uptr = (uintptr_t)self->extents;
		self->read.nr_extents = RANGES;
		self->read.extent_len = sizeof(self->extents[0]);
	}
	self->clear = (struct iommufd_dirty_clear){
		.size = sizeof(self->clear),
		.nr_ranges = 1,
		.range_len = sizeof(self->bitmaps[0]),
		.ranges_uptr = (uintptr_t)self->bitmaps,
		.page_size = SZ_4K,
	};
	self->harvest = (struct iommufd_dirty_harvest){
		.size = sizeof(self->harvest),
		.nr_ranges = 1,
		.range_len = sizeof(self->whole),
		.ranges_uptr = (uintptr_t)&self->whole,
	};
	self->unbind = (struct iommufd_dirty_unbind){
		.size = sizeof(self->unbind),
		.flags = IOMMUFD_DIRTY_UNBIND_KEEP,
		.tracker_id = self->id[0],
	};
	if (variant->op == CLEAR)
		memset(self->bits, 0xff, LENGTH / SZ_4K / 8);
}

FIXTURE_TEARDOWN(signals)
{
	close(self->fd);
	close(self->mock[0]);
	close(self->mock[1]);
}

static int call(struct _test_data_signals *self, enum op op)
{
	switch (op) {
	case CLEAR:
		return ioctl(self->fd, IOMMUFD_DIRTY_CLEAR, &self->clear);
	case HARVEST:
		return ioctl(self->fd, IOMMUFD_DIRTY_HARVEST, &self->harvest);
	case UNBIND_KEEP:
		return ioctl(self->fd, IOMMUFD_DIRTY_UNBIND, &self->unbind);
	default:
		return ioctl(self->fd, IOMMUFD_DIRTY_READ, &self->read);
	}
}

static __u64 __reads(struct __test_metadata *_metadata, const int *mock)
{
	struct mock_state state;
	__u64 reads = 0;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		test_mock_state(mock[i], &state);
		reads += state.reads;
	}
	return reads;
}

#define reads() __reads(_metadata, self->mock)

TEST_F(signals, killed)
{
	__u64 before, after;
	unsigned int i;
	int status;
	pid_t pid;

	for (i = 0; i < 2; i++)
		test_mock_knob(self->mock[i], MOCK_KNOB_LATENCY_MS, 4);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		call(self, variant->op);
		_exit(1);
	}
	do {
		usleep(1000);
	} while (reads() < 8);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	before = reads();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status))
	{
		TH_LOG("it came to its end: %x", status);
	}
	/* The one under way; and one more if it had just ended. */
	after = reads();
	EXPECT_GE(before + 2, after);
	TH_LOG("%llu calls after the signal, of 4 ms each", after - before);

	/* Of what was not delivered to somebody who is dead nothing is lost. */
	for (i = 0; i < 2; i++)
		test_mock_knob(self->mock[i], MOCK_KNOB_LATENCY_MS, 0);
	if (variant->op == HARVEST || variant->op == COUNT ||
	    variant->op == UNBIND_KEEP) {
		__u64 dirty;

		test_cmd_count(self->fd, 0, IOVA, LENGTH, NULL, &dirty);
		EXPECT_EQ(RANGES / 2, dirty);
	}
}

TEST_F(signals, goes_on_where_it_was)
{
	unsigned int interrupted = 0, calls = 0, i;
	__u64 dirty = 0, left;
	int ret;

	for (i = 0; i < 2; i++)
		test_mock_knob(self->mock[i], MOCK_KNOB_LATENCY_MS, 1);
	ASSERT_EQ(0, interrupt_every(20));
	do {
		ret = call(self, variant->op);
		if (ret) {
			ASSERT_EQ(EINTR, errno);
			interrupted++;
		}
		dirty += self->read.out_dirty;
		ASSERT_GT(100000, ++calls);
	} while (ret);
	ASSERT_EQ(0, interrupt_every(0));
	EXPECT_NE(0, interrupted);

	for (i = 0; i < 2; i++)
		test_mock_knob(self->mock[i], MOCK_KNOB_LATENCY_MS, 0);
	test_cmd_count(self->fd, 0, IOVA, LENGTH, NULL, &left);
	switch (variant->op) {
	case READ:
	case READ_RANGES:
		for (i = 0; i < LENGTH / SZ_4K; i++)
			ASSERT_EQ(i % 4 == 0, bit_test(self->bits, i));
		EXPECT_EQ(RANGES / 2, dirty);
		EXPECT_EQ(0, left);
		break;
	case EXTENTS:
		EXPECT_EQ(RANGES / 2, dirty);
		EXPECT_EQ(0, left);
		break;
	case COUNT:
		EXPECT_EQ(RANGES / 2, dirty);
		EXPECT_EQ(RANGES / 2, left);
		break;
	case CLEAR:
		EXPECT_EQ(0, left);
		break;
	case HARVEST:
	case UNBIND_KEEP:
		EXPECT_EQ(RANGES / 2, left);
		break;
	}
}

/*
 * Two trackers, and a signal between them. The piece that the first one had done
 * was shorter than the one with which the next call begins.
 */
TEST(a_piece_that_grows)
{
	struct iommufd_dirty_range ranges[] = { { 0, SZ_1G },
						{ 2 * SZ_1G, 14 * SZ_1G } };
	struct iommufd_dirty_bitmap whole = { .length = 16 * SZ_1G };
	struct iommufd_dirty_range extents[4];
	struct iommufd_dirty_read cmd =
		read_cmd(&whole, 1, .flags = IOMMUFD_DIRTY_READ_EXTENTS,
			 into_extents(extents, 4));
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	int first = test_mock_create(NULL), second = test_mock_create(NULL);
	unsigned int interrupted = 0, found = 0, calls = 0;
	int ret;

	ASSERT_NE(-1, fd);
	test_mock_bind(first, fd, POLICY_FAIL, NULL);
	test_mock_bind(second, fd, POLICY_FAIL, NULL);
	test_cmd_ranges(fd, 0, ranges, 2);
	test_cmd_start(fd, SZ_4K);
	test_mock_dirty(first, 5 * SZ_1G, SZ_4K);
	test_mock_knob(first, MOCK_KNOB_LATENCY_MS, 200);
	/* In the midst of each read of the first one, as often as not. */
	ASSERT_EQ(0, interrupt_every(150));
	do {
		ret = ioctl(fd, IOMMUFD_DIRTY_READ, &cmd);
		if (ret) {
			ASSERT_EQ(EINTR, errno);
			interrupted++;
		}
		found += cmd.out_nr_extents;
		ASSERT_GT(1000, ++calls);
	} while (ret || cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE);
	ASSERT_EQ(0, interrupt_every(0));
	EXPECT_NE(0, interrupted);
	EXPECT_EQ(1, found);
	close(fd);
	close(first);
	close(second);
}

TEST_HARNESS_MAIN
