// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the module that must be C: symbol exports, tracepoints, and
 * inline functions of the kernel that its Rust bindings lack.
 */
#include <linux/anon_inodes.h>
#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "glue.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Apart, because this module loads where there is no VFIO, too. */
MODULE_SOFTDEP("post: iommufd-dirty-vfio");

/**
 * iommufd_dirty_tracker_register() - Offer a tracker to contexts
 * @tracker: Filled in by the caller; stays valid until
 *           iommufd_dirty_tracker_unregister() returns
 *
 * Context: Process context, may sleep.
 *
 * Return: 0; -EINVAL if a field or an op that must be there is not; -ENOMEM.
 */
int iommufd_dirty_tracker_register(struct iommufd_dirty_tracker *tracker)
{
	return iommufd_dirty_rs_register(tracker);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_tracker_register, "IOMMUFD_DIRTY");

/**
 * iommufd_dirty_tracker_unregister() - Take a tracker back
 * @tracker: Registered
 *
 * Waits for calls of its ops under way, stops it if it is started, and calls no
 * op again. A context that it is bound to sees it as gone (-ESHUTDOWN, or what
 * its policy says) and gets EPOLLPRI.
 *
 * Context: Process context, may sleep. Not from one of the tracker's own ops.
 */
void iommufd_dirty_tracker_unregister(struct iommufd_dirty_tracker *tracker)
{
	iommufd_dirty_rs_unregister(tracker);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_tracker_unregister, "IOMMUFD_DIRTY");

/**
 * iommufd_dirty_tracker_lost() - Tell that dirt was or may be lost
 * @tracker: Registered
 * @error: Negative errno that userspace sees
 *
 * From now until it is stopped the tracker is not read any more; its policy
 * stands in for it. A READ that is under way sees it, too. poll() of the context
 * gives EPOLLPRI and EPOLLIN. Ignored while the tracker is not started.
 *
 * Context: Any.
 */
void iommufd_dirty_tracker_lost(struct iommufd_dirty_tracker *tracker, int error)
{
	iommufd_dirty_rs_lost(tracker, error);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_tracker_lost, "IOMMUFD_DIRTY");

/**
 * iommufd_dirty_bind() - Put a tracker into a context
 * @tracker: Registered
 * @context_fd: File descriptor of a /dev/iommufd-dirty, of the current task
 * @flags: Bits of enum iommufd_dirty_bind_flags, straight from userspace
 * @policy: enum iommufd_dirty_policy, straight from userspace
 * @cookie: Straight from userspace
 *
 * For the driver's own uAPI, as with VFIO_DEVICE_FEATURE_DIRTY_TRACKER: who
 * holds the device decides.
 *
 * Context: Process context of the task that made the request, may sleep.
 *
 * Return: the tracker's id in that context, greater than 0; -EBADF if
 * @context_fd is not a context; -EBUSY if the tracker is in a context; -EXDEV
 * for another address space; -ENOSPC; -EOPNOTSUPP for an unknown flag or
 * policy; -ESHUTDOWN if @tracker is being unregistered; -ENOMEM;
 * -EINTR; while the context is started, what @start of the tracker returns.
 */
int iommufd_dirty_bind(struct iommufd_dirty_tracker *tracker, int context_fd,
		       u32 flags, u32 policy, u64 cookie)
{
	return iommufd_dirty_rs_bind(tracker, context_fd, flags, policy, cookie);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_bind, "IOMMUFD_DIRTY");

/**
 * iommufd_dirty_sink_record() - Record a dirty extent
 * @sink: As it was given to the op
 * @iova: First byte
 * @length: Bytes; 0 is nothing, and what would wrap is cut
 *
 * Cannot fail: what does not belong to the request, or cannot be stored, is kept
 * by the core. Ascending order is fastest.
 *
 * Context: From the op that was given @sink, in the task that runs it. May
 * sleep.
 */
void iommufd_dirty_sink_record(struct iommufd_dirty_sink *sink, u64 iova,
			       u64 length)
{
	iommufd_dirty_rs_record(sink, iova, length, false);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_sink_record, "IOMMUFD_DIRTY");

/**
 * iommufd_dirty_sink_record_unsure() - Record an extent that may be dirty
 * @sink: As it was given to the op
 * @iova: First byte
 * @length: Bytes; 0 is nothing, and what would wrap is cut
 *
 * As iommufd_dirty_sink_record(), for what a tracker reports for want of memory,
 * or of knowledge, and not because it was written. It is reported to userspace
 * (IOMMUFD_DIRTY_STATUS_OVERREPORTED). That a granule or an IOPTE is coarser
 * than what was written is no reason.
 *
 * Context: As iommufd_dirty_sink_record().
 */
void iommufd_dirty_sink_record_unsure(struct iommufd_dirty_sink *sink, u64 iova,
				      u64 length)
{
	iommufd_dirty_rs_record(sink, iova, length, true);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_sink_record_unsure, "IOMMUFD_DIRTY");

/**
 * iommufd_dirty_sink_interrupted() - Must an op end because of a signal?
 * @sink: As it was given to the op
 *
 * An op that waits for its hardware more than once asks this between two waits.
 * If it is true it returns -EINTR, with what it has cleared recorded as after any
 * error. Userspace gets EINTR, and the op is called again for all of it when the
 * system call is made again. The op may run in another task than the caller's:
 * signal_pending(current) does not tell.
 *
 * Context: As iommufd_dirty_sink_record().
 * Return: true if a signal is pending for the task that made the system call, and
 * either it kills the task or the op has had its time.
 */
bool iommufd_dirty_sink_interrupted(struct iommufd_dirty_sink *sink)
{
	return iommufd_dirty_rs_interrupted(sink);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_sink_interrupted, "IOMMUFD_DIRTY");

bool iommufd_dirty_killed(struct task_struct *task)
{
	return fatal_signal_pending(task);
}

struct workqueue_struct *iommufd_dirty_alloc_workqueue(void)
{
	return alloc_workqueue("iommufd-dirty", WQ_UNBOUND, 0);
}

struct file *iommufd_dirty_anon_file(const struct file_operations *fops,
				     void *private_data)
{
	return anon_inode_getfile("[iommufd-dirty]", fops, private_data, O_RDWR);
}

struct mem_cgroup *iommufd_dirty_memcg_get(void)
{
	return get_mem_cgroup_from_mm(current->mm);
}

void iommufd_dirty_memcg_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

struct mem_cgroup *iommufd_dirty_memcg_enter(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

void iommufd_dirty_memcg_leave(struct mem_cgroup *old)
{
	set_active_memcg(old);
}

void iommufd_dirty_trace_start(u32 context, u32 tracker, u64 cookie,
			       u64 granule, u32 nr_ranges, int error)
{
	trace_iommufd_dirty_start(context, tracker, cookie, granule, nr_ranges,
				  error);
}

void iommufd_dirty_trace_stop(u32 context, u32 tracker, u64 cookie, int error)
{
	trace_iommufd_dirty_stop(context, tracker, cookie, error);
}

void iommufd_dirty_trace_read(u32 context, u32 tracker, u64 cookie, u64 iova,
			      u64 length, u64 extents, u64 ns, int error)
{
	trace_iommufd_dirty_read(context, tracker, cookie, iova, length,
				 extents, ns, error);
}

void iommufd_dirty_trace_lost(u32 context, u32 tracker, u64 cookie, int error)
{
	trace_iommufd_dirty_lost(context, tracker, cookie, error);
}
