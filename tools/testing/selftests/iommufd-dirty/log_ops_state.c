// SPDX-License-Identifier: GPL-2.0
/*
 * As log_ops.c: errors, who uses the log, and when devices and contexts come and
 * go.
 */
#include <poll.h>

#include "log_ops.h"

/* @told: TRACKER_INFO has told it already, and poll() does not do so again. */
#define expect_lost(_error, told)                                           \
	({                                                                  \
		struct pollfd __poll = { .fd = self->fd, .events = POLLPRI }; \
		struct iommufd_dirty_tracker_info __info;                   \
		__u8 __bits[SIZE / SZ_4K / 8] = {};                         \
									    \
		test_err_read(EIO, self->fd, 0, 0, BASE, SIZE, SZ_4K,       \
			      __bits);                                      \
		EXPECT_EQ(!(told), poll(&__poll, 1, 0));                    \
		test_cmd_tracker_info(self->fd, self->id, &__info);         \
		EXPECT_EQ(IOMMUFD_DIRTY_STATE_LOST, __info.out_state);      \
		EXPECT_EQ(_error, __info.out_error);                        \
	})

/* As mlx5, once something went wrong. */
TEST_F(log_ops, sticky_error)
{
	__u32 status, reads;
	__u64 dirty;

	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
	write_some(4, SZ_4K);
	quirks_set(QUIRKS_FAIL_READ, 1);
	expect_lost(-EIO, false);

	/* It looks no better when the driver would answer again. */
	quirks_set(QUIRKS_FAIL_READ, 0);
	reads = quirks_state(self->device).reads;
	expect_lost(-EIO, true);
	EXPECT_EQ(reads, quirks_state(self->device).reads);

	test_cmd_set_policy(self->fd, self->id, POLICY_ALL_DIRTY);
	test_cmd_count(self->fd, 0, BASE, SIZE, &status, &dirty);
	EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY, status);
	EXPECT_EQ(SIZE / SZ_4K, dirty);

	test_cmd_set_policy(self->fd, self->id, POLICY_FAIL);
	test_cmd_stop(self->fd);
	model_clean(&self->model, 1, BASE, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
}

/* Whatever a driver calls it: it does not mean what it means to the core. */
TEST_F(log_ops, any_error_of_a_read_is_a_loss)
{
	static const int errors[] = { EIO, EINVAL, ENOMEM, EINTR, ENOENT,
				      ESHUTDOWN, ENOTCONN };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		test_cmd_start(self->fd, SZ_4K);
		quirks_dirty(self->device, BASE, SIZE);
		quirks_set(QUIRKS_READ_ERROR, errors[i]);
		quirks_set(QUIRKS_FAIL_READ, 1);
		expect_lost(-errors[i], false);
		test_cmd_stop(self->fd);
	}
}

/* As pds, when the device leaves STOP_COPY. */
TEST_F(log_ops, log_that_ends_does_not_look_clean)
{
	struct quirks_state state;

	test_cmd_start(self->fd, SZ_4K);
	write_some(4, SZ_4K);
	ASSERT_EQ(0, _quirks_cmd(self->device, QUIRKS_SWITCH_OFF, 0, 0, 0));
	expect_lost(-EINVAL, false);
	expect_lost(-EINVAL, true);
	test_cmd_stop(self->fd);
	/* What this test itself did to the driver: a read and a stop. */
	state = quirks_state(self->device);
	EXPECT_EQ(2, state.misuse);
	close(self->device);
	self->device = -1;
}

/* As mtty, which would take anything. */
TEST_F(log_ops, no_state_is_checked)
{
	__u8 bits[SIZE / SZ_4K / 8];
	struct quirks_state state;

	quirks_set(QUIRKS_NO_STATE, 1);
	test_err_read(ENODATA, self->fd, 0, 0, BASE, SIZE, SZ_4K, bits);
	test_cmd_stop(self->fd);
	test_cmd_start(self->fd, SZ_4K);
	test_err_start(EBUSY, self->fd, 0, SZ_4K);
	random_rounds(4, SZ_4K);
	test_cmd_stop(self->fd);
	test_cmd_stop(self->fd);
	test_err_read(ENODATA, self->fd, 0, 0, BASE, SIZE, SZ_4K, bits);
	state = quirks_state(self->device);
	EXPECT_EQ(1, state.starts);
	EXPECT_EQ(1, state.stops);
	EXPECT_EQ(0, state.misuse);
}

TEST_F(log_ops, start_fails)
{
	struct iommufd_dirty_start_result result;
	__u64 granule, page_size = SZ_4K;

	quirks_set(QUIRKS_FAIL_START, EOPNOTSUPP);
	EXPECT_ERRNO(EOPNOTSUPP, start_results(0, SZ_4K, &result, &granule));
	EXPECT_EQ(-EOPNOTSUPP, result.error);
	quirks_set(QUIRKS_FAIL_START, 0);
	/* It belongs to nobody. */
	ASSERT_EQ(0, _vfio_log_start(self->device, BASE, SIZE, &page_size));
	ASSERT_EQ(0, _vfio_log_stop(self->device));
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
}

TEST_F(log_ops, stop_fails)
{
	__u64 page_size = SZ_4K;

	quirks_set(QUIRKS_FAIL_STOP, ENOTCONN);
	test_cmd_start(self->fd, SZ_4K);
	test_err_stop(ENOTCONN, self->fd);
	ASSERT_EQ(0, _vfio_log_start(self->device, BASE, SIZE, &page_size));
	EXPECT_ERRNO(ENOTCONN, _vfio_log_stop(self->device));
	quirks_set(QUIRKS_FAIL_STOP, 0);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
}

TEST_F(log_ops, busy_for_vfios_own_logging)
{
	__u8 bits[SIZE / SZ_4K / 8] = {};
	__u64 page_size = SZ_4K;

	test_cmd_start(self->fd, SZ_4K);
	write_some(16, SZ_4K);
	EXPECT_ERRNO(EBUSY, _vfio_log_start(self->device, BASE, SIZE,
					    &page_size));
	EXPECT_ERRNO(EBUSY, _vfio_log_report(self->device, BASE, SIZE, SZ_4K,
					     bits));
	EXPECT_ERRNO(EBUSY, _vfio_log_stop(self->device));
	EXPECT_EQ(0, model_next(&self->model, 0, 0, 0));
	read_part(BASE, SIZE);
	test_cmd_stop(self->fd);
	ASSERT_EQ(0, _vfio_log_start(self->device, BASE, SIZE, &page_size));
	ASSERT_EQ(0, _vfio_log_stop(self->device));
}

TEST_F(log_ops, busy_with_vfios_own_logging)
{
	struct iommufd_dirty_start_result result;
	__u64 granule, page_size = SZ_4K;

	ASSERT_EQ(0, _vfio_log_start(self->device, BASE, SIZE, &page_size));
	EXPECT_ERRNO(EBUSY, start_results(IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K,
					  &result, &granule));
	EXPECT_ERRNO(EBUSY, start_results(0, SZ_4K, &result, &granule));
	EXPECT_EQ(-EBUSY, result.error);
	test_cmd_unbind(self->fd, self->id, 0);
	test_err_vfio_dirty_bind(EBUSY, self->device, self->fd, POLICY_FAIL);
	EXPECT_EQ(0, _vfio_dirty_probe(self->device));
	EXPECT_EQ(1, quirks_state(self->device).starts);

	ASSERT_EQ(0, _vfio_log_stop(self->device));
	test_vfio_dirty_bind(self->device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
}

/* The same writes, told by VFIO's uAPI and by ours. */
TEST_F(log_ops, as_vfios_own_logging)
{
	static __u8 ours[SIZE / SZ_4K / 8], theirs[SIZE / SZ_4K / 8];
	__u64 seed, page_size = SZ_4K;
	unsigned int round;

	for (round = 0; round < 16; round++) {
		memset(ours, 0, sizeof(ours));
		memset(theirs, 0, sizeof(theirs));
		seed = self->seed;
		ASSERT_EQ(0, _vfio_log_start(self->device, BASE, SIZE,
					     &page_size));
		write_some(64, SZ_4K);
		ASSERT_EQ(0, _vfio_log_report(self->device, BASE, SIZE, SZ_4K,
					      theirs));
		ASSERT_EQ(0, _vfio_log_stop(self->device));

		self->seed = seed;
		test_cmd_start(self->fd, SZ_4K);
		write_some(64, SZ_4K);
		ASSERT_EQ(0, _test_cmd_read(self->fd, 0, 0, BASE, SIZE, SZ_4K,
					    ours, NULL, NULL));
		test_cmd_stop(self->fd);
		EXPECT_EQ(0, memcmp(ours, theirs, sizeof(ours)));
	}
}

TEST_F(log_ops, device_is_closed_while_tracking)
{
	__u8 bits[SIZE / SZ_4K / 8];
	__u64 page_size = SZ_4K;
	int again;

	test_cmd_start(self->fd, SZ_4K);
	write_some(4, SZ_4K);
	close(self->device);
	self->device = -1;
	test_err_read(ESHUTDOWN, self->fd, 0, 0, BASE, SIZE, SZ_4K, bits);
	test_cmd_stop(self->fd);
	test_err_start(ESHUTDOWN, self->fd, 0, SZ_4K);
	test_cmd_unbind(self->fd, self->id, 0);

	/* Whoever opens it next finds it as it should be. */
	again = quirks_open(self->iommu, self->ioas_id, 0);
	ASSERT_NE(-1, again);
	ASSERT_EQ(0, _vfio_log_start(again, BASE, SIZE, &page_size));
	close(again);
	self->device = quirks_open(self->iommu, self->ioas_id, 0);
	ASSERT_NE(-1, self->device);
	model_clean(&self->model, 1, BASE, SIZE);
	test_vfio_dirty_bind(self->device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
}

TEST_F(log_ops, two_devices_merged)
{
	int second = quirks_open(self->iommu, self->ioas_id, 1);
	unsigned int round;
	__u64 iova;
	__u32 id;

	ASSERT_NE(-1, second);
	ASSERT_EQ(0, _quirks_cmd(second, QUIRKS_SET, QUIRKS_PAGE_MIN, SZ_64K,
				 0));
	ASSERT_EQ(0, _quirks_cmd(second, QUIRKS_SET, QUIRKS_READ_MS, 5, 0));
	test_vfio_dirty_bind(second, self->fd, POLICY_FAIL, &id);
	test_cmd_start(self->fd, SZ_4K);
	for (round = 0; round < 32; round++) {
		write_some(4, SZ_4K);
		iova = BASE + next_random(&self->seed) % (SIZE - SZ_64K);
		quirks_dirty(second, iova, SZ_64K);
		model_write(&self->model, 2, iova, SZ_64K, SZ_64K);
		if (round % 4)
			read_part(iova & ~(SZ_4K - 1), SZ_64K);
		else
			model_read(&self->model, .fd = self->fd,
				   .tracker_id = id, .who = 2, .iova = BASE,
				   .length = SIZE, .page_size = SZ_4K);
	}
	read_part(BASE, SIZE);
	close(second);
}

/* What counts is where a device is when it is bound. */
TEST_F(log_ops, address_space_at_the_time_of_the_bind)
{
	__u32 other, id;
	int second;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &other));
	second = quirks_open(self->iommu, other, 1);
	ASSERT_NE(-1, second);
	test_err_vfio_dirty_bind(EXDEV, second, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, _vfio_attach(second, self->ioas_id));
	test_vfio_dirty_bind(second, self->fd, POLICY_FAIL, &id);
	test_cmd_unbind(self->fd, id, 0);
	ASSERT_EQ(0, _vfio_attach(second, other));
	test_err_vfio_dirty_bind(EXDEV, second, self->fd, POLICY_FAIL);
	close(second);
}

/*
 * Its place is looked at in each START and READ: what it writes in another space
 * is no dirt of this one.
 */
TEST_F(log_ops, moved_to_another_address_space)
{
	static const __u8 none[SIZE / SZ_4K / 8];
	__u8 bits[SIZE / SZ_4K / 8] = {};
	struct quirks_state before, after;
	__u32 other;
	int fd;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &other));
	test_cmd_start(self->fd, SZ_4K);
	write_some(4, SZ_4K);
	/* Detached: what it logged is dirt of where it was. */
	ASSERT_EQ(0, _vfio_detach(self->device));
	read_part(BASE, SIZE / 2);

	ASSERT_EQ(0, _vfio_attach(self->device, other));
	before = quirks_state(self->device);
	test_err_read(EXDEV, self->fd, 0, 0, BASE, SIZE, SZ_4K, bits);
	after = quirks_state(self->device);
	EXPECT_EQ(before.reads, after.reads);
	EXPECT_EQ(0, memcmp(none, bits, sizeof(bits)));
	/* Nothing is lost by that. */
	ASSERT_EQ(0, _vfio_attach(self->device, self->ioas_id));
	random_rounds(4, SZ_4K);
	test_cmd_stop(self->fd);

	ASSERT_EQ(0, _vfio_attach(self->device, other));
	test_err_start(EXDEV, self->fd, 0, SZ_4K);
	/* A bind that is refused does not tell it a space. */
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, fd);
	test_err_vfio_dirty_bind(EBUSY, self->device, fd, POLICY_FAIL);
	EXPECT_EQ(0, _vfio_dirty_probe(self->device));
	test_err_start(EXDEV, self->fd, 0, SZ_4K);
	EXPECT_EQ(after.starts, quirks_state(self->device).starts);
	/* A context of its own, while it is there. */
	test_cmd_unbind(self->fd, self->id, 0);
	test_vfio_dirty_bind(self->device, fd, POLICY_FAIL, NULL);
	test_cmd_range_add(fd, BASE, SIZE);
	test_cmd_start(fd, SZ_4K);
	close(fd);

	/* In no iommufd. */
	ASSERT_EQ(0, _vfio_detach(self->device));
	EXPECT_EQ(0, _vfio_dirty_probe(self->device));
	test_err_vfio_dirty_bind(EXDEV, self->device, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, _vfio_attach(self->device, self->ioas_id));
	test_vfio_dirty_bind(self->device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_start(self->fd, SZ_4K);
	random_rounds(4, SZ_4K);
}

/* Without update_ranges the core restarts it: more is dirty then, never less. */
TEST_F(log_ops, ranges_change_while_tracking)
{
	static __u8 bits[2 * SIZE / SZ_4K / 8];
	__u64 page;

	quirks_set(QUIRKS_PAGE_MIN, SZ_64K);
	test_cmd_start(self->fd, SZ_4K);
	write_some(16, SZ_64K);
	test_cmd_range_add(self->fd, BASE + SIZE, SZ_64K);
	EXPECT_EQ(SZ_64K, quirks_state(self->device).page_size);
	write_some(16, SZ_64K);
	ASSERT_EQ(0, _test_cmd_read(self->fd, 0, 0, BASE, SIZE + SZ_64K, SZ_4K,
				    bits, NULL, NULL));
	for (page = 0; page < SIZE / SZ_4K; page++) {
		if (self->model.cells[page])
			ASSERT_TRUE(bit_test(bits, page));
	}
	model_clean(&self->model, 1, BASE, SIZE);
	random_rounds(8, SZ_64K);
}

TEST_F(log_ops, module_is_held_while_a_device_has_a_tracker)
{
	test_cmd_unbind(self->fd, self->id, 0);
	EXPECT_EQ(-1, remove_module("iommufd_dirty_vfio"));
	EXPECT_EQ(EAGAIN, errno);
	close(self->device);
	EXPECT_EQ(0, remove_module("iommufd_dirty_vfio"));
	self->device = quirks_open(self->iommu, self->ioas_id, 0);
	ASSERT_NE(-1, self->device);
	/* Nobody makes trackers. */
	EXPECT_ERRNO(ENOTTY, _vfio_dirty_probe(self->device));
	test_err_vfio_dirty_bind(ENOTTY, self->device, self->fd, POLICY_FAIL);
}

#define MTTY "/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create"
#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define MDEV "/sys/bus/mdev/devices/" UUID

/* The kernel's sample: it takes everything and does no DMA. */
TEST(mtty_sample)
{
	struct iommufd_dirty_tracker_info info;
	int fd, iommu, device;
	__u32 ioas_id, id, status;
	__u64 dirty;

	if (system("modprobe iommufd-dirty-vfio 2>/dev/null"))
		SKIP(return, NO_LOG_OPS);
	if (system("modprobe mtty 2>/dev/null"))
		SKIP(return, "the kernel has no CONFIG_SAMPLE_VFIO_MDEV_MTTY");
	ASSERT_EQ(0, system("echo " UUID " > " MTTY));
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, _iommu_ioas_alloc(iommu, &ioas_id));
	device = vfio_device_open(MDEV);
	ASSERT_NE(-1, device);
	ASSERT_EQ(0, _vfio_bind_iommufd(device, iommu, NULL));
	ASSERT_EQ(0, _vfio_attach(device, ioas_id));

	EXPECT_EQ(0, _vfio_dirty_probe(device));
	test_vfio_dirty_bind(device, fd, POLICY_FAIL, &id);
	/* Its UUID is not cut. */
	test_cmd_tracker_info(fd, id, &info);
	EXPECT_STREQ(UUID, (char *)info.out_name);
	test_cmd_range_add(fd, BASE, SIZE);
	test_cmd_start(fd, SZ_4K);
	test_err_start(EBUSY, fd, 0, SZ_4K);
	EXPECT_ERRNO(EBUSY, _vfio_log_stop(device));
	test_cmd_count(fd, 0, BASE, SIZE, &status, &dirty);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, dirty);
	test_cmd_stop(fd);
	test_cmd_start(fd, SZ_2M);
	close(device);
	EXPECT_ERRNO(ESHUTDOWN, _test_cmd_read(fd, 0,
					       IOMMUFD_DIRTY_READ_COUNT_ONLY,
					       BASE, SIZE, SZ_4K, NULL, NULL,
					       NULL));
	close(fd);
	close(iommu);
	EXPECT_EQ(0, system("echo 1 > " MDEV "/remove"));
	EXPECT_EQ(0, remove_module("mtty"));
}

TEST_HARNESS_MAIN
