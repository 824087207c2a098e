/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtual functions of mlx5-model, each with an engine that writes what a test
 * wants. They have to be bound to the driver $DRIVER, or else mlx5_vfio_pci.
 */
#ifndef SELFTESTS_MLX5_H
#define SELFTESTS_MLX5_H

#include "mlx5_engine.h"

#define IOVA 0x123400000ULL
#define SIZE (16 * SZ_2M)

/**
 * struct vf - A function, with memory at IOVA
 * @number: From 0; the model counts from 1
 * @iommu: Its /dev/iommu
 * @device: File descriptor of the VFIO device
 * @memory: What the function reaches at IOVA
 * @engine: The registers of its engine
 * @guest: Of another function, which has its memory
 */
struct vf {
	unsigned int number;
	int iommu;
	int device;
	__u32 ioas_id;
	__u32 dev_id;
	__u8 *memory;
	__u8 *engine;
	bool guest;
};

static inline const char *vf_driver(void)
{
	return getenv("DRIVER") ?: MLX5_VFIO_PCI;
}

static inline int vf_feature(int device, __u32 flags, void *data, size_t size)
{
	return _vfio_feature(device, flags, data, size) ? -errno : 0;
}

static inline void vf_init(struct vf *vf)
{
	*vf = (struct vf){
		.iommu = -1,
		.device = -1,
		.memory = MAP_FAILED,
		.engine = MAP_FAILED,
	};
}

/* With its address space known. */
static inline void vf_attach(struct __test_metadata *_metadata, struct vf *vf, unsigned int n)
{
	vf->number = n;
	vf->device = vfio_driver_open(vf_driver(), n);
	ASSERT_NE(-1, vf->device)
	{
		TH_LOG("%s does not have so many functions", vf_driver());
	}
	ASSERT_EQ(0, _vfio_bind_iommufd(vf->device, vf->iommu, &vf->dev_id));
	ASSERT_EQ(0, _vfio_attach(vf->device, vf->ioas_id));
	ASSERT_EQ(0, _vfio_enable_dma(vf->device));
	vf->engine = engine_map(vf->device);
	ASSERT_NE(MAP_FAILED, vf->engine);
}

static inline void vf_open(struct __test_metadata *_metadata, struct vf *vf, unsigned int n)
{
	vf->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, vf->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(vf->iommu, &vf->ioas_id));
	/* QEMU passes each IOPTE to the model, whether large or small. */
	vf->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, vf->memory)
	{
		TH_LOG("boot with hugepages=80 or more");
	}
	ASSERT_EQ(0, _iommu_ioas_map(vf->iommu, vf->ioas_id, vf->memory, SIZE, IOVA));
	vf_attach(_metadata, vf, n);
}

/* In the address space of another function, which has to be closed later. */
static inline void vf_join(struct __test_metadata *_metadata, struct vf *vf, unsigned int n,
			   const struct vf *host)
{
	vf->iommu = host->iommu;
	vf->ioas_id = host->ioas_id;
	vf->memory = host->memory;
	vf->guest = true;
	vf_attach(_metadata, vf, n);
}

static inline void vf_close(struct vf *vf)
{
	if (vf->engine != MAP_FAILED)
		munmap(vf->engine, SZ_4K);
	if (vf->device != -1)
		close(vf->device);
	if (!vf->guest && vf->iommu != -1)
		close(vf->iommu);
	if (!vf->guest && vf->memory != MAP_FAILED)
		munmap(vf->memory, SIZE);
	vf_init(vf);
}

#endif
