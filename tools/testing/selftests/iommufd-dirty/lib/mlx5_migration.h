/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtual functions of mlx5-model whose state is saved and loaded.
 */
#ifndef SELFTESTS_MLX5_MIGRATION_H
#define SELFTESTS_MLX5_MIGRATION_H

#include "mlx5.h"

#define MAX_IMAGE 0x100000

/*
 * One function of $DRIVER, and another one of $DRIVER_TO, or else of the same driver.
 */
static inline void vf_open_pair(struct __test_metadata *_metadata, struct vf *from,
				struct vf *to)
{
	const char *driver = vf_driver();
	const char *driver_to = getenv("DRIVER_TO") ?: driver;

	vf_open(_metadata, from, 0);
	if (strcmp(driver, driver_to)) {
		driver = strdup(driver);
		ASSERT_EQ(0, setenv("DRIVER", driver_to, 1));
		vf_open(_metadata, to, 0);
		ASSERT_EQ(0, setenv("DRIVER", driver, 1));
	} else {
		vf_open(_metadata, to, 1);
	}
}

/* The name on the bus of the n-th function that the driver has. */
static inline bool find_vf(const char *driver, unsigned int n, char *name, size_t size)
{
	char path[128];
	glob_t found;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/*:*", driver);
	if (glob(path, 0, NULL, &found))
		return false;
	if (n < found.gl_pathc)
		snprintf(name, size, "%s", strrchr(found.gl_pathv[n], '/') + 1);
	globfree(&found);
	return n < found.gl_pathc;
}

/* What mlx5-model calls it: the function's number on the bus. */
static inline unsigned int model_number(const struct vf *vf)
{
	char name[32] = "";

	find_vf(vf_driver(), vf->number, name, sizeof(name));
	return name[0] ? name[strlen(name) - 1] - '0' : 0;
}

/* Returns 0, or the file descriptor that comes with the state. */
static inline int set_state(struct vf *vf, __u32 state)
{
	struct vfio_device_feature_mig_state mig = { .device_state = state, .data_fd = -1 };
	int err = vf_feature(vf->device,
			     VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			     &mig, sizeof(mig));

	if (err)
		return err;
	return mig.data_fd == -1 ? 0 : mig.data_fd;
}

static inline __u32 mig_state(struct vf *vf)
{
	struct vfio_device_feature_mig_state mig = {};
	int err = vf_feature(vf->device,
			     VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			     &mig, sizeof(mig));

	return err ? VFIO_DEVICE_STATE_ERROR : mig.device_state;
}

/* Returns the length, or -1. */
static inline ssize_t read_image(int fd, char *image)
{
	ssize_t got, len = 0;

	while ((got = read(fd, image + len, MAX_IMAGE - len)) > 0)
		len += got;
	return got ? -1 : len;
}

static inline int write_image(int fd, const char *image, ssize_t len)
{
	ssize_t put, done;

	for (done = 0; done < len; done += put) {
		put = write(fd, image + done, len - done);
		if (put <= 0)
			return -1;
	}
	return 0;
}

/* Takes the state of a function that runs, and leaves it stopped. */
#define save(vf)								\
	({									\
		ssize_t len;							\
		int fd;								\
										\
		ASSERT_EQ(0, set_state(vf, VFIO_DEVICE_STATE_STOP));		\
		fd = set_state(vf, VFIO_DEVICE_STATE_STOP_COPY);		\
		ASSERT_LT(0, fd);						\
		len = read_image(fd, self->image);				\
		ASSERT_LT(0, len);						\
		ASSERT_EQ(0, close(fd));					\
		ASSERT_EQ(0, set_state(vf, VFIO_DEVICE_STATE_STOP));		\
		len;								\
	})

/* Stops a function that runs, and returns where its new state is to be written. */
#define resume(vf)								\
	({									\
		int fd;								\
										\
		ASSERT_EQ(0, set_state(vf, VFIO_DEVICE_STATE_STOP));		\
		fd = set_state(vf, VFIO_DEVICE_STATE_RESUMING);			\
		ASSERT_LT(0, fd);						\
		fd;								\
	})

#endif
