/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * An emulated VFIO device that a VMM can give to a guest and migrate: what the
 * guest sees of it.
 *
 * It is a PCI function without capabilities and interrupts. BAR 0 is memory of
 * 4 KiB, to be accessed in 32 bits, little endian. The device writes 4 bytes to
 * the guest's memory when GO is written.
 *
 * The devices are mediated ones, because a VMM takes any other for a device with
 * an IOMMU. Write a UUID to MIGRATABLE_CREATE(type) to get one.
 */
#ifndef __IOMMUFD_DIRTY_MIGRATABLE_H
#define __IOMMUFD_DIRTY_MIGRATABLE_H

#include <linux/types.h>

#define MIGRATABLE_NAME "iommufd-dirty-migratable"

/* Types: without and with a DMA log that VFIO_DEVICE_FEATURE_DMA_LOGGING_* reads. */
#define MIGRATABLE_PLAIN "plain"
#define MIGRATABLE_LOG "log"

#define MIGRATABLE_CREATE(type)                                       \
	"/sys/class/mdev_bus/" MIGRATABLE_NAME "/mdev_supported_types/" \
	MIGRATABLE_NAME "-" type "/create"

#define MIGRATABLE_VENDOR 0x1234
#define MIGRATABLE_DEVICE 0x0d1e
#define MIGRATABLE_BAR_SIZE 0x1000

/**
 * enum migratable_register - Offsets in BAR 0
 * @MIGRATABLE_ADDRESS_LO: Where to write: an address that can be divided by 4
 * @MIGRATABLE_ADDRESS_HI: Its upper half
 * @MIGRATABLE_VALUE: What to write
 * @MIGRATABLE_GO: An &enum migratable_go writes. Reads as 0 if the last one
 *                 worked, else as 1
 * @MIGRATABLE_COUNT: Read only: how many worked
 * @MIGRATABLE_END: What follows reads as 0
 *
 * While the device is stopped for migration, a write to a register is refused
 * with EBUSY.
 */
enum migratable_register {
	MIGRATABLE_ADDRESS_LO = 0x00,
	MIGRATABLE_ADDRESS_HI = 0x04,
	MIGRATABLE_VALUE = 0x08,
	MIGRATABLE_GO = 0x0c,
	MIGRATABLE_COUNT = 0x10,
	MIGRATABLE_END = 0x14,
};

/**
 * enum migratable_go - What to write to MIGRATABLE_GO
 * @MIGRATABLE_GO_RW: Write by vfio_dma_rw()
 * @MIGRATABLE_GO_PIN: Write to the page, which is pinned just for that
 */
enum migratable_go {
	MIGRATABLE_GO_RW = 1,
	MIGRATABLE_GO_PIN = 2,
};

#define MIGRATABLE_MAGIC 0x4d444649

/**
 * struct migratable_state - A device's state, as it is migrated
 * @magic: MIGRATABLE_MAGIC
 * @registers: Those of BAR 0, in their order
 */
struct migratable_state {
	__le32 magic;
	__le32 registers[MIGRATABLE_END / 4];
};

#endif
