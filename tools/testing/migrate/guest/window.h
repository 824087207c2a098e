/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 64 KiB of memory below 1 MiB that the guest can take away from its devices, and give
 * back. The PAM registers of Q35's host bridge say of each 16 KiB whether accesses go to
 * memory or to PCI, where nothing answers. What was written to the memory stays in it.
 */
#ifndef WINDOW_H
#define WINDOW_H

#include "pc.h"

#define WINDOW 0xd0000
#define WINDOW_SIZE 0x10000

#define HOST_BRIDGE 0
/* PAM 3 is the byte at 0x93, for 0xd0000; PAM 4 is the next one, for 0xd8000. */
#define PAM3 0x90
#define PAM3_SHIFT 24
#define PAM4 0x94
#define PAM4_SHIFT 0
/* Reads and writes go to memory, in both halves of a register. */
#define PAM_MEMORY 0x33u
#define PAM_MASK 0xffu

static inline void pam_set(unsigned int reg, unsigned int shift, uint32_t value)
{
	uint32_t others = pci_read(HOST_BRIDGE, reg) & ~(PAM_MASK << shift);

	pci_write(HOST_BRIDGE, reg, others | value << shift);
}

static inline void window_show(int shown)
{
	uint32_t value = shown ? PAM_MEMORY : 0;

	pam_set(PAM3, PAM3_SHIFT, value);
	pam_set(PAM4, PAM4_SHIFT, value);
}

#endif
