/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IOMMUFD_DIRTY_MOCK_H
#define _IOMMUFD_DIRTY_MOCK_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * /dev/iommufd-dirty-mock, of the test module iommufd-dirty-mock.ko: each open
 * is one tracker of kind DEVICE that does on demand what nothing real can do.
 * MOCK_CREATE registers it, MOCK_UNREGISTER or close() unregisters it.
 *
 * The mock keeps what is dirty in a sparse set of granules. A dirty mark is rounded
 * out to the granule that START agreed on, and from there to @block bytes where
 * that is coarser (a "huge IOPTE": one dirty bit for the whole block). What is
 * outside of its ranges then, or comes while it is not started, is dropped.
 */
enum mock_knob {
	/* Milliseconds that each read takes. */
	MOCK_KNOB_LATENCY_MS,
	/* Fail the n-th next call of start / read / stop / update (1 = the next),
	 * once; 0 disarms. The error is MOCK_KNOB_ERROR's. A failing read
	 * records and clears half of what it has first.
	 */
	MOCK_KNOB_FAIL_START,
	MOCK_KNOB_FAIL_READ,
	MOCK_KNOB_FAIL_STOP,
	MOCK_KNOB_FAIL_UPDATE,
	/* errno that the knobs above use, positive; EIO until set. */
	MOCK_KNOB_ERROR,
	/* Calls iommufd_dirty_tracker_lost() with this errno (positive), and
	 * fails every read with it until stopped: sticky.
	 */
	MOCK_KNOB_LOSE,
	/* Report this many bytes as bitmap memory (iommufd_dirty_tracker.bitmap_bytes). */
	MOCK_KNOB_BITMAP_BYTES,
	/* Slots that a start takes until the stop; ENOSPC unless as many are
	 * free of the 4 that the module has for all its trackers. So does an
	 * update of the ranges, for a moment, beside those that it has.
	 */
	MOCK_KNOB_SLOTS,
	/* A start with another granule than this one starts nothing and says
	 * that this is the finest; 0 is never.
	 */
	MOCK_KNOB_ONLY_GRANULE,
	/* The next read calls iommufd_dirty_tracker_lost() with this errno
	 * (positive) and succeeds.
	 */
	MOCK_KNOB_LOSE_IN_READ,
	/* The same, the second next one. */
	MOCK_KNOB_LOSE_IN_READ_2,
	/* 1: what reads record is recorded as unsure. */
	MOCK_KNOB_UNSURE,
};

enum mock_caps {
	MOCK_CAP_PEEK = 1 << 0,
	MOCK_CAP_UPDATE_RANGES = 1 << 1,
	/* iommufd_dirty_tracker.waits */
	MOCK_CAP_WAITS = 1 << 2,
	/* iommufd_dirty_tracker.unmap_drops */
	MOCK_CAP_UNMAP_DROPS = 1 << 3,
};

/**
 * struct mock_create - ioctl(MOCK_CREATE)
 * @size: sizeof(struct mock_create)
 * @caps: Bits of enum mock_caps
 * @pgsizes: Bitmap of granules; 0 is 4 KiB only
 * @block: Bytes that share one dirty bit; 0 is the granule
 * @max_ranges: As in struct iommufd_dirty_tracker
 * @space: Address space id; 0 is none
 * @min_span: As in struct iommufd_dirty_tracker
 * @max_span: As in struct iommufd_dirty_tracker
 */
struct mock_create {
	__u32 size;
	__u32 caps;
	__aligned_u64 pgsizes;
	__aligned_u64 block;
	__u32 max_ranges;
	__u32 space;
	__aligned_u64 min_span;
	__aligned_u64 max_span;
};

/**
 * struct mock_bind - ioctl(MOCK_BIND): iommufd_dirty_bind()
 * @context_fd: A /dev/iommufd-dirty
 * @policy: enum iommufd_dirty_policy
 * @out_tracker_id: Id of the tracker
 * @flags: enum iommufd_dirty_bind_flags
 * @cookie: Any value
 */
struct mock_bind {
	__s32 context_fd;
	__u32 policy;
	__u32 out_tracker_id;
	__u32 flags;
	__aligned_u64 cookie;
};

/**
 * struct mock_dirty - ioctl(MOCK_DIRTY): mark pages as a device's writes would
 * @iova: First byte of the first page
 * @length: Bytes of each mark
 * @stride: Bytes from one mark to the next
 * @count: Marks
 * @__reserved: 0
 */
struct mock_dirty {
	__aligned_u64 iova;
	__aligned_u64 length;
	__aligned_u64 stride;
	__u32 count;
	__u32 __reserved;
};

/**
 * struct mock_knob_set - ioctl(MOCK_KNOB)
 * @knob: enum mock_knob
 * @__reserved: 0
 * @value: As the knob says
 */
struct mock_knob_set {
	__u32 knob;
	__u32 __reserved;
	__aligned_u64 value;
};

/**
 * struct mock_state - ioctl(MOCK_STATE)
 * @granule: Bytes, in force; 0 while not started
 * @nr_ranges: Ranges in force
 * @started: 1 while started
 * @starts: Successful starts so far
 * @stops: Stops so far
 * @reads: Reads so far, peeks included
 * @final_reads: Of these, with IOMMUFD_DIRTY_OP_FINAL
 * @dirty: Bytes dirty in the mock
 * @ranges: The first 8 ranges in force
 */
struct mock_state {
	__aligned_u64 granule;
	__u32 nr_ranges;
	__u32 started;
	__aligned_u64 starts;
	__aligned_u64 stops;
	__aligned_u64 reads;
	__aligned_u64 final_reads;
	__aligned_u64 dirty;
	struct {
		__aligned_u64 iova;
		__aligned_u64 length;
	} ranges[8];
};

#define MOCK_CREATE _IO('M', 0xe0)
#define MOCK_BIND _IO('M', 0xe1)
#define MOCK_DIRTY _IO('M', 0xe2)
#define MOCK_KNOB _IO('M', 0xe3)
#define MOCK_STATE _IO('M', 0xe4)
#define MOCK_UNREGISTER _IO('M', 0xe5)

#endif
