// SPDX-License-Identifier: GPL-2.0
/*
 * What an operator looks at: the fdinfo of a context, the list of trackers in
 * debugfs, the tracepoints.
 */
#include "members.h"

#define TRACKERS "/sys/kernel/debug/iommufd-dirty/trackers"
#define TRACING "/sys/kernel/tracing"

/* Two mocks, started; the second is the one that gets into trouble. */
FIXTURE(debugging)
{
	struct members members;
	char text[16384];
	int fd;
};

FIXTURE_SETUP(debugging)
{
	struct members_variant two = { .mocks = 2 };

	members_open(_metadata, &self->members, &two);
	self->fd = self->members.fd;
	test_cmd_start(self->fd, SZ_4K);
}

FIXTURE_TEARDOWN(debugging)
{
	members_close(&self->members);
}

/* The whole of a file, as a string; NULL if it cannot be opened. */
static const char *text_of(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;

	if (fd == -1)
		return NULL;
	while ((got = read(fd, text + length, size - 1 - length)) > 0)
		length += got;
	close(fd);
	text[length] = 0;
	return text;
}

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ssize_t done;

	if (fd == -1)
		return -1;
	done = write(fd, text, strlen(text));
	close(fd);
	return done == (ssize_t)strlen(text) ? 0 : -1;
}

TEST_F(debugging, fdinfo_tells_of_each_tracker)
{
	char path[64], line[160];
	const char *text;

	test_mock_knob(self->members.member[1].mock, MOCK_KNOB_LOSE, EIO);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	text = text_of(path, self->text, sizeof(self->text));
	ASSERT_NE(NULL, text);
	EXPECT_NE(NULL, strstr(text, "\nbusy:\t0\n"));
	EXPECT_NE(NULL, strstr(text, "\nstarted:\t1\n"));
	EXPECT_NE(NULL, strstr(text, "\nranges:\t1\n"));
	snprintf(line, sizeof(line), "\ntracked-bytes:\t%llu\n",
		 (unsigned long long)MEMBERS_SIZE);
	EXPECT_NE(NULL, strstr(text, line));
	snprintf(line, sizeof(line),
		 "\ntracker:\tid=%u cookie=0 kind=device name=mock state=tracking policy=0 granule=4096 residual=0\n",
		 self->members.member[0].id);
	EXPECT_NE(NULL, strstr(text, line));
	snprintf(line, sizeof(line),
		 "\ntracker:\tid=%u cookie=0 kind=device name=mock state=lost policy=0 granule=4096 residual=0\n",
		 self->members.member[1].id);
	EXPECT_NE(NULL, strstr(text, line));
}

TEST_F(debugging, debugfs_lists_the_trackers)
{
	const char *text, *fdinfo;
	unsigned int context;
	char path[64], line[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	fdinfo = text_of(path, self->text, sizeof(self->text));
	ASSERT_NE(NULL, fdinfo);
	fdinfo = strstr(fdinfo, "iommufd-dirty-context:");
	ASSERT_NE(NULL, fdinfo);
	ASSERT_EQ(1, sscanf(fdinfo, "iommufd-dirty-context: %u", &context));

	text = text_of(TRACKERS, self->text, sizeof(self->text));
	if (!text)
		SKIP(return, "no debugfs");
	snprintf(line, sizeof(line), "\ndevice %u %u 1 mock\n", context,
		 self->members.member[0].id);
	EXPECT_NE(NULL, strstr(text, line));
	test_cmd_stop(self->fd);
	text = text_of(TRACKERS, self->text, sizeof(self->text));
	snprintf(line, sizeof(line), "\ndevice %u %u 0 mock\n", context,
		 self->members.member[1].id);
	EXPECT_NE(NULL, strstr(text, line));
}

TEST_F(debugging, tracepoints_tell_what_happened)
{
	__u64 bits[MEMBERS_SIZE / SZ_4K / 64] = {};
	const char *text;
	__u32 status;

	if (write_to(TRACING "/events/iommufd_dirty/enable", "1"))
		SKIP(return, "no tracefs");
	ASSERT_EQ(0, write_to(TRACING "/trace", "\n"));
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
	test_mock_dirty(self->members.member[0].mock, MEMBERS_BASE, SZ_4K);
	test_cmd_read(self->fd, 0, 0, MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, bits,
		      &status, NULL);
	test_mock_knob(self->members.member[1].mock, MOCK_KNOB_LOSE, EREMOTEIO);
	text = text_of(TRACING "/trace", self->text, sizeof(self->text));
	ASSERT_EQ(0, write_to(TRACING "/events/iommufd_dirty/enable", "0"));
	ASSERT_NE(NULL, text);
	EXPECT_NE(NULL, strstr(text, "iommufd_dirty_stop: context="));
	EXPECT_NE(NULL, strstr(text, "granule=0x1000 ranges=1 error=0"));
	EXPECT_NE(NULL, strstr(text, " iova=0x1000000 length=0x800000 extents=1 "));
	EXPECT_NE(NULL, strstr(text, "iommufd_dirty_lost: context="));
	EXPECT_NE(NULL, strstr(text, "error=-121"));
}

TEST_HARNESS_MAIN
