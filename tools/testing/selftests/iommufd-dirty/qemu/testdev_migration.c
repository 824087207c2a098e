// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU's iommu-testdev with the driver that can migrate it: its state, and that it
 * writes nothing while it is stopped.
 */
#include "dma.h"
#include "migration.h"
#include "testdev.h"

#define DRIVER "iommufd-dirty-testdev"

static const unsigned int registers[] = {
	TESTDEV_IOVA_LO, TESTDEV_IOVA_HI, TESTDEV_LENGTH,
	TESTDEV_RESULT,	 TESTDEV_GPA_LO,
};

static int _fire(int device, __u64 iova, __u32 length)
{
	__u32 value;

	if (_bar0_set(device, TESTDEV_IOVA_LO, iova) ||
	    _bar0_set(device, TESTDEV_IOVA_HI, iova >> 32) ||
	    _bar0_set(device, TESTDEV_LENGTH, length) ||
	    _bar0_set(device, TESTDEV_GPA_LO, SZ_1M) ||
	    _bar0_set(device, TESTDEV_DOORBELL, TESTDEV_ARM) ||
	    _bar0_get(device, TESTDEV_TRIGGER, &value) ||
	    _bar0_get(device, TESTDEV_RESULT, &value))
		return -1;
	return value && value != TESTDEV_MISMATCH ? -1 : 0;
}

static int testdev_write(struct dma *dma, __u64 iova, __u32 length)
{
	__u8 *at = dma_at(dma, iova);

	memset(at, 0, length);
	if (_fire(dma->device, iova, length))
		return -1;
	return *at == 0x78 ? 0 : -1;
}

FIXTURE(testdev)
{
	struct dma dma;
};

FIXTURE_SETUP(testdev)
{
	struct dma *dma = &self->dma;

	dma_open(_metadata, dma);
	dma->device = vfio_driver_open(DRIVER, 0);
	if (dma->device == -1)
		SKIP(return, DRIVER " has no device");
	dma->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, dma->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(dma->iommu, &dma->ioas_id));
	ASSERT_EQ(0, _vfio_bind_iommufd(dma->device, dma->iommu, &dma->dev_id));
	dma_attach(_metadata, dma);
	dma->write = testdev_write;
	dma->min_length = 1;
	dma->max_length = SZ_64K;
}

FIXTURE_TEARDOWN(testdev)
{
	dma_close(&self->dma);
}

TEST_F(testdev, the_state_comes_back)
{
	int dev = self->dma.device;
	__u32 before[5];
	__u8 state[MAX_STATE];
	unsigned int i;
	ssize_t size;

	ASSERT_EQ(0, self->dma.write(&self->dma, DMA_BASE + SZ_4K, 64));
	for (i = 0; i < 5; i++)
		before[i] = bar0_get(dev, registers[i]);
	size = mig_save(dev, state);
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_RESET));
	expect_mig_state(dev, RUNNING);
	EXPECT_EQ(0, bar0_get(dev, TESTDEV_IOVA_LO));
	EXPECT_EQ(0, bar0_get(dev, TESTDEV_LENGTH));

	mig_load(dev, state, size);
	mig_set_state(dev, RUNNING);
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(before[i], bar0_get(dev, registers[i]))
		{
			TH_LOG("register 0x%x", registers[i]);
		}
	}
	ASSERT_EQ(0, self->dma.write(&self->dma, DMA_BASE, 64));

	/* It has lost its magic. */
	mig_set_state(dev, STOP);
	state[0]++;
	i = mig_open_state(dev, RESUMING);
	ASSERT_EQ(size, write(i, state, size));
	test_err_mig_set_state(EINVAL, dev, STOP);
	close(i);
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_RESET));
	expect_mig_state(dev, RUNNING);
}

/* Armed, moved, and only then fired: by whoever has the state. */
TEST_F(testdev, armed_is_a_part_of_the_state)
{
	__u8 *at = dma_at(&self->dma, DMA_BASE);
	int dev = self->dma.device;
	__u8 state[MAX_STATE];
	ssize_t size;

	memset(at, 0, 64);
	bar0_set(dev, TESTDEV_IOVA_LO, (__u32)DMA_BASE);
	bar0_set(dev, TESTDEV_IOVA_HI, DMA_BASE >> 32);
	bar0_set(dev, TESTDEV_LENGTH, 64);
	bar0_set(dev, TESTDEV_DOORBELL, TESTDEV_ARM);
	size = mig_save(dev, state);
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_RESET));
	bar0_get(dev, TESTDEV_TRIGGER);
	EXPECT_EQ(0, *at);
	mig_load(dev, state, size);
	EXPECT_EQ(0, *at);
	mig_set_state(dev, RUNNING);
	bar0_get(dev, TESTDEV_TRIGGER);
	EXPECT_EQ(0x78, *at);
}

TEST_F(testdev, writes_nothing_while_it_is_stopped)
{
	struct dma *dma = &self->dma;
	__u32 value;
	__u8 *at = dma_at(dma, DMA_BASE);
	int fd = 0;

	EXPECT_EQ(MAP_FAILED, testdev_map(dma->device));
	test_cmd_start(dma->fd, SZ_4K);
	dma_write(dma, DMA_BASE + SZ_4K, 64);
	memset(at, 0, 64);
	bar0_set(dma->device, TESTDEV_IOVA_LO, (__u32)DMA_BASE);
	bar0_set(dma->device, TESTDEV_DOORBELL, TESTDEV_ARM);
	mig_set_state(dma->device, STOP);
	EXPECT_ERRNO(EBUSY, _bar0_get(dma->device, TESTDEV_TRIGGER, &value));
	EXPECT_ERRNO(EBUSY, _bar0_set(dma->device, TESTDEV_LENGTH, 1));
	fd = mig_open_state(dma->device, STOP_COPY);
	EXPECT_ERRNO(EBUSY, _bar0_get(dma->device, TESTDEV_TRIGGER, &value));
	EXPECT_EQ(0, *at);
	/* What it wrote before is found, and nothing else. */
	dma_read_all(dma);
	close(fd);
	mig_set_state(dma->device, RUNNING);
	bar0_get(dma->device, TESTDEV_TRIGGER);
	EXPECT_EQ(0x78, *at);
	model_write(&dma->model, 1, DMA_BASE, 64, SZ_4K);
	dma_read_all(dma);
}

TEST_HARNESS_MAIN
