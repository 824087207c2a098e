/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iommufd-dirty-quirks: emulated VFIO devices that log their DMA themselves.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_QUIRKS
#define __SELFTEST_IOMMUFD_DIRTY_QUIRKS

#include "../modules/quirks/iommufd_dirty_quirks.h"
#include "vfio_device.h"

/* Device @n, attached, or -1. */
static inline int quirks_open(int iommu, __u32 ioas_id, unsigned int n)
{
	char sysfs[128];
	int device;

	snprintf(sysfs, sizeof(sysfs), "/sys/bus/platform/devices/%s.%u",
		 QUIRKS_NAME, n);
	device = vfio_device_open(sysfs);
	if (device == -1 || _vfio_bind_iommufd(device, iommu, NULL) ||
	    _vfio_attach(device, ioas_id))
		return -1;
	return device;
}

static inline int _quirks_cmd(int device, __u32 op, __u32 quirk, __u64 value,
			      __u64 length)
{
	struct quirks_cmd cmd = {
		.op = op,
		.quirk = quirk,
		.value = value,
		.length = length,
	};

	return pwrite(device, &cmd, sizeof(cmd), 0) == sizeof(cmd) ? 0 : -1;
}

#define quirks_dirty(device, iova, length) \
	ASSERT_EQ(0, _quirks_cmd(device, QUIRKS_DIRTY, 0, iova, length))

#define quirks_state(device)                                            \
	({                                                              \
		struct quirks_state __state;                            \
									\
		ASSERT_EQ(sizeof(__state),                              \
			  pread(device, &__state, sizeof(__state), 0)); \
		__state;                                                \
	})

#endif
