/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of a PC as the guest needs: a serial port, and the PCI configuration space of
 * bus 0 by its I/O ports.
 */
#ifndef PC_H
#define PC_H

#include <stdint.h>

#include "busy.h"

#define COM1 0x3f8
#define COM1_LINE_STATUS 0x3fd
#define COM1_CAN_SEND 0x20
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u
#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_MEMORY_AND_MASTER 0x6
#define PCI_BAR0 0x10
#define PCI_BAR_FLAGS 0xfu
#define PCI_DEVICES 32

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM1_LINE_STATUS) & COM1_CAN_SEND))
			busy();
		outb(COM1, *text);
	}
}

static inline void put_number(uint32_t number)
{
	char digits[11], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do {
		*--at = '0' + number % 10;
	} while (number /= 10);
	put(at);
}

static inline uint32_t pci_read(unsigned int device, unsigned int reg)
{
	outl(PCI_ADDRESS, PCI_ENABLE | device << 11 | reg);
	return inl(PCI_DATA);
}

static inline void pci_write(unsigned int device, unsigned int reg, uint32_t value)
{
	outl(PCI_ADDRESS, PCI_ENABLE | device << 11 | reg);
	outl(PCI_DATA, value);
}

/* Where the firmware put BAR 0, with the device switched on. */
static inline uint32_t pci_bar0(unsigned int device)
{
	uint32_t command = pci_read(device, PCI_COMMAND) & 0xffff;

	pci_write(device, PCI_COMMAND, command | PCI_MEMORY_AND_MASTER);
	return pci_read(device, PCI_BAR0) & ~PCI_BAR_FLAGS;
}

/* What the boot protocol reports, as far as it is used here. */
struct boot_info {
	uint32_t flags;
	uint32_t mem[2];
	uint32_t boot_device;
	uint32_t command_line;
};

#define BOOT_HAS_COMMAND_LINE 0x4

/* Is @word in the command line? */
static inline int has_word(const struct boot_info *info, const char *word)
{
	const char *line = (const char *)info->command_line;

	if (!(info->flags & BOOT_HAS_COMMAND_LINE))
		return 0;
	while (*line) {
		const char *at = word;

		while (*line == ' ')
			line++;
		while (*at && *line == *at) {
			line++;
			at++;
		}
		if (!*at && (!*line || *line == ' '))
			return 1;
		while (*line && *line != ' ')
			line++;
	}
	return 0;
}

#endif
