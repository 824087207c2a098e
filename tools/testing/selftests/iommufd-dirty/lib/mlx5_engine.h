/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The DMA engine that each virtual function of mlx5-model has: see the model's
 * README. The function has to be bound to a VFIO driver.
 */
#ifndef SELFTESTS_MLX5_ENGINE_H
#define SELFTESTS_MLX5_ENGINE_H

#include <endian.h>

#include "vfio_device.h"

/* As the drivers are called in /sys/bus/pci/drivers. */
#define VFIO_MLX5 "vfio_mlx5"
#define MLX5_VFIO_PCI "mlx5_vfio_pci"

/* The registers, in the last page of BAR 0. */
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
	/* Writes are posted: a command of the PF could be faster. What is read is not. */
	engine_get(engine, ENGINE_PATTERN);
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

/* The registers of an open function, or MAP_FAILED. It is bound to an iommufd. */
static inline __u8 *engine_map(int device)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar))
		return MAP_FAILED;
	return mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		    bar.offset + ENGINE_OFFSET);
}

#endif
