// SPDX-License-Identifier: GPL-2.0
/*
 * What a tracker costs that is bound but not started: mapping, unmapping and
 * pinning, with it and without. The two take turns on the same page table.
 */
#include "bench.h"

#define REPS 51
#define LENGTH (4 * SZ_1M)

FIXTURE(bench_stopped)
{
	int fd;
	int iommu;
	__u32 ioas_id;
	__u32 hwpt_id;
	__u32 access_id;
	void *memory;
	__u32 tracker_id;
};

FIXTURE_SETUP(bench_stopped)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_CREATE_ACCESS,
	};
	__u32 idev_id;

	self->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->fd);
	if (!have_hwpt(self->fd))
		SKIP(return, NO_HWPT);
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	self->memory = bench_alloc(LENGTH);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &self->ioas_id));
	ASSERT_EQ(0, _iommu_no_huge_pages(self->iommu, self->ioas_id));
	ASSERT_EQ(0, _iommu_mock_device(self->iommu, self->ioas_id, &idev_id));
	ASSERT_EQ(0, _iommu_hwpt_alloc(self->iommu, idev_id, self->ioas_id,
				       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				       MOCK_IOMMUPT_DEFAULT, &self->hwpt_id));
	cmd.id = self->ioas_id;
	cmd.create_access.flags = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
	ASSERT_EQ(0, ioctl(self->iommu, IOMMU_TEST_CMD, &cmd));
	self->access_id = cmd.create_access.out_access_fd;
	test_cmd_range_add(self->fd, MEMBERS_BASE, LENGTH);
}

FIXTURE_TEARDOWN(bench_stopped)
{
	close(self->access_id);
	close(self->fd);
	close(self->iommu);
}

static void map(struct __test_metadata *_metadata,
		struct _test_data_bench_stopped *self)
{
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, self->memory,
				     LENGTH, MEMBERS_BASE));
}

static void unmap(struct __test_metadata *_metadata,
		  struct _test_data_bench_stopped *self)
{
	ASSERT_EQ(0, _iommu_ioas_unmap(self->iommu, self->ioas_id, MEMBERS_BASE,
				       LENGTH));
}

/* Pins all of it for writing, and unpins it. */
static void pin(struct __test_metadata *_metadata,
		struct _test_data_bench_stopped *self)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.id = self->access_id,
		.access_pages = {
			.flags = MOCK_FLAGS_ACCESS_WRITE,
			.iova = MEMBERS_BASE,
			.length = LENGTH,
			.uptr = (uintptr_t)self->memory,
		},
	};
	struct iommu_test_cmd undo = {
		.size = sizeof(undo),
		.op = IOMMU_TEST_OP_DESTROY_ACCESS_PAGES,
		.id = self->access_id,
	};

	ASSERT_EQ(0, ioctl(self->iommu, IOMMU_TEST_CMD, &cmd));
	undo.destroy_access_pages.access_pages_id =
		cmd.access_pages.out_access_pages_id;
	ASSERT_EQ(0, ioctl(self->iommu, IOMMU_TEST_CMD, &undo));
}

static __u64 timed(struct __test_metadata *_metadata,
		   struct _test_data_bench_stopped *self,
		   void (*f)(struct __test_metadata *_metadata,
			     struct _test_data_bench_stopped *self))
{
	__u64 begin = bench_now();

	f(_metadata, self);
	return bench_now() - begin;
}

TEST_F_TIMEOUT(bench_stopped, hwpt, 120)
{
	static const char *const names[] = { "map-4MiB", "pin-4MiB", "unmap-4MiB" };
	static struct bench bench[3][2];
	unsigned int rep, with, i;

	for (rep = 0; rep < REPS; rep++) {
		for (with = 0; with < 2; with++) {
			if (with)
				test_cmd_bind_hwpt(self->fd, self->iommu,
						   self->hwpt_id, POLICY_FAIL,
						   &self->tracker_id);
			bench[0][with].ns[rep] = timed(_metadata, self, map);
			bench[1][with].ns[rep] = timed(_metadata, self, pin);
			bench[2][with].ns[rep] = timed(_metadata, self, unmap);
			if (with)
				test_cmd_unbind(self->fd, self->tracker_id, 0);
		}
	}
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		bench[i][0].count.calls = 1;
		bench[i][1].count.calls = 1;
		bench[i][0].method = "no-tracker";
		bench[i][1].method = "stopped";
		bench_report(names[i], &bench[i][1], NULL, 0, REPS);
		bench_report(names[i], &bench[i][0], &bench[i][1], 1.02, REPS);
	}
}

TEST_HARNESS_MAIN
