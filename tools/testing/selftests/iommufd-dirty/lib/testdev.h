/* SPDX-License-Identifier: GPL-2.0 */
/*
 * QEMU's iommu-testdev: a PCI device that writes by DMA where it is asked to. It has to
 * be bound to vfio-pci.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_TESTDEV
#define __SELFTEST_IOMMUFD_DIRTY_TESTDEV

#include "vfio_device.h"

#define NO_TESTDEV "vfio-pci has no iommu-testdev (1b36:0005)"

#define TESTDEV_VENDOR 0x1b36
#define TESTDEV_DEVICE 0x0005

/* The registers of iommu-testdev, in BAR 0. */
#define TESTDEV_TRIGGER 0x00
#define TESTDEV_IOVA_LO 0x04
#define TESTDEV_IOVA_HI 0x08
#define TESTDEV_LENGTH 0x0c
#define TESTDEV_RESULT 0x10
#define TESTDEV_DOORBELL 0x14
#define TESTDEV_GPA_LO 0x1c
#define TESTDEV_BAR_SIZE 0x1000
#define TESTDEV_ARM 1
#define TESTDEV_MISMATCH 0xdead0004

static inline void testdev_set(__u8 *bar, unsigned int reg, __u32 value)
{
	__atomic_store_n((__u32 *)(bar + reg), value, __ATOMIC_RELEASE);
}

static inline __u32 testdev_get(__u8 *bar, unsigned int reg)
{
	return __atomic_load_n((__u32 *)(bar + reg), __ATOMIC_ACQUIRE);
}

/*
 * The device writes while its trigger register is read. Then it looks for what
 * it wrote at a physical address that is to be given, which we do not know: it
 * finds something else.
 */
static inline int testdev_fire(__u8 *bar, __u64 iova, __u32 length)
{
	__u32 result;

	testdev_set(bar, TESTDEV_IOVA_LO, iova);
	testdev_set(bar, TESTDEV_IOVA_HI, iova >> 32);
	testdev_set(bar, TESTDEV_LENGTH, length);
	testdev_set(bar, TESTDEV_GPA_LO, SZ_1M);
	testdev_set(bar, TESTDEV_DOORBELL, TESTDEV_ARM);
	testdev_get(bar, TESTDEV_TRIGGER);
	result = testdev_get(bar, TESTDEV_RESULT);
	return result && result != TESTDEV_MISMATCH ? -1 : 0;
}

/* The cdev of the n-th, from 0, or -1. */
static inline int testdev_open(unsigned int n)
{
	char *sysfs = vfio_pci_find(TESTDEV_VENDOR, TESTDEV_DEVICE, n);
	int device = sysfs ? vfio_device_open(sysfs) : -1;

	free(sysfs);
	return device;
}

/* Its registers, or MAP_FAILED. It is bound to an iommufd. */
static inline __u8 *testdev_map(int device)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar))
		return MAP_FAILED;
	return mmap(NULL, TESTDEV_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    device, bar.offset);
}

#endif
