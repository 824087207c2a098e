// SPDX-License-Identifier: GPL-2.0
/*
 * As dma.c, with an Intel 82576 (QEMU's igb) that copies by its loopback. Its
 * driver is in the library of the kernel's own VFIO selftests.
 */
#include "dma.h"

#include <libvfio.h>

#define IGB_VENDOR 0x8086
#define IGB_DEVICE 0x10c9

/* A frame, with padding if it is shorter; a receive buffer has 2 KiB. */
#define IGB_MIN_LENGTH 60
#define IGB_MAX_LENGTH 1024

/* The descriptor rings and the source: not in the range that is tracked. */
#define IGB_REGION_IOVA (DMA_BASE - SZ_1G)
#define IGB_SOURCE_OFFSET SZ_1M

/*
 * The library gives a frame 200 ms, and resets the device after that. Where the
 * machine is busy an emulated one may take longer: then it is sent again.
 */
#define IGB_TRIES 50

static int igb_write(struct dma *dma, __u64 iova, __u32 length)
{
	struct vfio_pci_device *device = dma->private;
	struct dma_region *region = &device->driver.region;
	__u8 *source = region->vaddr + IGB_SOURCE_OFFSET;
	int tries = IGB_TRIES;
	__u32 i;

	for (i = 0; i < length; i++)
		source[i] = next_random(&dma->seed);
	while (vfio_pci_driver_memcpy(device, region->iova + IGB_SOURCE_OFFSET,
				      iova, length) ||
	       memcmp(dma_at(dma, iova), source, length)) {
		if (!--tries)
			return -1;
		printf("# igb: a frame did not arrive in time, and is sent again\n");
	}
	return 0;
}

FIXTURE(dma_igb)
{
	struct dma dma;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	char *sysfs;
};

FIXTURE_SETUP(dma_igb)
{
	struct dma *dma = &self->dma;
	struct dma_region *region;

	dma_open(_metadata, dma);
	self->sysfs = vfio_pci_find(IGB_VENDOR, IGB_DEVICE, 0);
	if (!self->sysfs)
		SKIP(return, "vfio-pci has no igb (8086:10c9)");
	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(strrchr(self->sysfs, '/') + 1,
					    self->iommu);
	dma->private = self->device;
	dma->device = self->device->fd;
	dma->iommu = self->iommu->iommufd;
	dma->ioas_id = self->iommu->ioas_id;
	/* The library keeps the device's id to itself: the object that is one. */
	do {
		ASSERT_GT(100, ++dma->dev_id);
	} while (!dma_capabilities(dma));
	dma_attach(_metadata, dma);
	if (_metadata->exit_code)
		return;

	region = &self->device->driver.region;
	region->size = SZ_2M;
	region->iova = IGB_REGION_IOVA;
	region->vaddr = mmap(NULL, region->size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, region->vaddr);
	iommu_map(self->iommu, region);
	vfio_pci_driver_init(self->device);
	dma->write = igb_write;
	dma->min_length = IGB_MIN_LENGTH;
	dma->max_length = IGB_MAX_LENGTH;
}

FIXTURE_TEARDOWN(dma_igb)
{
	/* The library closes what it opened. */
	self->dma.device = -1;
	self->dma.iommu = -1;
	if (self->device)
		vfio_pci_device_cleanup(self->device);
	if (self->iommu)
		iommu_cleanup(self->iommu);
	dma_close(&self->dma);
	free(self->sysfs);
}

TEST_F_TIMEOUT(dma_igb, rounds_get_dirty_bitmap, 600)
{
	ASSERT_EQ(0, _set_dirty_tracking(&self->dma, true));
	dma_rounds(&self->dma, __dma_get_bitmap);
}

TEST_F_TIMEOUT(dma_igb, rounds_read, 600)
{
	test_cmd_start(self->dma.fd, SZ_4K);
	dma_rounds(&self->dma, __dma_read);
}

TEST_HARNESS_MAIN
