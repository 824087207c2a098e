/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A context with trackers of any mix: mock devices, and HWPTs of iommufd's mock
 * domains with 4 KiB or with huge IOPTEs.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_MEMBERS
#define __SELFTEST_IOMMUFD_DIRTY_MEMBERS

#include "iommufd_test.h"
#include "model.h"

#define MEMBERS_MAX 8
#define MEMBERS_BASE ((__u64)MOCK_APERTURE_START)
#define MEMBERS_SIZE (8 * SZ_1M)

/**
 * struct member - One tracker
 * @mock: File descriptor of the mock, -1 for an HWPT
 * @hwpt_id: The HWPT
 * @id: Tracker id in the context
 * @unit: Bytes that one write makes dirty
 */
struct member {
	int mock;
	__u32 hwpt_id;
	__u32 id;
	__u64 unit;
};

/**
 * struct members - A context, its trackers and the model of what they hold
 * @iommu: /dev/iommu, or -1 if there is no HWPT
 * @buffer: Memory that is mapped at MEMBERS_BASE
 */
struct members {
	int fd;
	int iommu;
	__u32 ioas_id;
	__u32 idev_id;
	void *buffer;
	unsigned int nr;
	struct member member[MEMBERS_MAX];
	struct model model;
};

/* What a fixture's variants choose. */
struct members_variant {
	unsigned int mocks;
	unsigned int hwpts;
	bool huge;
};

static inline bool have_hwpt(int fd)
{
	struct iommufd_dirty_info info;

	return !_test_cmd_info(fd, &info) &&
	       info.out_features & IOMMUFD_DIRTY_FEATURE_HWPT;
}

#define NO_HWPT "this kernel's iommufd lacks the in-kernel dirty tracking interface"

static inline int _iommu_ioas_alloc(int iommu, __u32 *ioas_id)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	int ret = ioctl(iommu, IOMMU_IOAS_ALLOC, &cmd);

	*ioas_id = cmd.out_ioas_id;
	return ret;
}

static inline int _iommu_ioas_map(int iommu, __u32 ioas_id, void *buffer,
				  __u64 length, __u64 iova)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)buffer,
		.length = length,
		.iova = iova,
	};

	return ioctl(iommu, IOMMU_IOAS_MAP, &cmd);
}

static inline int _iommu_ioas_unmap(int iommu, __u32 ioas_id, __u64 iova,
				    __u64 length)
{
	struct iommu_ioas_unmap cmd = {
		.size = sizeof(cmd),
		.ioas_id = ioas_id,
		.iova = iova,
		.length = length,
	};

	return ioctl(iommu, IOMMU_IOAS_UNMAP, &cmd);
}

/* Map with IOPTEs of one page. */
static inline int _iommu_no_huge_pages(int iommu, __u32 ioas_id)
{
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = ioas_id,
	};

	return ioctl(iommu, IOMMU_OPTION, &cmd);
}

static inline int _iommu_mock_device(int iommu, __u32 ioas_id, __u32 *idev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
		.id = ioas_id,
	};
	int ret = ioctl(iommu, IOMMU_TEST_CMD, &cmd);

	*idev_id = cmd.mock_domain.out_idev_id;
	return ret;
}

static inline int _iommu_hwpt_alloc(int iommu, __u32 idev_id, __u32 pt_id,
				    __u32 flags, __u32 iommupt_type,
				    __u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .pagetable_type = iommupt_type };
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = idev_id,
		.pt_id = pt_id,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};
	int ret = ioctl(iommu, IOMMU_HWPT_ALLOC, &cmd);

	*hwpt_id = cmd.out_hwpt_id;
	return ret;
}

static inline int _iommu_destroy(int iommu, __u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	return ioctl(iommu, IOMMU_DESTROY, &cmd);
}

/* Set the dirty bits of [@iova, @iova + @length), as DMA writes would. */
static inline int _hwpt_dirty(int iommu, __u32 hwpt_id, __u64 iova,
			      __u64 length)
{
	size_t bytes = (length / SZ_4K + 7) / 8;
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DIRTY,
		.id = hwpt_id,
		.dirty = {
			.iova = iova,
			.length = length,
			.page_size = SZ_4K,
		},
	};
	__u8 *bits = malloc(bytes);
	int ret;

	memset(bits, 0xff, bytes);
	cmd.dirty.uptr = (uintptr_t)bits;
	ret = ioctl(iommu, IOMMU_TEST_CMD, &cmd);
	free(bits);
	return ret;
}

/* Let member @n write; @iova and @length are in whole pages. */
static inline int _member_write(struct members *members, unsigned int n,
				__u64 iova, __u64 length)
{
	struct member *member = &members->member[n];

	if (member->mock == -1)
		return _hwpt_dirty(members->iommu, member->hwpt_id, iova,
				   length);
	return _test_mock_dirty(member->mock, iova, length, 0, 1);
}

static inline void __member_write(struct __test_metadata *_metadata,
				  struct members *members, unsigned int n,
				  __u64 iova, __u64 length)
{
	ASSERT_EQ(0, _member_write(members, n, iova, length));
	model_write(&members->model, 1U << n, iova, length,
		    members->member[n].unit);
}

#define member_write(...) __member_write(_metadata, __VA_ARGS__)

static inline void members_add_mock(struct __test_metadata *_metadata,
				    struct members *members,
				    const struct mock_create *create)
{
	struct member *member = &members->member[members->nr++];

	member->mock = test_mock_create(create);
	member->unit = create->block ?: SZ_4K;
	test_mock_bind(member->mock, members->fd, POLICY_FAIL, &member->id);
}

static inline void members_open_iommu(struct __test_metadata *_metadata,
				      struct members *members, bool huge)
{
	members->buffer = mmap(NULL, MEMBERS_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS |
				       (huge ? MAP_HUGETLB | MAP_POPULATE : 0),
			       -1, 0);
	ASSERT_NE(MAP_FAILED, members->buffer)
	{
		TH_LOG("boot with hugepages=80 or more");
	}
	members->iommu = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, members->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(members->iommu, &members->ioas_id));
	if (!huge)
		ASSERT_EQ(0, _iommu_no_huge_pages(members->iommu,
						  members->ioas_id));
	ASSERT_EQ(0, _iommu_mock_device(members->iommu, members->ioas_id,
					&members->idev_id));
	ASSERT_EQ(0, _iommu_ioas_map(members->iommu, members->ioas_id,
				     members->buffer, MEMBERS_SIZE,
				     MEMBERS_BASE));
}

static inline void members_add_hwpt(struct __test_metadata *_metadata,
				    struct members *members, bool huge)
{
	struct member *member = &members->member[members->nr++];

	if (members->iommu == -1)
		members_open_iommu(_metadata, members, huge);
	member->mock = -1;
	member->unit = huge ? MOCK_HUGE_PAGE_SIZE : SZ_4K;
	ASSERT_EQ(0, _iommu_hwpt_alloc(members->iommu, members->idev_id,
				       members->ioas_id,
				       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				       huge ? MOCK_IOMMUPT_HUGE :
					      MOCK_IOMMUPT_DEFAULT,
				       &member->hwpt_id));
	test_cmd_bind_hwpt(members->fd, members->iommu, member->hwpt_id,
			   POLICY_FAIL, &member->id);
}

/*
 * Each mock is another kind of provider: it can be read without clearing or
 * not, waits or not, has a block larger than its granule or not.
 */
static inline void members_open(struct __test_metadata *_metadata,
				struct members *members,
				const struct members_variant *variant)
{
	unsigned int i;

	*members = (struct members){ .fd = -1, .iommu = -1 };
	members->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, members->fd)
	{
		TH_LOG("%s: is iommufd-dirty.ko loaded?", DEV_PATH);
	}
	ASSERT_TRUE(model_init(&members->model, MEMBERS_BASE, MEMBERS_SIZE,
			       12));
	if (variant->hwpts && !have_hwpt(members->fd))
		SKIP(return, NO_HWPT);
	for (i = 0; i < variant->mocks; i++) {
		struct mock_create create = {
			.caps = (i & 1 ? MOCK_CAP_PEEK : 0) |
				(i & 2 ? MOCK_CAP_WAITS : 0) |
				MOCK_CAP_UNMAP_DROPS,
			.block = i & 4 ? SZ_64K : 0,
		};

		members_add_mock(_metadata, members, &create);
	}
	for (i = 0; i < variant->hwpts; i++)
		members_add_hwpt(_metadata, members, variant->huge);
	test_cmd_range_add(members->fd, MEMBERS_BASE, MEMBERS_SIZE);
}

static inline void members_close(struct members *members)
{
	unsigned int i;

	if (members->fd != -1)
		close(members->fd);
	for (i = 0; i < members->nr; i++) {
		if (members->member[i].mock != -1)
			close(members->member[i].mock);
	}
	if (members->iommu != -1)
		close(members->iommu);
	if (members->buffer)
		munmap(members->buffer, MEMBERS_SIZE);
	model_free(&members->model);
}

/* Random writes of 1 to 16 pages by random members. */
static inline void members_write_some(struct __test_metadata *_metadata,
				      struct members *members,
				      unsigned int writes, __u64 *seed)
{
	while (writes--) {
		unsigned int n = next_random(seed) % members->nr;
		__u64 pages = 1 + next_random(seed) % 16;
		__u64 at = next_random(seed) % (MEMBERS_SIZE / SZ_4K - pages);

		member_write(members, n, MEMBERS_BASE + at * SZ_4K,
			     pages * SZ_4K);
	}
}

/* All of the range, merged, with 4 KiB pages. Returns the status. */
static inline __u32 __members_read_all(struct __test_metadata *_metadata,
				       struct members *members)
{
	return model_read(&members->model, .fd = members->fd, .who = MODEL_ALL,
			  .iova = MEMBERS_BASE, .length = MEMBERS_SIZE,
			  .page_size = SZ_4K);
}

#define members_read_all(members) __members_read_all(_metadata, members)

#define MEMBERS_VARIANT(fixture, name, mocks, hwpts, huge) \
	FIXTURE_VARIANT_ADD(fixture, name)                  \
	{                                                   \
		.members = { mocks, hwpts, huge },          \
	}

#define MEMBERS_MOCK_VARIANTS(fixture)                  \
	MEMBERS_VARIANT(fixture, mock_1, 1, 0, false);  \
	MEMBERS_VARIANT(fixture, mock_2, 2, 0, false);  \
	MEMBERS_VARIANT(fixture, mock_8, 8, 0, false)

#define MEMBERS_HWPT_VARIANTS(fixture)                 \
	MEMBERS_VARIANT(fixture, hwpt_1, 0, 1, false); \
	MEMBERS_VARIANT(fixture, hwpt_2, 0, 2, false); \
	MEMBERS_VARIANT(fixture, hwpt_8, 0, 8, false); \
	MEMBERS_VARIANT(fixture, huge_1, 0, 1, true);  \
	MEMBERS_VARIANT(fixture, huge_2, 0, 2, true);  \
	MEMBERS_VARIANT(fixture, huge_8, 0, 8, true)

#define MEMBERS_MIXED_VARIANTS(fixture)                      \
	MEMBERS_VARIANT(fixture, mixed_2, 1, 1, false);      \
	MEMBERS_VARIANT(fixture, mixed_8, 4, 4, false);      \
	MEMBERS_VARIANT(fixture, mixed_huge_2, 1, 1, true);  \
	MEMBERS_VARIANT(fixture, mixed_huge_8, 4, 4, true)

/* A fixture that is a context with started members, and its variants. */
#define MEMBERS_FIXTURE(fixture)                                        \
	FIXTURE(fixture)                                                \
	{                                                               \
		struct members members;                                 \
		__u64 seed;                                             \
	};                                                              \
	FIXTURE_VARIANT(fixture)                                        \
	{                                                               \
		struct members_variant members;                         \
	};                                                              \
	FIXTURE_SETUP(fixture)                                          \
	{                                                               \
		members_open(_metadata, &self->members, &variant->members); \
		if (_metadata->exit_code)                               \
			return;                                         \
		test_cmd_start(self->members.fd, SZ_4K);                \
		self->seed = 0x1234567;                                 \
	}                                                               \
	FIXTURE_TEARDOWN(fixture)                                       \
	{                                                               \
		members_close(&self->members);                          \
	}

#define MEMBERS_VARIANTS(fixture)        \
	MEMBERS_MOCK_VARIANTS(fixture);  \
	MEMBERS_HWPT_VARIANTS(fixture);  \
	MEMBERS_MIXED_VARIANTS(fixture)

#endif
