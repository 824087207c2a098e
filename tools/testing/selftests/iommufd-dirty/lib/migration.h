/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO's migration of a device whose whole state is a few bytes.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_MIGRATION
#define __SELFTEST_IOMMUFD_DIRTY_MIGRATION

#include "vfio_device.h"

#define MAX_STATE 128

/* Returns the data file descriptor if the state has one, else 0; or -1. */
static inline int _mig_set_state(int device, __u32 state)
{
	struct vfio_device_feature_mig_state mig = {
		.device_state = state,
		.data_fd = -1,
	};

	if (_vfio_feature(device,
			  VFIO_DEVICE_FEATURE_SET |
				  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			  &mig, sizeof(mig)))
		return -1;
	return mig.data_fd == -1 ? 0 : mig.data_fd;
}

static inline int mig_state(int device)
{
	struct vfio_device_feature_mig_state mig = {};

	if (_vfio_feature(device,
			  VFIO_DEVICE_FEATURE_GET |
				  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			  &mig, sizeof(mig)))
		return -1;
	return mig.device_state;
}

#define mig_set_state(device, state) \
	ASSERT_EQ(0, _mig_set_state(device, VFIO_DEVICE_STATE_##state))
#define test_err_mig_set_state(_errno, device, state) \
	EXPECT_ERRNO(_errno,                           \
		     _mig_set_state(device, VFIO_DEVICE_STATE_##state))
#define expect_mig_state(device, state) \
	EXPECT_EQ(VFIO_DEVICE_STATE_##state, mig_state(device))

/* A state with a data file descriptor, which is returned. */
#define mig_open_state(device, state)                                     \
	({                                                                \
		int __fd = _mig_set_state(device,                         \
					  VFIO_DEVICE_STATE_##state);     \
									  \
		ASSERT_LT(0, __fd);                                       \
		__fd;                                                     \
	})

/* Takes the state of a device in @data, and leaves it stopped. Returns its size. */
static inline ssize_t __mig_save(struct __test_metadata *_metadata, int device,
				 __u8 *data)
{
	int fd = mig_open_state(device, STOP_COPY);
	ssize_t got, size = 0;

	/* A few bytes at a time. */
	while ((got = read(fd, data + size, 5)) > 0) {
		size += got;
		ASSERT_GT(MAX_STATE - 5, size);
	}
	ASSERT_EQ(0, got);
	mig_set_state(device, STOP);
	EXPECT_ERRNO(ENODEV, read(fd, data, 1));
	close(fd);
	return size;
}

/* Sets the state of a device, and leaves it stopped. */
static inline void __mig_load(struct __test_metadata *_metadata, int device,
			      const __u8 *data, ssize_t size)
{
	int fd = mig_open_state(device, RESUMING);
	ssize_t half = size / 2;

	ASSERT_EQ(half, write(fd, data, half));
	ASSERT_EQ(size - half, write(fd, data + half, size - half));
	mig_set_state(device, STOP);
	EXPECT_ERRNO(ENODEV, write(fd, data, 1));
	close(fd);
}

#define mig_save(...) __mig_save(_metadata, __VA_ARGS__)
#define mig_load(...) __mig_load(_metadata, __VA_ARGS__)

/* A register of BAR 0, by read() and write(). */
static inline int _bar0_offset(int device, __u64 *offset)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	int ret = ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar);

	*offset = bar.offset;
	return ret;
}

static inline int _bar0_get(int device, unsigned int reg, __u32 *value)
{
	__u64 offset;

	if (_bar0_offset(device, &offset))
		return -1;
	return pread(device, value, 4, offset + reg) == 4 ? 0 : -1;
}

static inline int _bar0_set(int device, unsigned int reg, __u32 value)
{
	__u64 offset;

	if (_bar0_offset(device, &offset))
		return -1;
	return pwrite(device, &value, 4, offset + reg) == 4 ? 0 : -1;
}

#define bar0_get(device, reg)                                      \
	({                                                         \
		__u32 __value;                                     \
								   \
		ASSERT_EQ(0, _bar0_get(device, reg, &__value));    \
		__value;                                           \
	})
#define bar0_set(device, reg, value) \
	ASSERT_EQ(0, _bar0_set(device, reg, value))

#endif
