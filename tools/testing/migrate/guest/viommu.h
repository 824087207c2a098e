/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual IOMMU, QEMU's intel-iommu: a few IOVAs for each device, which the guest maps to
 * other pages again and again. It has one domain, one table of 4 KiB pages, and what leads
 * there.
 */
#ifndef VIOMMU_H
#define VIOMMU_H

#include <stdalign.h>

#include "pc.h"

/* What one table maps: its first address, and pages. */
#define VIOMMU_IOVA 0x40000000u
#define VIOMMU_PAGES 512

#define VTD 0xfed90000
#define VTD_GLOBAL_COMMAND 0x18
#define VTD_SET_ROOT 0x40000000u
#define VTD_TRANSLATE 0x80000000u
#define VTD_GLOBAL_STATUS 0x1c
#define VTD_ROOT_LO 0x20
#define VTD_ROOT_HI 0x24
#define VTD_INVALIDATE_ADDRESS_LO 0xf0
#define VTD_INVALIDATE_ADDRESS_HI 0xf4
#define VTD_ALL_PAGES 9u /* 2^n pages */
/* Bits 63:32 of the IOTLB register: a write to these is the command. */
#define VTD_IOTLB_HI 0xfc
#define VTD_INVALIDATE 0x80000000u
#define VTD_BY_PAGES 0x30000000u

#define VTD_PRESENT 1u
#define VTD_READ_WRITE 3u
/* Of a context entry: three levels of tables, 39 bits of address. */
#define VTD_THREE_LEVELS 1u
#define VTD_DOMAIN 1u
#define VTD_DOMAIN_SHIFT 8

/* A page each. Two words are an entry of the first two. */
static alignas(PAGE_SIZE) uint64_t viommu_root[VIOMMU_PAGES];
static alignas(PAGE_SIZE) uint64_t viommu_context[VIOMMU_PAGES];
static alignas(PAGE_SIZE) volatile uint64_t viommu_tables[3][VIOMMU_PAGES];

static inline void vtd_set(unsigned int reg, uint32_t value)
{
	*(volatile uint32_t *)(VTD + reg) = value;
}

static inline void vtd_command(uint32_t command)
{
	vtd_set(VTD_GLOBAL_COMMAND, command);
	while (!(*(volatile uint32_t *)(VTD + VTD_GLOBAL_STATUS) & command))
		;
}

/* The device in @slot of bus 0 is to be behind it. */
static inline void viommu_add(unsigned int slot)
{
	uint64_t *entry = &viommu_context[slot << 3 << 1];

	entry[0] = (uint32_t)viommu_tables[0] | VTD_PRESENT;
	entry[1] = VTD_DOMAIN << VTD_DOMAIN_SHIFT | VTD_THREE_LEVELS;
}

/* Nothing is mapped at first. */
static inline void viommu_start(void)
{
	viommu_root[0] = (uint32_t)viommu_context | VTD_PRESENT;
	viommu_tables[0][VIOMMU_IOVA >> 30] = (uint32_t)viommu_tables[1] | VTD_READ_WRITE;
	viommu_tables[1][0] = (uint32_t)viommu_tables[2] | VTD_READ_WRITE;
	vtd_set(VTD_ROOT_LO, (uint32_t)viommu_root);
	vtd_set(VTD_ROOT_HI, 0);
	vtd_command(VTD_SET_ROOT);
	vtd_command(VTD_TRANSLATE);
}

/* Page @page of VIOMMU_IOVA is to be the one at @address, if viommu_flush() is called. */
static inline void viommu_map(unsigned int page, uint32_t address)
{
	viommu_tables[2][page] = address | VTD_READ_WRITE;
}

/* Nothing is to be mapped. */
static inline void viommu_unmap(void)
{
	unsigned int page;

	for (page = 0; page < VIOMMU_PAGES; page++)
		viommu_tables[2][page] = 0;
}

/* When it returns devices see what is mapped. */
static inline void viommu_flush(void)
{
	vtd_set(VTD_INVALIDATE_ADDRESS_LO, VIOMMU_IOVA | VTD_ALL_PAGES);
	vtd_set(VTD_INVALIDATE_ADDRESS_HI, 0);
	vtd_set(VTD_IOTLB_HI, VTD_INVALIDATE | VTD_BY_PAGES | VTD_DOMAIN);
	while (*(volatile uint32_t *)(VTD + VTD_IOTLB_HI) & VTD_INVALIDATE)
		;
}

#endif
