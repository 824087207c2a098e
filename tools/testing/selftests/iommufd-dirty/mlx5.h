/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtual functions of mlx5-model, each with an engine that writes what a test
 * wants. They have to be bound to the driver $DRIVER, or else mlx5_vfio_pci.
 */
#ifndef SELFTESTS_MLX5_H
#define SELFTESTS_MLX5_H

#include <endian.h>
#include <glob.h>

#include "vfio_device.h"

#define IOVA 0x123400000ULL
#define SIZE (16 * SZ_2M)

/* The registers of the engine, in the last page of BAR 0. */
#define ENGINE_OFFSET 0xff000
#define ENGINE_IOVA_H 0x00
#define ENGINE_IOVA_L 0x04
#define ENGINE_LENGTH 0x08
#define ENGINE_PATTERN 0x0c
#define ENGINE_COUNT 0x10
#define ENGINE_SEED 0x14
#define ENGINE_GO 0x18
#define ENGINE_FILL 1
#define ENGINE_STORM 2

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
	return getenv("DRIVER") ?: "mlx5_vfio_pci";
}

/* The n-th function that the driver has. */
static inline int vf_open_device(unsigned int n)
{
	char path[128];
	glob_t found;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/*:*/vfio-dev/vfio*",
		 vf_driver());
	if (glob(path, 0, NULL, &found))
		return -1;
	if (n >= found.gl_pathc) {
		globfree(&found);
		return -1;
	}
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
		 strrchr(found.gl_pathv[n], '/') + 1);
	globfree(&found);
	return open(path, O_RDWR | O_CLOEXEC);
}

static inline void engine_set(__u8 *engine, unsigned int reg, __u32 value)
{
	__atomic_store_n((__u32 *)(engine + reg), htobe32(value), __ATOMIC_RELEASE);
}

static inline __u32 engine_get(__u8 *engine, unsigned int reg)
{
	return be32toh(__atomic_load_n((__u32 *)(engine + reg), __ATOMIC_ACQUIRE));
}

static inline void engine_prepare(__u8 *engine, __u64 iova, __u32 length)
{
	engine_set(engine, ENGINE_IOVA_H, iova >> 32);
	engine_set(engine, ENGINE_IOVA_L, iova);
	engine_set(engine, ENGINE_LENGTH, length);
	engine_set(engine, ENGINE_PATTERN, 0x5a5a5a5a);
}

/* Returns how many writes failed. */
static inline __u32 engine_go(__u8 *engine, __u32 what)
{
	engine_set(engine, ENGINE_GO, what);
	return engine_get(engine, ENGINE_GO);
}

static inline __u32 engine_fill(__u8 *engine, __u64 iova, __u32 length)
{
	engine_prepare(engine, iova, length);
	return engine_go(engine, ENGINE_FILL);
}

static inline __u32 engine_storm(__u8 *engine, __u64 iova, __u32 length, __u32 count,
				 __u32 seed)
{
	engine_prepare(engine, iova, length);
	engine_set(engine, ENGINE_COUNT, count);
	engine_set(engine, ENGINE_SEED, seed);
	return engine_go(engine, ENGINE_STORM);
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
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};

	vf->number = n;
	vf->device = vf_open_device(n);
	ASSERT_NE(-1, vf->device)
	{
		TH_LOG("%s does not have so many functions", vf_driver());
	}
	ASSERT_EQ(0, _vfio_bind_iommufd(vf->device, vf->iommu, &vf->dev_id));
	ASSERT_EQ(0, _vfio_attach(vf->device, vf->ioas_id));
	ASSERT_EQ(0, _vfio_enable_dma(vf->device));
	ASSERT_EQ(0, ioctl(vf->device, VFIO_DEVICE_GET_REGION_INFO, &bar));
	vf->engine = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, vf->device,
			  bar.offset + ENGINE_OFFSET);
	ASSERT_NE(MAP_FAILED, vf->engine);
}

static inline void vf_open(struct __test_metadata *_metadata, struct vf *vf, unsigned int n)
{
	vf->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, vf->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(vf->iommu, &vf->ioas_id));
	/* QEMU tells the model of each IOPTE, be it large or small. */
	vf->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, vf->memory)
	{
		TH_LOG("boot with hugepages=80 or more");
	}
	ASSERT_EQ(0, _iommu_ioas_map(vf->iommu, vf->ioas_id, vf->memory, SIZE, IOVA));
	vf_attach(_metadata, vf, n);
}

/* In the address space of another one, which has to be closed later. */
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
