/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtual functions of mlx5-model, each with an engine that writes what a test
 * wants. They have to be bound to the driver $DRIVER, or else mlx5_vfio_pci.
 */
#ifndef SELFTESTS_MLX5_H
#define SELFTESTS_MLX5_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"

#define SZ_4K 0x1000ULL
#define SZ_2M 0x200000ULL
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

/* A function, with memory of its own at IOVA. */
struct vf {
	int iommu;
	int device;
	__u8 *memory;
	__u8 *engine;
};

/* The n-th function that the driver has. */
static inline int vf_open_device(unsigned int n)
{
	const char *driver = getenv("DRIVER") ?: "mlx5_vfio_pci";
	char path[128];
	glob_t found;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/*:*/vfio-dev/vfio*", driver);
	if (glob(path, 0, NULL, &found))
		return -1;
	if (n >= found.gl_pathc) {
		globfree(&found);
		return -1;
	}
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
		 strrchr(found.gl_pathv[n], '/') + 1);
	globfree(&found);
	return open(path, O_RDWR);
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

/* VFIO_DEVICE_FEATURE; the answer, if there is one, replaces the data. */
static inline int vf_feature(int device, __u32 flags, void *data, size_t size)
{
	__u64 buf[sizeof(struct vfio_device_feature) / 8 + 8];
	struct vfio_device_feature *feature = (void *)buf;

	feature->argsz = sizeof(*feature) + size;
	feature->flags = flags;
	if (size)
		memcpy(feature->data, data, size);
	if (ioctl(device, VFIO_DEVICE_FEATURE, feature))
		return -errno;
	if (size)
		memcpy(data, feature->data, size);
	return 0;
}

static inline void vf_init(struct vf *vf)
{
	vf->iommu = -1;
	vf->device = -1;
	vf->memory = MAP_FAILED;
	vf->engine = MAP_FAILED;
}

static inline void vf_open(struct __test_metadata *_metadata, struct vf *vf, unsigned int n)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.length = SIZE,
		.iova = IOVA,
	};
	__u16 command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	vf->device = vf_open_device(n);
	ASSERT_NE(-1, vf->device) TH_LOG("not so many functions are bound to the driver");
	vf->iommu = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, vf->iommu);
	bind.iommufd = vf->iommu;
	ASSERT_EQ(0, ioctl(vf->device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	ASSERT_EQ(0, ioctl(vf->iommu, IOMMU_IOAS_ALLOC, &alloc));
	attach.pt_id = alloc.out_ioas_id;
	ASSERT_EQ(0, ioctl(vf->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach));

	vf->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, vf->memory);
	map.ioas_id = alloc.out_ioas_id;
	map.user_va = (uintptr_t)vf->memory;
	ASSERT_EQ(0, ioctl(vf->iommu, IOMMU_IOAS_MAP, &map));

	ASSERT_EQ(0, ioctl(vf->device, VFIO_DEVICE_GET_REGION_INFO, &config));
	ASSERT_EQ(sizeof(command), pwrite(vf->device, &command, sizeof(command),
					  config.offset + PCI_COMMAND));
	ASSERT_EQ(0, ioctl(vf->device, VFIO_DEVICE_GET_REGION_INFO, &bar));
	vf->engine = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, vf->device,
			  bar.offset + ENGINE_OFFSET);
	ASSERT_NE(MAP_FAILED, vf->engine);
}

static inline void vf_close(struct vf *vf)
{
	if (vf->engine != MAP_FAILED)
		munmap(vf->engine, SZ_4K);
	if (vf->device != -1)
		close(vf->device);
	if (vf->iommu != -1)
		close(vf->iommu);
	if (vf->memory != MAP_FAILED)
		munmap(vf->memory, SIZE);
}

#endif
