// SPDX-License-Identifier: GPL-2.0
/*
 * The software tracker: which context a device may be in, and for how long.
 */
#include <poll.h>

#include "software.h"

TEST_F(software, another_address_space)
{
	__u32 ioas_id;
	int fd;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->members.iommu, &ioas_id));
	test_cmd_unbind(self->fd, self->dev[1].id, 0);
	ASSERT_EQ(0, _vfio_attach(self->dev[1].fd, ioas_id));
	test_err_vfio_dirty_bind(EXDEV, self->dev[1].fd, self->fd, POLICY_FAIL);
	/* A context of its own. */
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, fd);
	test_vfio_dirty_bind(self->dev[1].fd, fd, POLICY_FAIL, NULL);
	test_cmd_range_add(fd, BASE, SIZE);
	test_cmd_start(fd, SZ_4K);
	test_cmd_start(self->fd, SZ_4K);
	write_some(&self->dev[0], 20);
	read_all();
	close(fd);

	/* Back again. */
	ASSERT_EQ(0, _vfio_attach(self->dev[1].fd, self->members.ioas_id));
	test_cmd_stop(self->fd);
	test_vfio_dirty_bind(self->dev[1].fd, self->fd, POLICY_FAIL,
			     &self->dev[1].id);
}

TEST_F(software, moved_to_another_address_space)
{
	struct emulated *dev = &self->dev[0];
	__u8 bits[PAGES / 8] = {};
	__u32 ioas_id;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->members.iommu, &ioas_id));
	test_cmd_start(self->fd, SZ_4K);
	emulated_pin(dev, BASE, SZ_64K);
	write_by(dev, BASE + SZ_1M, 1);

	/* Detached: all that it did is known, and it can do no more. */
	ASSERT_EQ(0, _vfio_detach(dev->fd));
	emulated_unpinned(&self->members.model, dev, BASE, SZ_64K);
	read_part(BASE, SZ_64K / 2);

	ASSERT_EQ(0, _vfio_attach(dev->fd, ioas_id));
	test_err_read(EXDEV, self->fd, 0, 0, BASE, SIZE, SZ_4K, bits);
	ASSERT_EQ(0, _vfio_attach(dev->fd, self->members.ioas_id));
	read_all();

	test_cmd_stop(self->fd);
	ASSERT_EQ(0, _vfio_attach(dev->fd, ioas_id));
	test_err_start(EXDEV, self->fd, 0, SZ_4K);
	ASSERT_EQ(0, _vfio_detach(dev->fd));
	test_err_start(EXDEV, self->fd, 0, SZ_4K);

	/* In no iommufd it cannot be bound either. */
	test_cmd_unbind(self->fd, dev->id, 0);
	EXPECT_EQ(0, _vfio_dirty_probe(dev->fd));
	test_err_vfio_dirty_bind(EXDEV, dev->fd, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, _vfio_attach(dev->fd, self->members.ioas_id));
	test_vfio_dirty_bind(dev->fd, self->fd, POLICY_FAIL, &dev->id);
}

/*
 * Bound while its context tracks it is started before the bind is done, in the
 * space that it is in by now.
 */
TEST_F(software, moved_and_bound_while_tracking)
{
	struct emulated *dev = &self->dev[1];
	__u32 ioas_id;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->members.iommu, &ioas_id));
	test_cmd_unbind(self->fd, dev->id, 0);
	test_cmd_start(self->fd, SZ_4K);
	ASSERT_EQ(0, _vfio_attach(dev->fd, ioas_id));
	test_err_vfio_dirty_bind(EXDEV, dev->fd, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, _vfio_attach(dev->fd, self->members.ioas_id));
	test_vfio_dirty_bind(dev->fd, self->fd, POLICY_FAIL, &dev->id);
	/* What it wrote before is not known. */
	model_write(&self->members.model, dev->who, BASE, SIZE, SZ_4K);
	read_all();
	write_some(dev, 20);
	read_all();

	/* There, as well, if nothing else of the context is elsewhere. */
	test_cmd_unbind(self->fd, dev->id, 0);
	test_cmd_unbind(self->fd, self->dev[0].id, 0);
	ASSERT_EQ(0, _vfio_attach(dev->fd, ioas_id));
	test_vfio_dirty_bind(dev->fd, self->fd, POLICY_FAIL, &dev->id);
	model_write(&self->members.model, dev->who, BASE, SIZE, SZ_4K);
	read_all();
	read_all();
}

/* What a context that refuses the device learns of its address space is not kept. */
TEST_F(software, refused_in_another_address_space)
{
	__u32 ioas_id;
	int fd;

	ASSERT_EQ(0, _iommu_ioas_alloc(self->members.iommu, &ioas_id));
	ASSERT_EQ(0, _vfio_attach(self->dev[0].fd, ioas_id));
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, fd);
	test_err_vfio_dirty_bind(EBUSY, self->dev[0].fd, fd, POLICY_FAIL);
	EXPECT_EQ(0, _vfio_dirty_probe(self->dev[0].fd));
	test_err_start(EXDEV, self->fd, 0, SZ_4K);

	ASSERT_EQ(0, _vfio_attach(self->dev[0].fd, self->members.ioas_id));
	test_cmd_start(self->fd, SZ_4K);
	write_some(&self->dev[0], 20);
	read_all();
	close(fd);
}

TEST_F(software, bound_twice)
{
	int fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);

	ASSERT_NE(-1, fd);
	test_err_vfio_dirty_bind(EBUSY, self->dev[0].fd, fd, POLICY_FAIL);
	test_err_vfio_dirty_bind(EBUSY, self->dev[0].fd, self->fd, POLICY_FAIL);
	test_cmd_unbind(self->fd, self->dev[0].id, 0);
	test_vfio_dirty_bind(self->dev[0].fd, fd, POLICY_FAIL, NULL);
	close(fd);
}

TEST_F(software, probe)
{
	EXPECT_EQ(0, _vfio_dirty_probe(self->dev[0].fd));
	test_err_vfio_dirty_bind(EBADF, self->dev[0].fd, -1, POLICY_FAIL);
}

/* Without the module no device has a tracker, and it goes when none has one. */
TEST_F(software, the_module)
{
	int device;

	EXPECT_ERRNO(EAGAIN, remove_module("iommufd_dirty_vfio"));
	EXPECT_ERRNO(EAGAIN, remove_module("iommufd_dirty_emulated"));
	close(self->dev[0].fd);
	EXPECT_ERRNO(EAGAIN, remove_module("iommufd_dirty_vfio"));
	close(self->dev[1].fd);
	self->dev[0].fd = -1;
	self->dev[1].fd = -1;
	test_cmd_unbind(self->fd, self->dev[0].id, 0);
	test_cmd_unbind(self->fd, self->dev[1].id, 0);
	ASSERT_EQ(0, remove_module("iommufd_dirty_vfio"));

	device = _emulated_open(0);
	ASSERT_NE(-1, device);
	/* Not before it is bound. */
	EXPECT_ERRNO(EINVAL, _vfio_dirty_probe(device));
	ASSERT_EQ(0, _vfio_bind_iommufd(device, self->members.iommu,
					NULL));
	EXPECT_ERRNO(ENOTTY, _vfio_dirty_probe(device));
	test_err_vfio_dirty_bind(ENOTTY, device, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, load_emulated(""));
	EXPECT_EQ(0, _vfio_dirty_probe(device));
	close(device);
}

TEST_F(software, closed_while_tracking)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLPRI };
	struct iommufd_dirty_tracker_info info;
	__u8 bits[PAGES / 8] = {};

	test_cmd_start(self->fd, SZ_4K);
	write_some(&self->dev[0], 20);
	close(self->dev[1].fd);
	self->dev[1].fd = -1;
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLPRI, pollfd.revents);
	test_cmd_tracker_info(self->fd, self->dev[1].id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_GONE, info.out_state);
	test_err_read(ESHUTDOWN, self->fd, 0, 0, BASE, SIZE, SZ_4K, bits);
	test_cmd_set_policy(self->fd, self->dev[1].id, POLICY_IGNORE);
	test_cmd_stop(self->fd);
}

TEST_HARNESS_MAIN
