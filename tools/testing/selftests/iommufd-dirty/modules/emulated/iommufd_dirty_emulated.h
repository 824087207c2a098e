/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * An emulated VFIO device for the tests: what its region takes.
 *
 * The devices are platform devices named EMULATED_NAME ".0" and so on, as many
 * as the module parameter nr says. Region 0 of each is a DMA engine: a write of
 * a struct emulated_command at offset 0 runs it, and returns its size or a
 * negative errno.
 */
#ifndef __IOMMUFD_DIRTY_EMULATED_H
#define __IOMMUFD_DIRTY_EMULATED_H

#include <linux/types.h>

#define EMULATED_NAME "iommufd-dirty-emulated"

/* Bytes that one command may write. */
#define EMULATED_MAX_WRITE (4 << 20)

/**
 * enum emulated_op - What a device can do
 * @EMULATED_DMA_WRITE: vfio_dma_rw(): fill @length bytes from @iova on with
 *                      @pattern
 * @EMULATED_DMA_READ: vfio_dma_rw(): read them, and drop what was read
 * @EMULATED_PIN: vfio_pin_pages() for reading: @length bytes, whole pages
 * @EMULATED_PIN_WRITE: vfio_pin_pages() for writing
 * @EMULATED_FILL: Fill @length bytes from @iova on with @pattern, all of it in
 *                 one range that is pinned
 * @EMULATED_UNPIN: vfio_unpin_pages() of a range as it was pinned
 * @EMULATED_NR_PINNED: Return the number of ranges that are pinned. What is
 *                      unmapped is unpinned
 */
enum emulated_op {
	EMULATED_DMA_WRITE,
	EMULATED_DMA_READ,
	EMULATED_PIN,
	EMULATED_PIN_WRITE,
	EMULATED_FILL,
	EMULATED_UNPIN,
	EMULATED_NR_PINNED,
};

/**
 * struct emulated_command - What region 0 takes
 * @op: enum emulated_op
 * @pattern: The low byte is written
 * @iova: First byte
 * @length: Bytes
 */
struct emulated_command {
	__u32 op;
	__u32 pattern;
	__aligned_u64 iova;
	__aligned_u64 length;
};

#endif
