/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VFIO device, opened by its cdev: bound to an iommufd, attached to an IOAS,
 * and bound to a context.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_VFIO_DEVICE
#define __SELFTEST_IOMMUFD_DIRTY_VFIO_DEVICE

#include <dirent.h>
#include <glob.h>
#include <string.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "members.h"

/* @device is the device's directory in sysfs. Returns its cdev, or -1. */
static inline int vfio_device_open(const char *device)
{
	char path[512];
	struct dirent *entry;
	int fd = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/vfio-dev", device);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
			 entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	closedir(dir);
	return fd;
}

/* The n-th device, from 0, that a PCI driver has: its cdev, or -1. */
static inline int vfio_driver_open(const char *driver, unsigned int n)
{
	char pattern[128];
	glob_t devices;
	int fd = -1;

	snprintf(pattern, sizeof(pattern), "/sys/bus/pci/drivers/%s/*:*", driver);
	if (glob(pattern, 0, NULL, &devices))
		return -1;
	if (n < devices.gl_pathc)
		fd = vfio_device_open(devices.gl_pathv[n]);
	globfree(&devices);
	return fd;
}

/* @dev_id may be NULL. */
static inline int _vfio_bind_iommufd(int device, int iommu, __u32 *dev_id)
{
	struct vfio_device_bind_iommufd cmd = {
		.argsz = sizeof(cmd),
		.iommufd = iommu,
	};
	int ret = ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &cmd);

	if (!ret && dev_id)
		*dev_id = cmd.out_devid;
	return ret;
}

static inline int _vfio_attach(int device, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.pt_id = pt_id,
	};

	return ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

static inline int _vfio_detach(int device)
{
	struct vfio_device_detach_iommufd_pt cmd = { .argsz = sizeof(cmd) };

	return ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd);
}

/* The number in the file @name of a directory of sysfs. */
static inline long sysfs_number(const char *path, const char *name)
{
	long value = -1;
	FILE *file;
	int dir;

	dir = open(path, O_RDONLY | O_DIRECTORY);
	file = fdopen(openat(dir, name, O_RDONLY), "r");
	close(dir);
	if (!file)
		return -1;
	if (fscanf(file, "%li", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

/*
 * The n-th PCI device of its kind, from 0, that vfio-pci has: where it is in sysfs,
 * to be freed.
 */
static inline char *vfio_pci_find(long vendor, long device, unsigned int n)
{
	char *found = NULL;
	glob_t devices;
	size_t i;

	if (glob("/sys/bus/pci/drivers/vfio-pci/*:*", 0, NULL, &devices))
		return NULL;
	for (i = 0; i < devices.gl_pathc && !found; i++) {
		if (sysfs_number(devices.gl_pathv[i], "vendor") == vendor &&
		    sysfs_number(devices.gl_pathv[i], "device") == device &&
		    !n--)
			found = strdup(devices.gl_pathv[i]);
	}
	globfree(&devices);
	return found;
}

/* Let the device be a bus master. */
static inline int _vfio_enable_dma(int device)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pread(device, &command, sizeof(command),
		  config.offset + PCI_COMMAND) != sizeof(command))
		return -1;
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	return pwrite(device, &command, sizeof(command),
		      config.offset + PCI_COMMAND) == sizeof(command) ? 0 : -1;
}

/* @data is what follows the header, and what comes back. */
static inline int _vfio_feature(int device, __u32 flags, void *data,
				size_t size)
{
	struct vfio_device_feature *feature;
	int ret, err;

	feature = calloc(1, sizeof(*feature) + size);
	feature->argsz = sizeof(*feature) + size;
	feature->flags = flags;
	memcpy(feature->data, data, size);
	ret = ioctl(device, VFIO_DEVICE_FEATURE, feature);
	err = errno;
	memcpy(data, feature->data, size);
	free(feature);
	errno = err;
	return ret;
}

static inline int _vfio_dirty_probe(int device)
{
	return _vfio_feature(device,
			     VFIO_DEVICE_FEATURE_PROBE |
				     VFIO_DEVICE_FEATURE_SET |
				     VFIO_DEVICE_FEATURE_DIRTY_TRACKER,
			     NULL, 0);
}

static inline int _vfio_dirty_bind(int device, int fd, __u32 policy, __u32 *id)
{
	struct vfio_device_feature_dirty_tracker data = {
		.context_fd = fd,
		.policy = policy,
	};
	int ret = _vfio_feature(device,
				VFIO_DEVICE_FEATURE_SET |
					VFIO_DEVICE_FEATURE_DIRTY_TRACKER,
				&data, sizeof(data));

	if (!ret && id)
		*id = data.out_tracker_id;
	return ret;
}

#define test_vfio_dirty_bind(device, fd, policy, id) \
	ASSERT_EQ(0, _vfio_dirty_bind(device, fd, policy, id))
#define test_err_vfio_dirty_bind(_errno, device, fd, policy) \
	EXPECT_ERRNO(_errno, _vfio_dirty_bind(device, fd, policy, NULL))

/* VFIO's own DMA logging, of one range. */
static inline int _vfio_log_start(int device, __u64 iova, __u64 length,
				  __u64 *page_size)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = iova,
		.length = length,
	};
	struct vfio_device_feature_dma_logging_control data = {
		.page_size = *page_size,
		.num_ranges = 1,
		.ranges = (uintptr_t)&range,
	};
	int ret = _vfio_feature(device,
				VFIO_DEVICE_FEATURE_SET |
					VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				&data, sizeof(data));

	*page_size = data.page_size;
	return ret;
}

static inline int _vfio_log_stop(int device)
{
	return _vfio_feature(device,
			     VFIO_DEVICE_FEATURE_SET |
				     VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
			     NULL, 0);
}

static inline int _vfio_log_report(int device, __u64 iova, __u64 length,
				   __u64 page_size, void *bitmap)
{
	struct vfio_device_feature_dma_logging_report data = {
		.iova = iova,
		.length = length,
		.page_size = page_size,
		.bitmap = (uintptr_t)bitmap,
	};

	return _vfio_feature(device,
			     VFIO_DEVICE_FEATURE_GET |
				     VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			     &data, sizeof(data));
}

#endif
