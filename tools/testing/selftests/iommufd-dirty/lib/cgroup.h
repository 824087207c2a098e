/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memory cgroup for the test that is running.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_CGROUP
#define __SELFTEST_IOMMUFD_DIRTY_CGROUP

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUP "/sys/fs/cgroup"

static inline int read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd == -1)
		return -1;
	ret = read(fd, buf, size - 1);
	close(fd);
	if (ret < 0)
		return -1;
	buf[ret] = 0;
	return 0;
}

static inline int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd == -1)
		return -1;
	ret = write(fd, value, strlen(value));
	close(fd);
	return ret == (ssize_t)strlen(value) ? 0 : -1;
}

/* The value of a file of the cgroup that the test is in. */
static inline long long cgroup_value(const char *name)
{
	char path[128], buf[32];

	snprintf(path, sizeof(path), CGROUP "/iommufd-dirty/%s", name);
	if (read_file(path, buf, sizeof(buf)))
		return -1;
	return atoll(buf);
}

static inline int enter_cgroup(void)
{
	char pid[16];

	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL) && errno != EBUSY)
		return -1;
	if (write_file(CGROUP "/cgroup.subtree_control", "+memory"))
		return -1;
	if (mkdir(CGROUP "/iommufd-dirty", 0755) && errno != EEXIST)
		return -1;
	if (write_file(CGROUP "/iommufd-dirty/memory.max", "max"))
		return -1;
	snprintf(pid, sizeof(pid), "%d", getpid());
	return write_file(CGROUP "/iommufd-dirty/cgroup.procs", pid);
}

#endif
