/* SPDX-License-Identifier: GPL-2.0 */
/*
 * To be called all the time: the processor then always has written to a MiB of memory.
 */
#ifndef BUSY_H
#define BUSY_H

#include <stdint.h>

#define PAGE_SIZE 4096
#define BUSY_PAGES 256

static inline void busy(void)
{
	static volatile uint8_t pages[BUSY_PAGES * PAGE_SIZE];
	static uint32_t next;

	pages[next++ % BUSY_PAGES * PAGE_SIZE]++;
}

#endif
