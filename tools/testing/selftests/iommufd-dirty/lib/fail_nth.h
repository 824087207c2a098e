/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection: an ioctl is repeated with its 1st, 2nd, 3rd ... allocation or
 * user copy failing, until none fails. After each of them nothing that was
 * written may be missing.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_FAIL_NTH
#define __SELFTEST_IOMMUFD_DIRTY_FAIL_NTH

#include <dirent.h>

#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)

/**
 * struct sweep - A context whose ioctls fail
 * @guarded: What the READs have delivered, and has to be delivered
 * @nth_fd: The task's fail-nth file
 */
struct sweep {
	struct members members;
	struct guarded guarded;
	int nth_fd;
	__u64 seed;
};

static inline int write_at(int dir, const char *name, const char *value)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd == -1)
		return -1;
	ret = write(fd, value, strlen(value));
	close(fd);
	return ret == (ssize_t)strlen(value) ? 0 : -1;
}

/* All allocations may fail, and the log does not report it. */
static inline bool have_fault_injection(void)
{
	DIR *debugfs = opendir("/sys/kernel/debug");
	struct dirent *entry;
	char name[300];

	if (!debugfs)
		return false;
	if (write_at(dirfd(debugfs), "failslab/ignore-gfp-wait", "N")) {
		closedir(debugfs);
		return false;
	}
	write_at(dirfd(debugfs), "fail_page_alloc/ignore-gfp-wait", "N");
	write_at(dirfd(debugfs), "fail_page_alloc/ignore-gfp-highmem", "N");
	while ((entry = readdir(debugfs))) {
		if (strncmp(entry->d_name, "fail", 4))
			continue;
		snprintf(name, sizeof(name), "%s/verbose", entry->d_name);
		write_at(dirfd(debugfs), name, "0");
	}
	closedir(debugfs);
	return true;
}

/* Injects the n-th fault that can be injected from now on. */
static inline void arm(struct __test_metadata *_metadata, int nth_fd, unsigned int n)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%u", n);

	ASSERT_EQ(len, pwrite(nth_fd, buf, len, 0));
}

/* Returns whether it was injected; disarms. */
static inline bool fired(struct __test_metadata *_metadata, int nth_fd)
{
	char buf[16] = {};
	ssize_t ret = pread(nth_fd, buf, sizeof(buf), 0);
	bool all = ret == 2 && buf[0] == '0';

	/* If it hits one of these two system calls, it was not injected before. */
	if (ret == -1) {
		ASSERT_EQ(EFAULT, errno);
		all = false;
	}
	if (pwrite(nth_fd, "0", 1, 0) != 1) {
		ASSERT_EQ(EFAULT, errno);
		ASSERT_EQ(1, pwrite(nth_fd, "0", 1, 0));
		all = false;
	}
	return all;
}

/*
 * Repeat @op with the next fault until that is no longer reached. @before and
 * @after may be NULL; they run without a fault. @after gets what @op returned.
 */
typedef int (*op_fn)(struct sweep *sweep);
typedef void (*check_fn)(struct __test_metadata *_metadata,
			 struct sweep *sweep, int ret);

static inline void sweep_nth(struct __test_metadata *_metadata,
			     struct sweep *sweep, op_fn before, op_fn op,
			     check_fn after)
{
	unsigned int n = 0;
	bool more;
	int ret, err;

	do {
		ASSERT_GT(1000, ++n);
		if (before)
			ASSERT_EQ(0, before(sweep));
		arm(_metadata, sweep->nth_fd, n);
		ret = op(sweep);
		err = errno;
		more = fired(_metadata, sweep->nth_fd);
		/* ENOENT: iommufd injects it when it looks an object up. */
		if (ret)
			ASSERT_TRUE(more && (err == ENOMEM || err == EFAULT ||
					     err == EIO || err == ENOENT))
			{
				TH_LOG("fault %u: %s", n, strerror(err));
			}
		if (after)
			after(_metadata, sweep, ret);
	} while (more);
	/* At least the structure's copy can fail. */
	EXPECT_LT(1, n);
}

static inline int write_some(struct sweep *sweep)
{
	struct members *members = &sweep->members;
	unsigned int i;
	int ret = 0;

	memset(sweep->guarded.bits, 0, BITS / 8);
	for (i = 0; i < 16 && !ret; i++) {
		unsigned int n = next_random(&sweep->seed) % members->nr;
		__u64 at = next_random(&sweep->seed) % (BITS - 4);

		ret = _member_write(members, n, MEMBERS_BASE + at * SZ_4K,
				    2 * SZ_4K);
		model_write(&members->model, 1 << n, MEMBERS_BASE + at * SZ_4K,
			    2 * SZ_4K, members->member[n].unit);
	}
	return ret;
}

/*
 * A good READ into the same bitmap: it delivers all that was not delivered before,
 * and no more, unless it says so.
 */
static inline void expect_all(struct __test_metadata *_metadata,
			      struct sweep *sweep, int ret)
{
	struct members *members = &sweep->members;
	struct guarded *guarded = &sweep->guarded;
	unsigned int i;
	__u32 status;

	(void)ret;
	memset(guarded->shadow_bits, 0, BITS / 8);
	model_bits(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE,
		   SZ_4K, guarded->shadow_bits, 0);
	test_cmd_read(members->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
		      guarded->bits, &status, NULL);
	for (i = 0; i < BITS / 8; i++)
		ASSERT_EQ(guarded->shadow_bits[i],
			  guarded->shadow_bits[i] & guarded->bits[i]);
	if (!(status & IOMMUFD_DIRTY_STATUS_OVERREPORTED))
		ASSERT_EQ(LONG_MAX, guarded_diff(guarded));
	model_clean(&members->model, MODEL_ALL, MEMBERS_BASE, MEMBERS_SIZE);
}

#endif
