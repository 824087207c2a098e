/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One helper for each ioctl of /dev/iommufd-dirty and of the mock tracker.
 * _test_cmd_x() returns what ioctl() returned, test_cmd_x() asserts success and
 * test_err_x() an errno.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_UTILS
#define __SELFTEST_IOMMUFD_DIRTY_UTILS

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/iommufd_dirty.h>

#include "kselftest_harness.h"
#include "../modules/mock/iommufd_dirty_mock.h"

/* In seconds. It catches a hang, not a slow machine. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

#define DEV_PATH "/dev/iommufd-dirty"
#define MOCK_PATH "/dev/iommufd-dirty-mock"

#define SZ_4K 0x1000UL
#define SZ_64K 0x10000UL
#define SZ_1M 0x100000UL
#define SZ_2M 0x200000UL
#define SZ_1G 0x40000000UL

#define POLICY_FAIL IOMMUFD_DIRTY_POLICY_FAIL
#define POLICY_IGNORE IOMMUFD_DIRTY_POLICY_IGNORE
#define POLICY_ALL_DIRTY IOMMUFD_DIRTY_POLICY_ALL_DIRTY

#define EXPECT_ERRNO(expected_errno, cmd)         \
	({                                        \
		ASSERT_EQ(-1, cmd);               \
		EXPECT_EQ(expected_errno, errno); \
	})

static inline int _test_cmd_info(int fd, struct iommufd_dirty_info *info)
{
	*info = (struct iommufd_dirty_info){ .size = sizeof(*info) };
	return ioctl(fd, IOMMUFD_DIRTY_INFO, info);
}

#define test_cmd_info(fd, info) ASSERT_EQ(0, _test_cmd_info(fd, info))

static inline int _test_cmd_bind_hwpt(int fd, int iommufd, __u32 hwpt_id,
				      __u32 policy, __u32 *id)
{
	struct iommufd_dirty_bind_hwpt cmd = {
		.size = sizeof(cmd),
		.iommufd = iommufd,
		.hwpt_id = hwpt_id,
		.policy = policy,
	};
	int ret = ioctl(fd, IOMMUFD_DIRTY_BIND_HWPT, &cmd);

	if (!ret && id)
		*id = cmd.out_tracker_id;
	return ret;
}

#define test_cmd_bind_hwpt(fd, iommufd, hwpt_id, policy, id) \
	ASSERT_EQ(0, _test_cmd_bind_hwpt(fd, iommufd, hwpt_id, policy, id))
#define test_err_bind_hwpt(_errno, fd, iommufd, hwpt_id, policy)           \
	EXPECT_ERRNO(_errno, _test_cmd_bind_hwpt(fd, iommufd, hwpt_id, policy, \
						 NULL))

static inline int _test_cmd_bind_untracked(int fd, __u32 policy, __u32 *id)
{
	struct iommufd_dirty_bind_untracked cmd = {
		.size = sizeof(cmd),
		.policy = policy,
	};
	int ret = ioctl(fd, IOMMUFD_DIRTY_BIND_UNTRACKED, &cmd);

	if (!ret && id)
		*id = cmd.out_tracker_id;
	return ret;
}

#define test_cmd_bind_untracked(fd, policy, id) \
	ASSERT_EQ(0, _test_cmd_bind_untracked(fd, policy, id))
#define test_err_bind_untracked(_errno, fd, policy) \
	EXPECT_ERRNO(_errno, _test_cmd_bind_untracked(fd, policy, NULL))

static inline int _test_cmd_unbind(int fd, __u32 id, __u32 flags)
{
	struct iommufd_dirty_unbind cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.tracker_id = id,
	};

	return ioctl(fd, IOMMUFD_DIRTY_UNBIND, &cmd);
}

#define test_cmd_unbind(fd, id, flags) \
	ASSERT_EQ(0, _test_cmd_unbind(fd, id, flags))
#define test_err_unbind(_errno, fd, id, flags) \
	EXPECT_ERRNO(_errno, _test_cmd_unbind(fd, id, flags))

/* @nr is in and out, as in struct iommufd_dirty_list. */
static inline int _test_cmd_list(int fd, __u32 *ids, __u32 *nr)
{
	struct iommufd_dirty_list cmd = {
		.size = sizeof(cmd),
		.nr_ids = *nr,
		.ids_uptr = (uintptr_t)ids,
	};
	int ret = ioctl(fd, IOMMUFD_DIRTY_LIST, &cmd);

	*nr = cmd.nr_ids;
	return ret;
}

#define test_cmd_list(fd, ids, nr) ASSERT_EQ(0, _test_cmd_list(fd, ids, nr))

static inline int _test_cmd_tracker_info(int fd, __u32 id,
					 struct iommufd_dirty_tracker_info *info)
{
	*info = (struct iommufd_dirty_tracker_info){
		.size = sizeof(*info),
		.tracker_id = id,
	};
	return ioctl(fd, IOMMUFD_DIRTY_TRACKER_INFO, info);
}

#define test_cmd_tracker_info(fd, id, info) \
	ASSERT_EQ(0, _test_cmd_tracker_info(fd, id, info))
#define test_err_tracker_info(_errno, fd, id, info) \
	EXPECT_ERRNO(_errno, _test_cmd_tracker_info(fd, id, info))

static inline int _test_cmd_ranges(int fd, __u32 flags,
				   const struct iommufd_dirty_range *ranges,
				   __u32 nr)
{
	struct iommufd_dirty_ranges cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.nr_ranges = nr,
		.range_len = sizeof(*ranges),
		.ranges_uptr = (uintptr_t)ranges,
	};

	return ioctl(fd, IOMMUFD_DIRTY_RANGES, &cmd);
}

#define test_cmd_ranges(fd, flags, ranges, nr) \
	ASSERT_EQ(0, _test_cmd_ranges(fd, flags, ranges, nr))
#define test_err_ranges(_errno, fd, flags, ranges, nr) \
	EXPECT_ERRNO(_errno, _test_cmd_ranges(fd, flags, ranges, nr))

static inline int _test_cmd_range(int fd, __u32 flags, __u64 iova, __u64 length)
{
	struct iommufd_dirty_range range = { .iova = iova, .length = length };

	return _test_cmd_ranges(fd, flags, &range, 1);
}

#define test_cmd_range_add(fd, iova, length) \
	ASSERT_EQ(0, _test_cmd_range(fd, 0, iova, length))
#define test_cmd_range_remove(fd, iova, length)                           \
	ASSERT_EQ(0, _test_cmd_range(fd, IOMMUFD_DIRTY_RANGES_REMOVE, iova, \
				     length))
#define test_err_range(_errno, fd, flags, iova, length) \
	EXPECT_ERRNO(_errno, _test_cmd_range(fd, flags, iova, length))

static inline int
_test_cmd_start_results(int fd, __u32 flags, __u64 page_size, __u64 *granule,
			struct iommufd_dirty_start_result *results, __u32 *nr)
{
	struct iommufd_dirty_start cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.page_size = page_size,
		.nr_results = *nr,
		.result_len = sizeof(*results),
		.results_uptr = (uintptr_t)results,
	};
	int ret = ioctl(fd, IOMMUFD_DIRTY_START, &cmd);

	*nr = cmd.nr_results;
	*granule = cmd.out_granule;
	return ret;
}

static inline int _test_cmd_start(int fd, __u32 flags, __u64 page_size)
{
	__u64 granule;
	__u32 nr = 0;

	return _test_cmd_start_results(fd, flags, page_size, &granule, NULL,
				       &nr);
}

#define test_cmd_start(fd, page_size) \
	ASSERT_EQ(0, _test_cmd_start(fd, 0, page_size))
#define test_err_start(_errno, fd, flags, page_size) \
	EXPECT_ERRNO(_errno, _test_cmd_start(fd, flags, page_size))

static inline int _test_cmd_stop(int fd)
{
	struct iommufd_dirty_stop cmd = { .size = sizeof(cmd) };

	return ioctl(fd, IOMMUFD_DIRTY_STOP, &cmd);
}

#define test_cmd_stop(fd) ASSERT_EQ(0, _test_cmd_stop(fd))
#define test_err_stop(_errno, fd) EXPECT_ERRNO(_errno, _test_cmd_stop(fd))

/* Of @nr elements of @array, with 4 KiB pages; what follows is for other fields. */
#define read_cmd(array, nr, ...)                           \
	((struct iommufd_dirty_read){                      \
		.size = sizeof(struct iommufd_dirty_read), \
		.nr_ranges = (nr),                         \
		.range_len = sizeof(*(array)),             \
		.ranges_uptr = (uintptr_t)(array),         \
		.page_size = SZ_4K,                        \
		__VA_ARGS__                                \
	})

/* Fields for a READ into @nr elements of @array. */
#define into_extents(array, nr)                            \
	.extents_uptr = (uintptr_t)(array), .nr_extents = (nr), \
	.extent_len = sizeof(*(array))

/* Fields for a READ with results in @nr elements of @array. */
#define with_results(array, nr)                            \
	.results_uptr = (uintptr_t)(array), .nr_results = (nr), \
	.result_len = sizeof(*(array))

/* One range; for anything else use read_cmd() and ioctl(). */
static inline int _test_cmd_read(int fd, __u32 id, __u32 flags, __u64 iova,
				 __u64 length, __u64 page_size, void *bitmap,
				 __u32 *status, __u64 *dirty)
{
	struct iommufd_dirty_bitmap range = {
		.iova = iova,
		.length = length,
		.bitmap_uptr = (uintptr_t)bitmap,
	};
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.tracker_id = id,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = page_size,
	};
	int ret = ioctl(fd, IOMMUFD_DIRTY_READ, &cmd);

	if (status)
		*status = cmd.out_status;
	if (dirty)
		*dirty = cmd.out_dirty;
	return ret;
}

#define test_cmd_read(fd, id, flags, iova, length, page_size, bitmap, status, \
		      dirty)                                                  \
	ASSERT_EQ(0, _test_cmd_read(fd, id, flags, iova, length, page_size,   \
				    bitmap, status, dirty))
#define test_err_read(_errno, fd, id, flags, iova, length, page_size, bitmap) \
	EXPECT_ERRNO(_errno, _test_cmd_read(fd, id, flags, iova, length,      \
					    page_size, bitmap, NULL, NULL))

/* How many pages of 4 KiB are dirty; clears nothing. */
#define test_cmd_count(fd, id, iova, length, status, dirty)                 \
	ASSERT_EQ(0, _test_cmd_read(fd, id, IOMMUFD_DIRTY_READ_COUNT_ONLY, iova, \
				    length, SZ_4K, NULL, status, dirty))

static inline int _test_cmd_clear(int fd, __u32 id, __u64 iova, __u64 length,
				  __u64 page_size, const void *bitmap,
				  __u64 bit_offset)
{
	struct iommufd_dirty_bitmap range = {
		.iova = iova,
		.length = length,
		.bitmap_uptr = (uintptr_t)bitmap,
		.bit_offset = bit_offset,
	};
	struct iommufd_dirty_clear cmd = {
		.size = sizeof(cmd),
		.tracker_id = id,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = page_size,
	};

	return ioctl(fd, IOMMUFD_DIRTY_CLEAR, &cmd);
}

#define test_cmd_clear(fd, id, iova, length, page_size, bitmap, bit_offset) \
	ASSERT_EQ(0, _test_cmd_clear(fd, id, iova, length, page_size, bitmap, \
				     bit_offset))
#define test_err_clear(_errno, fd, id, iova, length, page_size, bitmap)   \
	EXPECT_ERRNO(_errno, _test_cmd_clear(fd, id, iova, length, page_size, \
					     bitmap, 0))

static inline int _test_cmd_harvest(int fd, __u32 id, __u64 iova, __u64 length,
				    __u32 *status)
{
	struct iommufd_dirty_range range = { .iova = iova, .length = length };
	struct iommufd_dirty_harvest cmd = {
		.size = sizeof(cmd),
		.tracker_id = id,
		.nr_ranges = 1,
		.range_len = sizeof(range),
		.ranges_uptr = (uintptr_t)&range,
	};
	int ret = ioctl(fd, IOMMUFD_DIRTY_HARVEST, &cmd);

	if (status)
		*status = cmd.out_status;
	return ret;
}

#define test_cmd_harvest(fd, id, iova, length, status) \
	ASSERT_EQ(0, _test_cmd_harvest(fd, id, iova, length, status))
#define test_err_harvest(_errno, fd, id, iova, length) \
	EXPECT_ERRNO(_errno, _test_cmd_harvest(fd, id, iova, length, NULL))

static inline int _test_cmd_set_policy(int fd, __u32 id, __u32 policy)
{
	struct iommufd_dirty_set_policy cmd = {
		.size = sizeof(cmd),
		.tracker_id = id,
		.policy = policy,
	};

	return ioctl(fd, IOMMUFD_DIRTY_SET_POLICY, &cmd);
}

#define test_cmd_set_policy(fd, id, policy) \
	ASSERT_EQ(0, _test_cmd_set_policy(fd, id, policy))
#define test_err_set_policy(_errno, fd, id, policy) \
	EXPECT_ERRNO(_errno, _test_cmd_set_policy(fd, id, policy))

static inline int _test_cmd_stats(int fd, __u32 id,
				  struct iommufd_dirty_stats *stats)
{
	*stats = (struct iommufd_dirty_stats){
		.size = sizeof(*stats),
		.tracker_id = id,
	};
	return ioctl(fd, IOMMUFD_DIRTY_STATS, stats);
}

#define test_cmd_stats(fd, id, stats) \
	ASSERT_EQ(0, _test_cmd_stats(fd, id, stats))
#define test_err_stats(_errno, fd, id, stats) \
	EXPECT_ERRNO(_errno, _test_cmd_stats(fd, id, stats))

/* The mock tracker: its file descriptor, or -1. */
static inline int _test_mock_create(const struct mock_create *create)
{
	struct mock_create cmd = create ? *create : (struct mock_create){};
	int mock = open(MOCK_PATH, O_RDWR | O_CLOEXEC);

	cmd.size = sizeof(cmd);
	if (mock != -1 && ioctl(mock, MOCK_CREATE, &cmd)) {
		int err = errno;

		close(mock);
		errno = err;
		return -1;
	}
	return mock;
}

#define test_mock_create(create)                         \
	({                                               \
		int __mock = _test_mock_create(create);  \
							 \
		ASSERT_NE(-1, __mock);                   \
		__mock;                                  \
	})

static inline int _test_mock_bind(int mock, int fd, __u32 policy, __u32 *id)
{
	struct mock_bind cmd = { .context_fd = fd, .policy = policy };
	int ret = ioctl(mock, MOCK_BIND, &cmd);

	if (!ret && id)
		*id = cmd.out_tracker_id;
	return ret;
}

#define test_mock_bind(mock, fd, policy, id) \
	ASSERT_EQ(0, _test_mock_bind(mock, fd, policy, id))
#define test_err_mock_bind(_errno, mock, fd, policy) \
	EXPECT_ERRNO(_errno, _test_mock_bind(mock, fd, policy, NULL))

/* @count marks of @length bytes, @stride bytes apart. */
static inline int _test_mock_dirty(int mock, __u64 iova, __u64 length,
				   __u64 stride, __u32 count)
{
	struct mock_dirty cmd = {
		.iova = iova,
		.length = length,
		.stride = stride,
		.count = count,
	};

	return ioctl(mock, MOCK_DIRTY, &cmd);
}

#define test_mock_dirty(mock, iova, length) \
	ASSERT_EQ(0, _test_mock_dirty(mock, iova, length, 0, 1))
#define test_mock_dirty_stride(mock, iova, length, stride, count) \
	ASSERT_EQ(0, _test_mock_dirty(mock, iova, length, stride, count))

static inline int _test_mock_knob(int mock, __u32 knob, __u64 value)
{
	struct mock_knob_set cmd = { .knob = knob, .value = value };

	return ioctl(mock, MOCK_KNOB, &cmd);
}

#define test_mock_knob(mock, knob, value) \
	ASSERT_EQ(0, _test_mock_knob(mock, knob, value))

#define test_mock_state(mock, state) \
	ASSERT_EQ(0, ioctl(mock, MOCK_STATE, state))

#define test_mock_unregister(mock) ASSERT_EQ(0, ioctl(mock, MOCK_UNREGISTER))

#endif
