/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The devices that the guest can let write to its memory: IDs as PCI_ID has them, and
 * registers in BAR 0.
 */
#ifndef DEVICES_H
#define DEVICES_H

#include <stdint.h>

/* A virtual function of mlx5-model: the engine in its last page, big-endian. */
#define MLX5_VF 0x101e15b3
#define MLX5_ENGINE 0xff000
#define MLX5_IOVA_H 0x00
#define MLX5_IOVA_L 0x04
#define MLX5_LENGTH 0x08
#define MLX5_PATTERN 0x0c
#define MLX5_GO 0x18
#define MLX5_FILL 1

/* iommufd-dirty-migratable: little-endian. */
#define EMULATED 0x0d1e1234
#define EMULATED_ADDRESS_LO 0x00
#define EMULATED_ADDRESS_HI 0x04
#define EMULATED_VALUE 0x08
#define EMULATED_GO 0x0c
#define EMULATED_BY_COPY 1
#define EMULATED_BY_PIN 2

/* QEMU's iommu-testdev: it writes when its trigger register is read, always the same. */
#define TESTDEV 0x00051b36
#define TESTDEV_TRIGGER 0x00
#define TESTDEV_IOVA_LO 0x04
#define TESTDEV_IOVA_HI 0x08
#define TESTDEV_LENGTH 0x0c
#define TESTDEV_DOORBELL 0x14
#define TESTDEV_GPA_LO 0x1c
#define TESTDEV_ARM 1
#define TESTDEV_PATTERN 0x12345678u

static inline void reg_set(uint32_t bar, unsigned int reg, uint32_t value)
{
	*(volatile uint32_t *)(bar + reg) = value;
}

static inline uint32_t reg_get(uint32_t bar, unsigned int reg)
{
	return *(volatile uint32_t *)(bar + reg);
}

/* Lets the VF write @value, big-endian, to @address. Returns 0 if it did. */
static inline uint32_t mlx5_write(uint32_t engine, uint32_t address, uint32_t value)
{
	reg_set(engine, MLX5_IOVA_H, 0);
	reg_set(engine, MLX5_IOVA_L, __builtin_bswap32(address));
	reg_set(engine, MLX5_LENGTH, __builtin_bswap32(sizeof(value)));
	reg_set(engine, MLX5_PATTERN, __builtin_bswap32(value));
	reg_set(engine, MLX5_GO, __builtin_bswap32(MLX5_FILL));
	return reg_get(engine, MLX5_GO);
}

static inline uint32_t emulated_write(uint32_t bar, uint32_t address, uint32_t value)
{
	reg_set(bar, EMULATED_ADDRESS_LO, address);
	reg_set(bar, EMULATED_ADDRESS_HI, 0);
	reg_set(bar, EMULATED_VALUE, value);
	reg_set(bar, EMULATED_GO, value % 2 ? EMULATED_BY_COPY : EMULATED_BY_PIN);
	return reg_get(bar, EMULATED_GO);
}

/* Writes TESTDEV_PATTERN. Its result is of no use without a host address. */
static inline void testdev_write(uint32_t bar, uint32_t address)
{
	reg_set(bar, TESTDEV_IOVA_LO, address);
	reg_set(bar, TESTDEV_IOVA_HI, 0);
	reg_set(bar, TESTDEV_LENGTH, sizeof(uint32_t));
	reg_set(bar, TESTDEV_GPA_LO, 0x100000);
	reg_set(bar, TESTDEV_DOORBELL, TESTDEV_ARM);
	reg_get(bar, TESTDEV_TRIGGER);
}

#endif
