/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Dirty trackers: what an IOMMU or device driver registers so that a context of
 * /dev/iommufd-dirty can use it for tracking. See
 * Documentation/driver-api/iommufd-dirty.rst.
 */
#ifndef __LINUX_IOMMUFD_DIRTY_H
#define __LINUX_IOMMUFD_DIRTY_H

#include <linux/types.h>
#include <uapi/linux/iommufd_dirty.h>

struct module;
struct iommufd_dirty_sink;
struct iommufd_dirty_tracker;

/**
 * enum iommufd_dirty_op_flags - Flags of &iommufd_dirty_tracker_ops.read_and_clear
 * @IOMMUFD_DIRTY_OP_FINAL: The device is quiesced: neither re-arm nor flush; the
 *                          same pages may be reported again later
 * @IOMMUFD_DIRTY_OP_STRICT: If a part of the range is not mapped, return -ENXIO
 *                           before anything is cleared. Never set for a tracker
 *                           that @waits: its calls span gaps
 */
enum iommufd_dirty_op_flags {
	IOMMUFD_DIRTY_OP_FINAL = 1 << 0,
	IOMMUFD_DIRTY_OP_STRICT = 1 << 1,
};

/* Return value of a read: done, but a part of the range is not mapped. */
#define IOMMUFD_DIRTY_OP_HOLE 1

/**
 * struct iommufd_dirty_tracker_ops - What a tracker does
 * @owner: Module that has the ops; held while the tracker is bound
 * @query: Would @start succeed with these arguments? Changes nothing. Stores in
 *         @memory the bytes of kernel memory that tracking would take. May be
 *         NULL: then it would, and needs no memory worth mentioning
 * @start: Begin to track @nr_ranges disjoint ascending @ranges with @granule
 *         bytes per bit, from a clean state. -ENOSPC: no slot is free. -EXDEV:
 *         the device is in another address space than when it was bound. A
 *         positive value n: nothing was started, because it turned out that the
 *         finest granule it can do now is 2^n bytes, one of its @pgsizes and
 *         coarser than @granule. It is called again with that granule, unless
 *         userspace asked for EXACT
 * @stop: End tracking and forget what is dirty. Called once for each @start
 *        that succeeded, even if the tracker was lost. After an error the
 *        tracker counts as stopped
 * @read_and_clear: Record what is dirty in [@iova, @iova + @length - 1] by
 *                  iommufd_dirty_sink_record() and make it clean. @iova and
 *                  @length are multiples of the granule. What lies outside but
 *                  shares a bit with the inside is recorded whole. Returns after
 *                  the IOTLB or firmware sync: 0, IOMMUFD_DIRTY_OP_HOLE or a
 *                  negative errno. On error everything that was cleared has been
 *                  recorded, and the rest is still dirty. -EXDEV as for @start.
 *                  -EINTR: see iommufd_dirty_sink_interrupted()
 * @peek: Like @read_and_clear, but leaves everything dirty. May be NULL
 * @update_ranges: The ranges are now @ranges; keep what is dirty in those that
 *                 stay. -ENOSPC: no slot is free for them beside the old ones;
 *                 then, or if the op is NULL, the core stops and starts the
 *                 tracker, and reports everything that it tracked as dirty
 *                 once. After any other error the old ranges are in force
 *
 * Context: all ops are called in process context and may sleep, one at a time for
 * each tracker, but not necessarily in the task that made the system call. They
 * must not call iommufd_dirty_tracker_unregister() on their own tracker.
 */
struct iommufd_dirty_tracker_ops {
	struct module *owner;
	int (*query)(struct iommufd_dirty_tracker *tracker, u64 granule,
		     const struct iommufd_dirty_range *ranges, u32 nr_ranges,
		     u64 *memory);
	int (*start)(struct iommufd_dirty_tracker *tracker, u64 granule,
		     const struct iommufd_dirty_range *ranges, u32 nr_ranges);
	int (*stop)(struct iommufd_dirty_tracker *tracker);
	int (*read_and_clear)(struct iommufd_dirty_tracker *tracker, u64 iova,
			      u64 length, u32 flags,
			      struct iommufd_dirty_sink *sink);
	int (*peek)(struct iommufd_dirty_tracker *tracker, u64 iova, u64 length,
		    u32 flags, struct iommufd_dirty_sink *sink);
	int (*update_ranges)(struct iommufd_dirty_tracker *tracker,
			     const struct iommufd_dirty_range *ranges,
			     u32 nr_ranges);
};

/**
 * struct iommufd_dirty_tracker - One source of dirty pages
 * @ops: What it does
 * @name: For userspace, at most IOMMUFD_DIRTY_NAME_LEN - 1 bytes
 * @kind: enum iommufd_dirty_kind, not IOMMUFD_DIRTY_KIND_UNTRACKED
 * @waits: A read waits for hardware: it is done in parallel with others, and
 *         one call may cover ranges with gaps between them that are not tracked
 * @unmap_drops: Unmapping a range drops what is dirty in it
 * @pgsizes: Bitmap of the granules that it supports: bit n is 2^n bytes; not 0,
 *           and nothing below 4 KiB
 * @max_ranges: Ranges that @start can take; 0 is no limit
 * @min_span: Bytes that the ranges must cover in total, at least
 * @max_span: Bytes that the ranges may cover in total; 0 is no limit
 * @space: Identifies the I/O address space; 0 if that is not known. Never the
 *         same for two spaces, even if one is gone: not a bare pointer.
 *         Trackers of two different spaces cannot be in one context (-EXDEV).
 *         Read when the tracker is bound: the owner keeps it up to date with
 *         WRITE_ONCE()
 * @bitmap_bytes: Bytes of kernel memory that the tracker's bitmaps currently
 *                take. The owner keeps it up to date with WRITE_ONCE()
 * @core: Private to the core; NULL while not registered
 *
 * Embedded in the owner's structure. All fields except @space, @bitmap_bytes and
 * @core are set before iommufd_dirty_tracker_register() and do not change until
 * iommufd_dirty_tracker_unregister() returns.
 */
struct iommufd_dirty_tracker {
	const struct iommufd_dirty_tracker_ops *ops;
	const char *name;
	u32 kind;
	bool waits;
	bool unmap_drops;
	u64 pgsizes;
	u32 max_ranges;
	u64 min_span;
	u64 max_span;
	u64 space;
	u64 bitmap_bytes;
	void *core;
};

int iommufd_dirty_tracker_register(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_tracker_unregister(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_tracker_lost(struct iommufd_dirty_tracker *tracker, int error);
int iommufd_dirty_bind(struct iommufd_dirty_tracker *tracker, int context_fd,
		       u32 flags, u32 policy, u64 cookie);
void iommufd_dirty_sink_record(struct iommufd_dirty_sink *sink, u64 iova,
			       u64 length);
void iommufd_dirty_sink_record_unsure(struct iommufd_dirty_sink *sink, u64 iova,
				      u64 length);
bool iommufd_dirty_sink_interrupted(struct iommufd_dirty_sink *sink);

#endif
