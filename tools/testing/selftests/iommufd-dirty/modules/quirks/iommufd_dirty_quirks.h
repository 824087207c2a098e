/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iommufd-dirty-quirks: emulated VFIO devices that log their DMA as the drivers
 * in the tree do, with all their faults, each of which userspace chooses. A
 * struct quirks_cmd that is written to the device's file at offset 0 does
 * something, and a struct quirks_state can be read there.
 */
#ifndef __IOMMUFD_DIRTY_QUIRKS_H
#define __IOMMUFD_DIRTY_QUIRKS_H

#include <linux/types.h>

/* Devices, platform devices called QUIRKS_NAME ".0" and so on. */
#define QUIRKS_NAME "iommufd-dirty-quirks"
#define QUIRKS_DEVICES 4

/**
 * enum quirks_op - What a write does
 * @QUIRKS_DIRTY: The device writes to the @length bytes from @value on
 * @QUIRKS_SET: From now on it has the @quirk to the degree of @value; no device
 *              has any quirk when it is opened
 * @QUIRKS_SWITCH_OFF: The log ends behind everybody's back, as that of pds does
 *                     when the device goes from STOP_COPY to STOP
 */
enum quirks_op {
	QUIRKS_DIRTY,
	QUIRKS_SET,
	QUIRKS_SWITCH_OFF,
};

/**
 * enum quirks_quirk - What is unlike it should be
 * @QUIRKS_PAGE_MIN: The smallest page size, in bytes, whatever is asked (mlx5)
 * @QUIRKS_PAGE_MAX: The largest one (mlx5); 0 is none
 * @QUIRKS_MAX_RANGES: Ranges are joined until they are so few (mlx5, pds); 0 is
 *                     no limit
 * @QUIRKS_DROP_BELOW: A page that begins before the request is cleared and not
 *                     reported (mlx5, into a bitmap of the request)
 * @QUIRKS_WORDS: The start is rounded up to 8 pages from the start of the range
 *                and the length to 64, and what is beyond the request is cleared
 *                and not reported (pds, into a bitmap of the request)
 * @QUIRKS_FAIL_READ: The read with this number from now on, and all that follow,
 *                    clear what was asked for and fail with EIO (mlx5)
 * @QUIRKS_READ_ERROR: Fail with this errno instead
 * @QUIRKS_FAIL_START: A start fails with this errno
 * @QUIRKS_FAIL_STOP: A stop does what it should and fails with this errno
 * @QUIRKS_NO_STATE: Nothing is refused because of the state (mtty)
 * @QUIRKS_READ_MS: A read takes so many milliseconds
 * @QUIRKS_BAD_PAGE: The page size that it says is this, which may make no sense
 */
enum quirks_quirk {
	QUIRKS_PAGE_MIN,
	QUIRKS_PAGE_MAX,
	QUIRKS_MAX_RANGES,
	QUIRKS_DROP_BELOW,
	QUIRKS_WORDS,
	QUIRKS_FAIL_READ,
	QUIRKS_READ_ERROR,
	QUIRKS_FAIL_START,
	QUIRKS_FAIL_STOP,
	QUIRKS_NO_STATE,
	QUIRKS_READ_MS,
	QUIRKS_BAD_PAGE,
	QUIRKS_NR,
};

struct quirks_cmd {
	__u32 op;
	__u32 quirk;
	__u64 value;
	__u64 length;
};

/**
 * struct quirks_state - What the device has seen since it was opened
 * @starts: Starts that succeeded
 * @stops: Stops
 * @reads: Reads
 * @misuse: Calls that the state did not allow: a start while logging, a read or
 *          a stop while not
 * @dropped: Pages that were cleared and not reported
 * @overruns: Reads for which pds would have left its memory
 * @page_size: Bytes per bit; 0 while not logging
 * @nr_ranges: Ranges that are logged
 */
struct quirks_state {
	__u32 starts;
	__u32 stops;
	__u32 reads;
	__u32 misuse;
	__u32 dropped;
	__u32 overruns;
	__u64 page_size;
	__u64 nr_ranges;
};

#endif
