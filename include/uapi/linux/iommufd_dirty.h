/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_IOMMUFD_DIRTY_H
#define _UAPI_IOMMUFD_DIRTY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* iommufd's ioctl type; the numbers stay clear of iommufd's own. */
#define IOMMUFD_DIRTY_TYPE (';')

/**
 * DOC: General ioctl format
 *
 * One open of /dev/iommufd-dirty is a *context*: the dirty trackers of one I/O
 * address space, the ranges that they track, and one tracking session at a
 * time. Two address spaces need two contexts.
 *
 * The ioctls follow iommufd's format: every structure starts with its own size
 * in bytes; anything beyond the part that the kernel understands must be zero.
 * Every array comes with the length of one element, for the same reason: if an
 * element is longer than the kernel knows, the rest must be zero on input, and is
 * set to zero on output; an element that is shorter than this version's is
 * EINVAL. Addresses and lengths are in bytes. A *granule* is the number of bytes
 * that one bit of a tracker stands for.
 *
 * An ioctl that goes through an array of ranges has a *cursor*: next_range (the
 * element to continue with), next_offset (bytes of that element that are done) and
 * next_tracker (0, or the first tracker that is not done at that place). All
 * three are 0 when a round begins, and are 0 again when it is complete, so the
 * same structure can be used for the next round as it is. They differ from 0 only
 * after EINTR or another error, and with IOMMUFD_DIRTY_STATUS_MORE. To continue,
 * call again with the structure as it is. To begin a new round instead, set them
 * to 0: nothing is lost by that, and what was delivered is not delivered again.
 * A round is FINAL only if all of its calls are.
 *
 * A signal ends an ioctl that goes through ranges within one call of one tracker;
 * a fatal one ends START and RANGES as well.
 *
 * Each errno means one thing:
 *
 *  - ENOTTY: the ioctl number is not supported
 *  - E2BIG: a part of the structure that the kernel does not know is not zero
 *  - EOPNOTSUPP: an unknown flag or value, a reserved field that is not zero,
 *    or a tracker of a kind that this kernel cannot have (see
 *    IOMMUFD_DIRTY_INFO)
 *  - EINVAL: everything was understood, but a field has a wrong value
 *  - EOVERFLOW: an address plus a length wraps
 *  - EFAULT: user memory cannot be read or written
 *  - EBADF, EBADFD: not a file descriptor, or one of the wrong kind
 *  - ENOENT: no tracker with this id
 *  - ENXIO: with IOMMUFD_DIRTY_READ_STRICT, a part of the request is not tracked
 *    or not mapped
 *  - EDOM: the ranges cover fewer or more bytes than the tracker can ever take
 *    (out_min_span, out_max_span of IOMMUFD_DIRTY_TRACKER_INFO)
 *  - ENOMEM: out of memory
 *  - EINTR: a signal came; what was found so far was delivered, and the cursor
 *    says where to continue
 *  - ENODATA: tracking is not started
 *  - EBUSY: tracking is started, or the tracker is in a context already
 *  - ERANGE: a tracker cannot do this page size
 *  - EXDEV: the tracker belongs to another address space, or its device has
 *    moved to one or has none
 *  - ENOSPC: no slot is free, in the tracker or in the context; try again when
 *    something was released
 *  - ESHUTDOWN: the tracker is gone, and its policy is FAIL
 *  - EIO: a tracker failed and its policy is FAIL: treat its ranges as dirty
 */
enum {
	IOMMUFD_DIRTY_CMD_BASE = 0xc0,
	IOMMUFD_DIRTY_CMD_INFO = IOMMUFD_DIRTY_CMD_BASE,
	IOMMUFD_DIRTY_CMD_BIND_HWPT = 0xc1,
	IOMMUFD_DIRTY_CMD_BIND_UNTRACKED = 0xc2,
	IOMMUFD_DIRTY_CMD_UNBIND = 0xc3,
	IOMMUFD_DIRTY_CMD_LIST = 0xc4,
	IOMMUFD_DIRTY_CMD_TRACKER_INFO = 0xc5,
	IOMMUFD_DIRTY_CMD_RANGES = 0xc6,
	IOMMUFD_DIRTY_CMD_START = 0xc7,
	IOMMUFD_DIRTY_CMD_STOP = 0xc8,
	IOMMUFD_DIRTY_CMD_READ = 0xc9,
	IOMMUFD_DIRTY_CMD_CLEAR = 0xca,
	IOMMUFD_DIRTY_CMD_HARVEST = 0xcb,
	IOMMUFD_DIRTY_CMD_SET_POLICY = 0xcc,
	IOMMUFD_DIRTY_CMD_STATS = 0xcd,
	IOMMUFD_DIRTY_CMD_NEW = 0xce,
	IOMMUFD_DIRTY_CMD_LIST_RANGES = 0xcf,
};

/**
 * enum iommufd_dirty_feature - What this kernel can do
 * @IOMMUFD_DIRTY_FEATURE_HWPT: IOMMUFD_DIRTY_BIND_HWPT works: iommufd has the
 *                              in-kernel interface to an HWPT's dirty bits
 */
enum iommufd_dirty_feature {
	IOMMUFD_DIRTY_FEATURE_HWPT = 1 << 0,
};

/**
 * struct iommufd_dirty_info - ioctl(IOMMUFD_DIRTY_INFO)
 * @size: sizeof(struct iommufd_dirty_info)
 * @flags: Must be 0
 * @out_features: Bits of enum iommufd_dirty_feature
 * @out_max_trackers: Trackers that one context may hold
 * @out_max_ranges: Disjoint ranges that one context may track
 * @out_max_read_ranges: Elements of the array of one READ, CLEAR or HARVEST
 * @__reserved: 0
 * @out_max_residual: Bytes of kernel memory that one tracker's residual may
 *                    hold, and as many for what was harvested from it; beyond
 *                    that more is reported than was written
 *
 * What the kernel can do, and its limits. Needs no tracker and no session.
 */
struct iommufd_dirty_info {
	__u32 size;
	__u32 flags;
	__aligned_u64 out_features;
	__u32 out_max_trackers;
	__u32 out_max_ranges;
	__u32 out_max_read_ranges;
	__u32 __reserved;
	__aligned_u64 out_max_residual;
};

#define IOMMUFD_DIRTY_INFO _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_INFO)

/**
 * struct iommufd_dirty_new - ioctl(IOMMUFD_DIRTY_NEW)
 * @size: sizeof(struct iommufd_dirty_new)
 * @flags: Must be 0
 * @out_fd: File descriptor of a new, empty context; closed on exec
 * @__reserved: Must be 0
 *
 * Create another context, as an open of /dev/iommufd-dirty does, for a program
 * that was handed one and may not open the node. It is independent of the context
 * that it is created from, and uses the memory cgroup of the caller.
 *
 * EMFILE, ENFILE: no file descriptor is free.
 */
struct iommufd_dirty_new {
	__u32 size;
	__u32 flags;
	__s32 out_fd;
	__u32 __reserved;
};

#define IOMMUFD_DIRTY_NEW _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_NEW)

/**
 * enum iommufd_dirty_policy - What to do if a tracker cannot track
 * @IOMMUFD_DIRTY_POLICY_FAIL: The START or READ returns the error
 * @IOMMUFD_DIRTY_POLICY_IGNORE: The tracker is skipped and a status bit says
 *                               so; userspace stops the device early
 * @IOMMUFD_DIRTY_POLICY_ALL_DIRTY: Every range of the context is reported dirty
 *                                  in each READ
 *
 * A tracker cannot track when it is IOMMUFD_DIRTY_KIND_UNTRACKED, when its
 * start failed, when a read of it fails, when it is lost, or when its owner
 * unregistered it. A tracker that works is read whatever its policy.
 */
enum iommufd_dirty_policy {
	IOMMUFD_DIRTY_POLICY_FAIL = 0,
	IOMMUFD_DIRTY_POLICY_IGNORE = 1,
	IOMMUFD_DIRTY_POLICY_ALL_DIRTY = 2,
};

/**
 * enum iommufd_dirty_bind_flags - Flags of the calls that bind a tracker
 * @IOMMUFD_DIRTY_BIND_ASSUME_CLEAN: If it is bound while tracking, the ranges are
 *                                   not reported dirty once for this tracker
 *
 * A tracker that is bound while its context is started is started at once, with
 * the page size and EXACT of the START. What its device wrote before is not
 * known: all ranges of the context are reported dirty once, unless userspace
 * knows better. If it cannot start and its policy is FAIL, it is not bound, and
 * the call returns the error.
 */
enum iommufd_dirty_bind_flags {
	IOMMUFD_DIRTY_BIND_ASSUME_CLEAN = 1 << 0,
};

/**
 * struct iommufd_dirty_bind_hwpt - ioctl(IOMMUFD_DIRTY_BIND_HWPT)
 * @size: sizeof(struct iommufd_dirty_bind_hwpt)
 * @flags: Bits of enum iommufd_dirty_bind_flags
 * @iommufd: File descriptor of the /dev/iommu that has the HWPT
 * @hwpt_id: Id of a paging HWPT allocated with IOMMU_HWPT_ALLOC_DIRTY_TRACKING
 * @policy: enum iommufd_dirty_policy
 * @out_tracker_id: Id of the tracker in this context, never 0
 * @cookie: Any value; returned with all that is reported about this tracker
 *
 * Make the dirty bits of an IOMMU page table a tracker of this context. While
 * it is bound the HWPT cannot be destroyed (IOMMU_DESTROY returns EBUSY); while
 * it is started, IOMMU_HWPT_SET_DIRTY_TRACKING and a clearing
 * IOMMU_HWPT_GET_DIRTY_BITMAP on it return EBUSY.
 *
 * EXDEV: the HWPT belongs to another IOAS than an earlier one, or is nested.
 */
struct iommufd_dirty_bind_hwpt {
	__u32 size;
	__u32 flags;
	__s32 iommufd;
	__u32 hwpt_id;
	__u32 policy;
	__u32 out_tracker_id;
	__aligned_u64 cookie;
};

#define IOMMUFD_DIRTY_BIND_HWPT \
	_IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_BIND_HWPT)

/**
 * struct iommufd_dirty_bind_untracked - ioctl(IOMMUFD_DIRTY_BIND_UNTRACKED)
 * @size: sizeof(struct iommufd_dirty_bind_untracked)
 * @flags: Must be 0
 * @policy: IOMMUFD_DIRTY_POLICY_IGNORE or IOMMUFD_DIRTY_POLICY_ALL_DIRTY
 * @out_tracker_id: Id of the tracker in this context, never 0
 * @cookie: Any value; returned with all that is reported about this tracker
 *
 * Add a member that cannot track to the context, which makes explicit what is
 * done about it.
 */
struct iommufd_dirty_bind_untracked {
	__u32 size;
	__u32 flags;
	__u32 policy;
	__u32 out_tracker_id;
	__aligned_u64 cookie;
};

#define IOMMUFD_DIRTY_BIND_UNTRACKED \
	_IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_BIND_UNTRACKED)

/**
 * enum iommufd_dirty_unbind_flags - Flags of IOMMUFD_DIRTY_UNBIND
 * @IOMMUFD_DIRTY_UNBIND_KEEP: Move what is dirty into the context's own
 *                             residual, from where a merged READ delivers it
 */
enum iommufd_dirty_unbind_flags {
	IOMMUFD_DIRTY_UNBIND_KEEP = 1 << 0,
};

/**
 * struct iommufd_dirty_unbind - ioctl(IOMMUFD_DIRTY_UNBIND)
 * @size: sizeof(struct iommufd_dirty_unbind)
 * @flags: Bits of enum iommufd_dirty_unbind_flags
 * @tracker_id: The tracker that leaves the context
 * @__reserved: Must be 0
 * @next_iova: With KEEP. In: 0. Out: 0, or after EINTR the address to continue with
 *
 * Stop the tracker if it is started and take it out of the context. Without
 * IOMMUFD_DIRTY_UNBIND_KEEP what it still held dirty is dropped. With it, if a
 * tracker cannot be read, all its ranges are kept as dirty, whatever its policy.
 * After EINTR it is still bound.
 */
struct iommufd_dirty_unbind {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__u32 __reserved;
	__aligned_u64 next_iova;
};

#define IOMMUFD_DIRTY_UNBIND _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_UNBIND)

/**
 * struct iommufd_dirty_list - ioctl(IOMMUFD_DIRTY_LIST)
 * @size: sizeof(struct iommufd_dirty_list)
 * @flags: Must be 0
 * @nr_ids: In: elements of the array. Out: trackers in the context, which may
 *          be more than fit into the array
 * @__reserved: Must be 0
 * @ids_uptr: User pointer to an array of __u32 that receives tracker ids
 *
 * Return the ids of the context's trackers, in the order in which they were bound.
 */
struct iommufd_dirty_list {
	__u32 size;
	__u32 flags;
	__u32 nr_ids;
	__u32 __reserved;
	__aligned_u64 ids_uptr;
};

#define IOMMUFD_DIRTY_LIST _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_LIST)

/**
 * enum iommufd_dirty_kind - What a tracker is
 * @IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN: The dirty bits of an iommufd HWPT
 * @IOMMUFD_DIRTY_KIND_DEVICE: A device's own log
 * @IOMMUFD_DIRTY_KIND_SOFTWARE: The kernel saw or made the writes
 * @IOMMUFD_DIRTY_KIND_UNTRACKED: A member that cannot track
 */
enum iommufd_dirty_kind {
	IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN = 1,
	IOMMUFD_DIRTY_KIND_DEVICE = 2,
	IOMMUFD_DIRTY_KIND_SOFTWARE = 3,
	IOMMUFD_DIRTY_KIND_UNTRACKED = 4,
};

/**
 * enum iommufd_dirty_caps - What a tracker can do
 * @IOMMUFD_DIRTY_CAP_PEEK: Can be read without clearing; for another tracker a
 *                          NO_CLEAR read moves dirty pages into the residual
 * @IOMMUFD_DIRTY_CAP_UPDATE_RANGES: Its ranges can change while it tracks;
 *                                   another tracker is restarted, and its ranges
 *                                   are reported dirty once
 * @IOMMUFD_DIRTY_CAP_WAITS: A read waits for hardware: it is done in parallel with
 *                           those of other such trackers, and once for many
 *                           ranges
 * @IOMMUFD_DIRTY_CAP_UNMAP_DROPS: Unmapping a range drops what is dirty in it:
 *                                 HARVEST asks such trackers
 */
enum iommufd_dirty_caps {
	IOMMUFD_DIRTY_CAP_PEEK = 1 << 0,
	IOMMUFD_DIRTY_CAP_UPDATE_RANGES = 1 << 1,
	IOMMUFD_DIRTY_CAP_WAITS = 1 << 2,
	IOMMUFD_DIRTY_CAP_UNMAP_DROPS = 1 << 3,
};

/**
 * enum iommufd_dirty_state - State of a tracker
 * @IOMMUFD_DIRTY_STATE_STOPPED: Not tracking
 * @IOMMUFD_DIRTY_STATE_TRACKING: Tracking
 * @IOMMUFD_DIRTY_STATE_FAILED: Tracking is started, but this tracker could not
 *                              start; its policy stands in for it
 * @IOMMUFD_DIRTY_STATE_LOST: It reported that dirty pages were lost; until STOP
 *                            its policy stands in for it
 * @IOMMUFD_DIRTY_STATE_GONE: Its owner unregistered it
 */
enum iommufd_dirty_state {
	IOMMUFD_DIRTY_STATE_STOPPED = 0,
	IOMMUFD_DIRTY_STATE_TRACKING = 1,
	IOMMUFD_DIRTY_STATE_FAILED = 2,
	IOMMUFD_DIRTY_STATE_LOST = 3,
	IOMMUFD_DIRTY_STATE_GONE = 4,
};

#define IOMMUFD_DIRTY_NAME_LEN 64

/**
 * struct iommufd_dirty_tracker_info - ioctl(IOMMUFD_DIRTY_TRACKER_INFO)
 * @size: sizeof(struct iommufd_dirty_tracker_info)
 * @flags: Must be 0
 * @tracker_id: The tracker
 * @out_kind: enum iommufd_dirty_kind
 * @out_state: enum iommufd_dirty_state
 * @out_policy: enum iommufd_dirty_policy
 * @out_caps: Bits of enum iommufd_dirty_caps
 * @out_error: 0, or the negative errno with which it failed or was lost
 * @out_pgsizes: Bitmap of the granules that it supports: bit n is 2^n bytes
 * @out_granule: Bytes, the granule in force; 0 while not tracking
 * @out_max_ranges: Ranges that it can take; 0 is no limit. The kernel joins the
 *                  nearest ranges until they fit
 * @out_nr_ranges: Ranges in force after joining; 0 while not tracking
 * @out_min_span: Bytes that its ranges must cover in total, at least
 * @out_max_span: Bytes that its ranges may cover in total; 0 is no limit
 * @out_memory: Bytes of kernel memory held for it, the residual included
 * @out_cookie: What userspace gave when it bound the tracker
 * @out_name: Name that its owner gave it, NUL-terminated
 *
 * Acknowledges the tracker's trouble: see poll() in
 */
struct iommufd_dirty_tracker_info {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__u32 out_kind;
	__u32 out_state;
	__u32 out_policy;
	__u32 out_caps;
	__s32 out_error;
	__aligned_u64 out_pgsizes;
	__aligned_u64 out_granule;
	__u32 out_max_ranges;
	__u32 out_nr_ranges;
	__aligned_u64 out_min_span;
	__aligned_u64 out_max_span;
	__aligned_u64 out_memory;
	__aligned_u64 out_cookie;
	__u8 out_name[IOMMUFD_DIRTY_NAME_LEN];
};

#define IOMMUFD_DIRTY_TRACKER_INFO \
	_IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_TRACKER_INFO)

/**
 * struct iommufd_dirty_range - A range of the I/O address space
 * @iova: First byte
 * @length: Bytes, not 0; @iova + @length - 1 must not wrap
 */
struct iommufd_dirty_range {
	__aligned_u64 iova;
	__aligned_u64 length;
};

/**
 * enum iommufd_dirty_ranges_flags - Flags of IOMMUFD_DIRTY_RANGES
 * @IOMMUFD_DIRTY_RANGES_REMOVE: Take the ranges away; without it they are added
 * @IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN: What is added while tracking is not
 *                                     reported dirty once
 */
enum iommufd_dirty_ranges_flags {
	IOMMUFD_DIRTY_RANGES_REMOVE = 1 << 0,
	IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN = 1 << 1,
};

/**
 * struct iommufd_dirty_ranges - ioctl(IOMMUFD_DIRTY_RANGES)
 * @size: sizeof(struct iommufd_dirty_ranges)
 * @flags: Bits of enum iommufd_dirty_ranges_flags
 * @nr_ranges: Elements of the array, not 0
 * @range_len: Bytes of an element, at least sizeof(struct iommufd_dirty_range)
 * @ranges_uptr: User pointer to an array of struct iommufd_dirty_range, each
 *               aligned to 4 KiB
 *
 * Add ranges to those that the context tracks, or remove them, before START or
 * while tracking. The whole array takes effect, or nothing. Ranges may overlap
 * each other and existing ones. While tracking, an added range is reported dirty
 * once, because its pages may have been written before. What was harvested from a
 * removed range is still delivered. What was not is dropped: READ or HARVEST the
 * range first.
 *
 * Every tracker is asked first whether it can take the ranges, before any is
 * changed, and a tracker whose ranges do not change is not called. One that must
 * be restarted for them reports all its ranges dirty once, and says so
 * (IOMMUFD_DIRTY_STATUS_OVERREPORTED). After an error every tracker that tracked
 * still tracks what it did, or more; one that would not start again has failed,
 * and the next READ says so.
 */
struct iommufd_dirty_ranges {
	__u32 size;
	__u32 flags;
	__u32 nr_ranges;
	__u32 range_len;
	__aligned_u64 ranges_uptr;
};

#define IOMMUFD_DIRTY_RANGES _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_RANGES)

/**
 * struct iommufd_dirty_list_ranges - ioctl(IOMMUFD_DIRTY_LIST_RANGES)
 * @size: sizeof(struct iommufd_dirty_list_ranges)
 * @flags: Must be 0
 * @nr_ranges: In: elements of the array. Out: ranges that the context tracks,
 *             which may be more than fit into the array
 * @range_len: Bytes of an element, at least sizeof(struct iommufd_dirty_range);
 *             not looked at if @nr_ranges is 0
 * @ranges_uptr: User pointer to an array of struct iommufd_dirty_range; may be
 *               NULL if @nr_ranges is 0
 *
 * Return what the context tracks, in ascending order, with adjacent ranges joined.
 */
struct iommufd_dirty_list_ranges {
	__u32 size;
	__u32 flags;
	__u32 nr_ranges;
	__u32 range_len;
	__aligned_u64 ranges_uptr;
};

#define IOMMUFD_DIRTY_LIST_RANGES \
	_IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_LIST_RANGES)

/**
 * enum iommufd_dirty_start_flags - Flags of IOMMUFD_DIRTY_START
 * @IOMMUFD_DIRTY_START_DRY_RUN: Negotiate and report, but start nothing
 * @IOMMUFD_DIRTY_START_EXACT: ERANGE if a tracker's finest granule is coarser
 *                             than @page_size
 */
enum iommufd_dirty_start_flags {
	IOMMUFD_DIRTY_START_DRY_RUN = 1 << 0,
	IOMMUFD_DIRTY_START_EXACT = 1 << 1,
};

/**
 * struct iommufd_dirty_start_result - What START did with one tracker
 * @tracker_id: The tracker
 * @error: 0, or a negative errno
 * @granule: Bytes per bit agreed on; with ERANGE, the nearest that it can do
 * @nr_ranges: Ranges used, after joining
 * @__reserved: 0
 * @memory: Bytes of kernel memory that tracking takes, as reported by its owner
 * @cookie: What userspace gave when it bound the tracker
 */
struct iommufd_dirty_start_result {
	__u32 tracker_id;
	__s32 error;
	__aligned_u64 granule;
	__u32 nr_ranges;
	__u32 __reserved;
	__aligned_u64 memory;
	__aligned_u64 cookie;
};

/**
 * struct iommufd_dirty_start - ioctl(IOMMUFD_DIRTY_START)
 * @size: sizeof(struct iommufd_dirty_start)
 * @flags: Bits of enum iommufd_dirty_start_flags
 * @page_size: Bytes per bit wanted: a power of two, 4 KiB or more
 * @out_granule: Coarsest of @page_size and the granules agreed on: no dirty
 *               page is reported more precisely than this. With ERANGE, what
 *               would have been possible
 * @nr_results: In: elements of the array. Out: trackers in the context
 * @result_len: Bytes of an element, at least
 *              sizeof(struct iommufd_dirty_start_result); not looked at if
 *              @nr_results is 0
 * @results_uptr: User pointer to an array of struct iommufd_dirty_start_result,
 *                in the order of IOMMUFD_DIRTY_LIST; may be NULL if @nr_results
 *                is 0
 *
 * Trackers with the policy FAIL are started first, so that no other tracker
 * takes a slot that they need.
 *
 * Each tracker gets the coarsest of its granules that is not coarser than
 * @page_size, or else its finest. One that learns only when it is started how fine
 * it can be may get a coarser one, which a dry run cannot know. START is all or
 * nothing: if a tracker with the policy FAIL cannot start, those that had started
 * are stopped and its error is returned; a DRY_RUN returns that error, too. The
 * results and @out_granule are written on failure, too.
 */
struct iommufd_dirty_start {
	__u32 size;
	__u32 flags;
	__aligned_u64 page_size;
	__aligned_u64 out_granule;
	__u32 nr_results;
	__u32 result_len;
	__aligned_u64 results_uptr;
};

#define IOMMUFD_DIRTY_START _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_START)

/**
 * struct iommufd_dirty_stop - ioctl(IOMMUFD_DIRTY_STOP)
 * @size: sizeof(struct iommufd_dirty_stop)
 * @flags: Must be 0
 *
 * End the session: stop every tracker even if one fails, and return the first
 * error. What was not read is dropped, so do a FINAL READ before. Succeeds if the
 * context is not started.
 */
struct iommufd_dirty_stop {
	__u32 size;
	__u32 flags;
};

#define IOMMUFD_DIRTY_STOP _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_STOP)

/**
 * enum iommufd_dirty_read_flags - Flags of IOMMUFD_DIRTY_READ
 * @IOMMUFD_DIRTY_READ_NO_CLEAR: What is reported stays dirty
 * @IOMMUFD_DIRTY_READ_FINAL: The devices are quiesced: neither re-arm nor flush.
 *                            A tracker may report the same pages again later
 * @IOMMUFD_DIRTY_READ_COUNT_ONLY: Only count; no bitmap and no extents are
 *                                 written and nothing is cleared
 * @IOMMUFD_DIRTY_READ_EXTENTS: Write an array of extents instead of bitmaps
 * @IOMMUFD_DIRTY_READ_STRICT: A part of the request that is not tracked or not
 *                             mapped is ENXIO, not a status bit, whatever the
 *                             policy of the tracker that has the hole. What is
 *                             not tracked is detected before anything is read.
 *                             What is not mapped may be detected after bits were
 *                             set: see @out_dirty and the cursor
 */
enum iommufd_dirty_read_flags {
	IOMMUFD_DIRTY_READ_NO_CLEAR = 1 << 0,
	IOMMUFD_DIRTY_READ_FINAL = 1 << 1,
	IOMMUFD_DIRTY_READ_COUNT_ONLY = 1 << 2,
	IOMMUFD_DIRTY_READ_EXTENTS = 1 << 3,
	IOMMUFD_DIRTY_READ_STRICT = 1 << 4,
};

/**
 * enum iommufd_dirty_status - What a READ or HARVEST reports in addition
 * @IOMMUFD_DIRTY_STATUS_HOLE: A part of the request is not mapped or not
 *                             tracked; it reads clean
 * @IOMMUFD_DIRTY_STATUS_IGNORED: A tracker that cannot track was skipped
 * @IOMMUFD_DIRTY_STATUS_ALL_DIRTY: A tracker that cannot track was reported
 *                                  dirty in all its ranges
 * @IOMMUFD_DIRTY_STATUS_MORE: The array of extents is full; the same call again
 *                             continues where this one stopped
 * @IOMMUFD_DIRTY_STATUS_OVERREPORTED: This call may have reported more than was
 *                                     written, beyond what granules and page
 *                                     sizes make of it: for lack of memory, or
 *                                     because a tracker was restarted or bound,
 *                                     or a range added, while tracking.
 *                                     IOMMUFD_DIRTY_STATS has the number of bytes
 */
enum iommufd_dirty_status {
	IOMMUFD_DIRTY_STATUS_HOLE = 1 << 0,
	IOMMUFD_DIRTY_STATUS_IGNORED = 1 << 1,
	IOMMUFD_DIRTY_STATUS_ALL_DIRTY = 1 << 2,
	IOMMUFD_DIRTY_STATUS_MORE = 1 << 3,
	IOMMUFD_DIRTY_STATUS_OVERREPORTED = 1 << 4,
};

/**
 * struct iommufd_dirty_bitmap - A range and the bitmap that belongs to it
 * @iova: First byte, of any alignment
 * @length: Bytes, of any alignment, not 0; @iova + @length - 1 must not wrap
 * @bitmap_uptr: User pointer to the bitmap, of any alignment. Bit n is bit n % 8
 *               of byte n / 8, that is little-endian u64 words. Must be 0 with
 *               COUNT_ONLY and EXTENTS, which have no bitmap
 * @bit_offset: Bit that stands for @iova; bit @bit_offset + (address - @iova) /
 *              page_size stands for address
 *
 * The memory of a bitmap belongs to the call while it lasts: if a page of a file
 * is truncated, punched or discarded meanwhile, the bits that are set in it are
 * lost with the page.
 */
struct iommufd_dirty_bitmap {
	__aligned_u64 iova;
	__aligned_u64 length;
	__aligned_u64 bitmap_uptr;
	__aligned_u64 bit_offset;
};

/**
 * struct iommufd_dirty_read_result - What a READ or HARVEST did with one tracker
 * @tracker_id: The tracker
 * @error: 0, or the negative errno because of which its policy stands in for it
 * @status: Bits of enum iommufd_dirty_status, of this tracker
 * @__reserved: 0
 * @bytes: Bytes of the request that it reported dirty in this call, before the
 *         trackers were merged: in whole granules or IOPTEs, not in pages
 * @cookie: What userspace gave when it bound the tracker
 */
struct iommufd_dirty_read_result {
	__u32 tracker_id;
	__s32 error;
	__u32 status;
	__u32 __reserved;
	__aligned_u64 bytes;
	__aligned_u64 cookie;
};

/**
 * struct iommufd_dirty_read - ioctl(IOMMUFD_DIRTY_READ)
 * @size: sizeof(struct iommufd_dirty_read)
 * @flags: Bits of enum iommufd_dirty_read_flags
 * @tracker_id: The tracker to read; 0 reads them all, merged
 * @nr_ranges: Elements of the array of ranges; 0 is an empty success
 * @ranges_uptr: User pointer to an array of struct iommufd_dirty_bitmap. Elements
 *               may be in any order; in ascending order they need the fewest calls
 *               of a tracker that waits. Where two of them overlap, dirty pages
 *               are reported for one of them
 * @range_len: Bytes of an element, at least sizeof(struct iommufd_dirty_bitmap)
 * @next_range: Cursor: element to continue with
 * @next_offset: Cursor: bytes of that element that are done
 * @next_tracker: Cursor: 0, or the tracker to continue with
 * @nr_results: Elements of the array of results
 * @page_size: Bytes per bit: a power of two, 4 KiB or more; it need not be the
 *             granule of any tracker
 * @extents_uptr: With EXTENTS, user pointer to an array of
 *                struct iommufd_dirty_range that receives the dirty extents,
 *                grown to whole pages of @page_size counted from the range's
 *                iova and cut off at the range's end. For each range they ascend
 *                and do not overlap. After EINTR the next call may repeat a page
 *                larger than 4 KiB (and COUNT_ONLY may count it again). Must
 *                be 0 without EXTENTS
 * @nr_extents: With EXTENTS, elements of that array, not 0; otherwise must be 0
 * @extent_len: With EXTENTS, bytes of an element, at least
 *              sizeof(struct iommufd_dirty_range); otherwise must be 0
 * @results_uptr: User pointer to an array of struct iommufd_dirty_read_result, in
 *                the order of IOMMUFD_DIRTY_LIST; may be NULL if @nr_results is 0
 * @result_len: Bytes of an element, at least
 *              sizeof(struct iommufd_dirty_read_result); not looked at if
 *              @nr_results is 0
 * @out_status: Bits of enum iommufd_dirty_status
 * @out_dirty: Pages of @page_size that this call reported: the bits that it set
 *             and that were not set before, or the pages in the extents, or
 *             the count
 * @out_nr_extents: Extents written by this call, from the array's beginning
 * @out_nr_results: Trackers in the context, which may be more than fit into the
 *                  array of results
 *
 * Collect what was written since the last READ. What it promises:
 *
 *  1. A DMA write that completed before the call is in this result or in an
 *     earlier one; a concurrent write is in this one or in the next.
 *  2. Nothing leaves a tracker undelivered: after any error, what was taken out
 *     of a tracker is in the bitmap, or the next READ delivers it.
 *  3. Any alignment and any sub-range; no bit outside the request is changed.
 *  4. Bits are ORed in atomically. Coarser trackers are expanded, finer ones
 *     are coalesced.
 *  5. It returns after the IOTLB or firmware sync; one FINAL read after the
 *     devices are quiesced is complete.
 *  6. A merged read is one system call, not a snapshot across trackers.
 *  7. What is not tracked reads clean and sets a status bit.
 *
 * If a tracker whose policy is ALL_DIRTY is lost in the middle of a round, the
 * round begins again by itself; then extents may be reported twice.
 *
 * The out fields are written on error, too: take what this call reported, then
 * continue with the cursor (see "General ioctl format"). A call that could not
 * even begin (EINTR while another call is using the context) reports nothing: set
 * @out_dirty and @out_nr_extents to 0 before the first one.
 * @out_nr_extents to 0 before the first one.
 */
struct iommufd_dirty_read {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__u32 nr_ranges;
	__aligned_u64 ranges_uptr;
	__u32 range_len;
	__u32 next_range;
	__aligned_u64 next_offset;
	__u32 next_tracker;
	__u32 nr_results;
	__aligned_u64 page_size;
	__aligned_u64 extents_uptr;
	__u32 nr_extents;
	__u32 extent_len;
	__aligned_u64 results_uptr;
	__u32 result_len;
	__u32 out_status;
	__aligned_u64 out_dirty;
	__u32 out_nr_extents;
	__u32 out_nr_results;
};

#define IOMMUFD_DIRTY_READ _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_READ)

/**
 * struct iommufd_dirty_clear - ioctl(IOMMUFD_DIRTY_CLEAR)
 * @size: sizeof(struct iommufd_dirty_clear)
 * @flags: Must be 0
 * @tracker_id: The tracker to clear; 0 clears them all
 * @nr_ranges: Elements of the array
 * @ranges_uptr: User pointer to an array of struct iommufd_dirty_bitmap
 * @range_len: Bytes of an element, at least sizeof(struct iommufd_dirty_bitmap)
 * @next_range: Cursor: element to continue with
 * @next_offset: Cursor: bytes of that element that are done
 * @next_tracker: Cursor: 0, or the tracker to continue with
 * @out_status: Bits of enum iommufd_dirty_status
 * @page_size: Bytes per bit: a power of two, 4 KiB or more
 *
 * Clear exactly the pages whose bits are set, as KVM_CLEAR_DIRTY_LOG does, after
 * a READ with NO_CLEAR: clear first, then copy the page. Each page of bitmap
 * takes one call of each tracker, however its bits are scattered. On an error
 * some of the pages may still be dirty, but no page that was not asked for is
 * clean.
 */
struct iommufd_dirty_clear {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__u32 nr_ranges;
	__aligned_u64 ranges_uptr;
	__u32 range_len;
	__u32 next_range;
	__aligned_u64 next_offset;
	__u32 next_tracker;
	__u32 out_status;
	__aligned_u64 page_size;
};

#define IOMMUFD_DIRTY_CLEAR _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_CLEAR)

/**
 * struct iommufd_dirty_harvest - ioctl(IOMMUFD_DIRTY_HARVEST)
 * @size: sizeof(struct iommufd_dirty_harvest)
 * @flags: Must be 0
 * @tracker_id: The tracker; 0 is all that have IOMMUFD_DIRTY_CAP_UNMAP_DROPS
 * @nr_ranges: Elements of the array
 * @ranges_uptr: User pointer to an array of struct iommufd_dirty_range, of any
 *               alignment
 * @range_len: Bytes of an element, at least sizeof(struct iommufd_dirty_range)
 * @next_range: Cursor: element to continue with
 * @next_offset: Cursor: bytes of that element that are done
 * @next_tracker: Cursor: 0, or the tracker to continue with
 * @out_status: Bits of enum iommufd_dirty_status
 *
 * Take what is dirty in the ranges out of page tables that are about to lose it.
 * Call this before the ranges are unmapped; the next READ of these addresses
 * delivers it, whatever is tracked then. If a tracker fails, the whole range is
 * kept as dirty for it, whatever its policy. If the policy is FAIL, its error is
 * returned.
 *
 * Do not use it for an address that may be mapped to another page before the next
 * READ, as in a guest with a vIOMMU: what is kept would be reported for that page.
 * In that case READ the range before the unmap.
 */
struct iommufd_dirty_harvest {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__u32 nr_ranges;
	__aligned_u64 ranges_uptr;
	__u32 range_len;
	__u32 next_range;
	__aligned_u64 next_offset;
	__u32 next_tracker;
	__u32 out_status;
};

#define IOMMUFD_DIRTY_HARVEST \
	_IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_HARVEST)

/**
 * struct iommufd_dirty_set_policy - ioctl(IOMMUFD_DIRTY_SET_POLICY)
 * @size: sizeof(struct iommufd_dirty_set_policy)
 * @flags: Must be 0
 * @tracker_id: The tracker
 * @policy: enum iommufd_dirty_policy; FAIL is EINVAL for an untracked member
 *
 * Change a tracker's policy, at any time. Acknowledges its trouble, as
 * IOMMUFD_DIRTY_TRACKER_INFO does.
 */
struct iommufd_dirty_set_policy {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__u32 policy;
};

#define IOMMUFD_DIRTY_SET_POLICY \
	_IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_SET_POLICY)

/**
 * struct iommufd_dirty_stats - ioctl(IOMMUFD_DIRTY_STATS)
 * @size: sizeof(struct iommufd_dirty_stats)
 * @flags: Must be 0
 * @tracker_id: The tracker; 0 is the context as a whole
 * @out_last_error: Negative errno of the last failed read; 0 if none
 * @out_reads: Reads since it was bound (of the context: READ calls)
 * @out_errors: Reads that failed
 * @out_extents: Dirty extents that it recorded (of the context: of all trackers)
 * @out_last_read_ns: Nanoseconds that the last read took
 * @out_max_read_ns: Nanoseconds that the longest read took
 * @out_memory: Bytes of kernel memory held (of the context: of all trackers, and
 *              its own)
 * @out_bitmap_bytes: The part of @out_memory that is bitmaps
 * @out_residual_bytes: Bytes of I/O address space that are dirty in the residual
 * @out_residual_memory: The part of @out_memory that is the residual
 * @out_overreported: Bytes of I/O address space that were reported dirty in this
 *                    session, or will be, and that may not have been written, see
 *                    IOMMUFD_DIRTY_STATUS_OVERREPORTED
 * @out_cookie: What userspace gave when it bound the tracker; 0 for the context
 */
struct iommufd_dirty_stats {
	__u32 size;
	__u32 flags;
	__u32 tracker_id;
	__s32 out_last_error;
	__aligned_u64 out_reads;
	__aligned_u64 out_errors;
	__aligned_u64 out_extents;
	__aligned_u64 out_last_read_ns;
	__aligned_u64 out_max_read_ns;
	__aligned_u64 out_memory;
	__aligned_u64 out_bitmap_bytes;
	__aligned_u64 out_residual_bytes;
	__aligned_u64 out_residual_memory;
	__aligned_u64 out_overreported;
	__aligned_u64 out_cookie;
};

#define IOMMUFD_DIRTY_STATS _IO(IOMMUFD_DIRTY_TYPE, IOMMUFD_DIRTY_CMD_STATS)

/*
 * VFIO_DEVICE_FEATURE for a VFIO device whose driver has a dirty tracker; the
 * number leaves a gap after those of linux/vfio.h.
 *
 * SET binds the device's tracker to a context: whoever holds the device decides,
 * holding a context grants nothing. PROBE reports whether the device has a
 * tracker. EBUSY: it is in a context already, or VFIO's own DMA logging is
 * started. EXDEV: the device is in another I/O address space than the context's
 * trackers, or in no iommufd.
 */
#define VFIO_DEVICE_FEATURE_DIRTY_TRACKER 64

/**
 * struct vfio_device_feature_dirty_tracker - data of the feature above
 * @context_fd: File descriptor of a /dev/iommufd-dirty
 * @policy: enum iommufd_dirty_policy
 * @out_tracker_id: Id of the tracker in that context, never 0
 * @flags: Bits of enum iommufd_dirty_bind_flags
 * @cookie: Any value; returned with all that is reported about this tracker
 */
struct vfio_device_feature_dirty_tracker {
	__s32 context_fd;
	__u32 policy;
	__u32 out_tracker_id;
	__u32 flags;
	__aligned_u64 cookie;
};

#endif
