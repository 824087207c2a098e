// SPDX-License-Identifier: GPL-2.0
/*
 * iommufd's HWPTs as trackers: what can be bound, and how it gets along with
 * iommufd's own uAPI on the same HWPT.
 */
#include "members.h"

#define BITS (MEMBERS_SIZE / SZ_4K)

FIXTURE(hwpt)
{
	struct members members;
	int fd;
	int iommu;
	__u32 hwpt_id;
	__u32 id;
};

FIXTURE_SETUP(hwpt)
{
	struct members_variant one = { .hwpts = 1 };

	members_open(_metadata, &self->members, &one);
	self->fd = self->members.fd;
	self->iommu = self->members.iommu;
	self->hwpt_id = self->members.member[0].hwpt_id;
	self->id = self->members.member[0].id;
}

FIXTURE_TEARDOWN(hwpt)
{
	members_close(&self->members);
}

static int _set_dirty_tracking(int iommu, __u32 hwpt_id, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking cmd = {
		.size = sizeof(cmd),
		.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt_id,
	};

	return ioctl(iommu, IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd);
}

static int _get_dirty_bitmap(int iommu, __u32 hwpt_id, __u32 flags,
			     __u64 *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = hwpt_id,
		.flags = flags,
		.iova = MEMBERS_BASE,
		.length = MEMBERS_SIZE,
		.page_size = SZ_4K,
		.data = (uintptr_t)bitmap,
	};

	return ioctl(iommu, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd);
}

TEST_F(hwpt, info)
{
	struct iommufd_dirty_tracker_info info;

	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN, info.out_kind);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_STOPPED, info.out_state);
	/* The mock domain's smallest page is 2 KiB; no bit is that fine. */
	EXPECT_EQ(0, info.out_pgsizes & (SZ_4K - 1));
	EXPECT_EQ(SZ_4K, info.out_pgsizes & SZ_4K);
	EXPECT_EQ(IOMMUFD_DIRTY_CAP_PEEK,
		  info.out_caps & IOMMUFD_DIRTY_CAP_PEEK);
}

TEST_F(hwpt, bind_errors)
{
	struct members *members = &self->members;
	int null = open("/dev/null", O_RDWR);
	__u32 plain, parent, nested;
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.dev_id = members->idev_id,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};

	ASSERT_NE(-1, null);
	test_err_bind_hwpt(EBADF, self->fd, -1, self->hwpt_id, POLICY_FAIL);
	test_err_bind_hwpt(EBADFD, self->fd, null, self->hwpt_id, POLICY_FAIL);
	test_err_bind_hwpt(ENOENT, self->fd, self->iommu, 0x7fff0000,
			   POLICY_FAIL);
	test_err_bind_hwpt(ENOENT, self->fd, self->iommu, members->ioas_id,
			   POLICY_FAIL);
	test_err_bind_hwpt(EOPNOTSUPP, self->fd, self->iommu, self->hwpt_id, 3);
	/* Twice. */
	test_err_bind_hwpt(EBUSY, self->fd, self->iommu, self->hwpt_id,
			   POLICY_FAIL);

	/* Without dirty tracking. */
	ASSERT_EQ(0, _iommu_hwpt_alloc(self->iommu, members->idev_id,
				       members->ioas_id, 0,
				       MOCK_IOMMUPT_DEFAULT, &plain));
	test_err_bind_hwpt(EOPNOTSUPP, self->fd, self->iommu, plain,
			   POLICY_FAIL);

	/* A nested one logs guest addresses: another address space. */
	ASSERT_EQ(0, _iommu_hwpt_alloc(self->iommu, members->idev_id,
				       members->ioas_id,
				       IOMMU_HWPT_ALLOC_NEST_PARENT,
				       MOCK_IOMMUPT_DEFAULT, &parent));
	alloc.pt_id = parent;
	ASSERT_EQ(0, ioctl(self->iommu, IOMMU_HWPT_ALLOC, &alloc));
	nested = alloc.out_hwpt_id;
	test_err_bind_hwpt(EXDEV, self->fd, self->iommu, nested, POLICY_FAIL);
	close(null);
}

TEST_F(hwpt, another_ioas_is_exdev)
{
	int other = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	__u32 ioas_id, hwpt_id, idev_id, id;

	ASSERT_NE(-1, other);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &ioas_id));
	ASSERT_EQ(0, _iommu_mock_device(self->iommu, ioas_id, &idev_id));
	ASSERT_EQ(0, _iommu_hwpt_alloc(self->iommu, idev_id, ioas_id,
				       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				       MOCK_IOMMUPT_DEFAULT, &hwpt_id));
	test_err_bind_hwpt(EXDEV, self->fd, self->iommu, hwpt_id, POLICY_FAIL);
	/* Two address spaces are two contexts. */
	test_cmd_bind_hwpt(other, self->iommu, hwpt_id, POLICY_FAIL, &id);
	close(other);
}

TEST_F(hwpt, cannot_be_destroyed_while_bound)
{
	EXPECT_ERRNO(EBUSY, _iommu_destroy(self->iommu, self->hwpt_id));
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_ERRNO(EBUSY, _iommu_destroy(self->iommu, self->hwpt_id));
	test_cmd_unbind(self->fd, self->id, 0);
	ASSERT_EQ(0, _iommu_destroy(self->iommu, self->hwpt_id));
}

TEST_F(hwpt, iommufd_closed_while_tracking)
{
	struct members *members = &self->members;

	/* The context keeps alive what it reads. */
	test_cmd_start(self->fd, SZ_4K);
	member_write(members, 0, MEMBERS_BASE, SZ_64K);
	close(self->iommu);
	members->iommu = -1;
	members_read_all(members);
	test_cmd_stop(self->fd);
	test_cmd_unbind(self->fd, self->id, 0);
}

TEST_F(hwpt, tracking_of_someone_else_is_ebusy)
{
	struct iommufd_dirty_start_result result;
	__u64 granule;
	__u32 nr = 1;

	ASSERT_EQ(0, _set_dirty_tracking(self->iommu, self->hwpt_id, true));
	EXPECT_ERRNO(EBUSY, _test_cmd_start_results(self->fd, 0, SZ_4K,
						    &granule, &result, &nr));
	EXPECT_EQ(-EBUSY, result.error);
	/* What is not ours is not switched off by the attempt. */
	ASSERT_EQ(0, _hwpt_dirty(self->iommu, self->hwpt_id, MEMBERS_BASE,
				 SZ_4K));
	ASSERT_EQ(0, _set_dirty_tracking(self->iommu, self->hwpt_id, false));
	test_cmd_start(self->fd, SZ_4K);
}

TEST_F(hwpt, someone_else_gets_ebusy_while_started)
{
	struct members *members = &self->members;
	__u64 bits[BITS / 64] = {};
	unsigned int i;

	/* Not started, it belongs to nobody. */
	ASSERT_EQ(0, _set_dirty_tracking(self->iommu, self->hwpt_id, true));
	ASSERT_EQ(0, _get_dirty_bitmap(self->iommu, self->hwpt_id, 0, bits));
	ASSERT_EQ(0, _set_dirty_tracking(self->iommu, self->hwpt_id, false));

	test_cmd_start(self->fd, SZ_4K);
	member_write(members, 0, MEMBERS_BASE + SZ_4K, SZ_4K);
	EXPECT_ERRNO(EBUSY, _set_dirty_tracking(self->iommu, self->hwpt_id,
						true));
	EXPECT_ERRNO(EBUSY, _set_dirty_tracking(self->iommu, self->hwpt_id,
						false));
	EXPECT_ERRNO(EBUSY, _get_dirty_bitmap(self->iommu, self->hwpt_id, 0,
					      bits));
	for (i = 0; i < ARRAY_SIZE(bits); i++)
		ASSERT_EQ(0, bits[i]);
	/* A look does no harm. */
	ASSERT_EQ(0, _get_dirty_bitmap(self->iommu, self->hwpt_id,
				       IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
				       bits));
	EXPECT_EQ(2, bits[0]);
	members_read_all(members);

	test_cmd_stop(self->fd);
	ASSERT_EQ(0, _set_dirty_tracking(self->iommu, self->hwpt_id, true));
	ASSERT_EQ(0, _get_dirty_bitmap(self->iommu, self->hwpt_id, 0, bits));
}

TEST_F(hwpt, stop_switches_tracking_off)
{
	test_cmd_start(self->fd, SZ_4K);
	ASSERT_EQ(0, _hwpt_dirty(self->iommu, self->hwpt_id, MEMBERS_BASE,
				 SZ_4K));
	test_cmd_stop(self->fd);
	/* The mock domain takes a write's dirty bit only while it tracks. */
	EXPECT_ERRNO(EINVAL, _hwpt_dirty(self->iommu, self->hwpt_id,
					 MEMBERS_BASE, SZ_4K));
	/* And what it had was forgotten when tracking began again. */
	test_cmd_start(self->fd, SZ_4K);
	members_read_all(&self->members);
}

/* That STRICT refuses is no failure of the tracker: it is not skipped for it. */
TEST_F(hwpt, strict_on_a_hole_whatever_the_policy)
{
	static const __u32 policies[] = { POLICY_FAIL, POLICY_IGNORE,
					  POLICY_ALL_DIRTY };
	struct members *members = &self->members;
	__u8 bits[MEMBERS_SIZE / SZ_4K / 8];
	unsigned int i;

	ASSERT_EQ(0, _iommu_ioas_unmap(self->iommu, members->ioas_id,
				       MEMBERS_BASE, MEMBERS_SIZE));
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, members->ioas_id,
				     members->buffer, MEMBERS_SIZE / 2,
				     MEMBERS_BASE));
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < ARRAY_SIZE(policies); i++) {
		test_cmd_set_policy(self->fd, members->member[0].id,
				    policies[i]);
		member_write(members, 0, MEMBERS_BASE + i * SZ_64K, SZ_4K);
		test_err_read(ENXIO, self->fd, 0, IOMMUFD_DIRTY_READ_STRICT,
			      MEMBERS_BASE, MEMBERS_SIZE, SZ_4K, bits);
		EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, members_read_all(members));
	}
}

TEST_F(hwpt, unmapped_part_is_a_hole_and_the_rest_is_read)
{
	struct members *members = &self->members;
	__u32 status;

	test_cmd_start(self->fd, SZ_4K);
	ASSERT_EQ(0, _iommu_ioas_unmap(self->iommu, members->ioas_id,
				       MEMBERS_BASE, MEMBERS_SIZE));
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, members->ioas_id,
				     members->buffer, SZ_2M, MEMBERS_BASE));
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, members->ioas_id,
				     members->buffer, SZ_2M,
				     MEMBERS_BASE + 4 * SZ_1M));
	member_write(members, 0, MEMBERS_BASE + SZ_2M - SZ_4K, SZ_4K);
	member_write(members, 0, MEMBERS_BASE + 4 * SZ_1M, SZ_4K);
	member_write(members, 0, MEMBERS_BASE + 6 * SZ_1M - SZ_4K, SZ_4K);
	EXPECT_ERRNO(ENXIO, _test_cmd_read(self->fd, 0,
					   IOMMUFD_DIRTY_READ_STRICT |
						   IOMMUFD_DIRTY_READ_COUNT_ONLY,
					   MEMBERS_BASE, MEMBERS_SIZE, SZ_4K,
					   NULL, NULL, NULL));
	status = members_read_all(members);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_HOLE, status);
	/* Only the mapped part: no hole. */
	status = model_read(&members->model, .fd = self->fd, .who = MODEL_ALL,
			    .flags = IOMMUFD_DIRTY_READ_STRICT,
			    .iova = MEMBERS_BASE + 4 * SZ_1M, .length = SZ_2M,
			    .page_size = SZ_4K);
	EXPECT_EQ(0, status);
}

TEST_F(hwpt, above_4g_across_a_window)
{
	__u64 base = 16 * SZ_1G, seam = 64 * SZ_1G;
	struct members *members = &self->members;
	__u32 ioas_id, hwpt_id, id;
	struct model model;
	void *buffer;
	int fd;

	/*
	 * The huge domain's aperture is large, but a mock device's own domain
	 * is small: an IOAS that no device is attached to.
	 */
	buffer = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &ioas_id));
	ASSERT_EQ(0, _iommu_hwpt_alloc(self->iommu, members->idev_id, ioas_id,
				       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				       MOCK_IOMMUPT_HUGE, &hwpt_id));
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, ioas_id, buffer, 2 * SZ_2M,
				     base + seam - SZ_2M));
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, fd);
	test_cmd_bind_hwpt(fd, self->iommu, hwpt_id, POLICY_FAIL, &id);
	test_cmd_range_add(fd, base, seam + SZ_2M);
	test_cmd_start(fd, SZ_4K);
	ASSERT_TRUE(model_init(&model, base, seam + SZ_2M, 12));

	/* The last IOPTE before and the first one after 512 pinned pages. */
	ASSERT_EQ(0, _hwpt_dirty(self->iommu, hwpt_id,
				 base + seam - 2 * SZ_4K, 4 * SZ_4K));
	model_write(&model, 1, base + seam - 2 * SZ_4K, 4 * SZ_4K,
		    MOCK_HUGE_PAGE_SIZE);
	/* A window that ends in the middle of an IOPTE. */
	model_read(&model, .fd = fd, .who = MODEL_ALL, .iova = base,
		   .length = seam + SZ_2M, .page_size = SZ_4K,
		   .at = { .misalign = 1 });
	model_read(&model, .fd = fd, .who = MODEL_ALL, .iova = base,
		   .length = seam + SZ_2M, .page_size = SZ_4K);
	model_free(&model);
	close(fd);
	munmap(buffer, 2 * SZ_2M);
}

/* On a kernel without the interface: it says so, and does what it can. */
TEST(without_hwpt_interface)
{
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC), iommu;

	ASSERT_NE(-1, fd);
	if (have_hwpt(fd))
		SKIP(return, "this kernel has the interface");
	iommu = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, iommu);
	test_err_bind_hwpt(EOPNOTSUPP, fd, iommu, 1, POLICY_FAIL);
	close(iommu);
	close(fd);
}

TEST_HARNESS_MAIN
