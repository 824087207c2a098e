/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust part of the module takes from C: read by bindgen. Functions of
 * the kernel that are not here come from the kernel crate's own bindings.
 */
#ifndef __IOMMUFD_DIRTY_GLUE_H
#define __IOMMUFD_DIRTY_GLUE_H

#include <linux/iommufd.h>
#include <linux/iommufd_dirty.h>

struct file;
struct file_operations;
struct mem_cgroup;
struct task_struct;
struct workqueue_struct;

/* linux/sched/mm.h and linux/memcontrol.h have these inline only. */
struct mem_cgroup *iommufd_dirty_memcg_get(void);
void iommufd_dirty_memcg_put(struct mem_cgroup *memcg);
struct mem_cgroup *iommufd_dirty_memcg_enter(struct mem_cgroup *memcg);
void iommufd_dirty_memcg_leave(struct mem_cgroup *old);

/* linux/sched/signal.h has it inline only. */
bool iommufd_dirty_killed(struct task_struct *task);

/* A macro. */
struct workqueue_struct *iommufd_dirty_alloc_workqueue(void);

/* A file of @fops that is no file of a file system. */
struct file *iommufd_dirty_anon_file(const struct file_operations *fops,
				     void *private_data);

/* Tracepoints: declare_trace!() sees those of the kernel proper only. */
void iommufd_dirty_trace_start(u32 context, u32 tracker, u64 cookie,
			       u64 granule, u32 nr_ranges, int error);
void iommufd_dirty_trace_stop(u32 context, u32 tracker, u64 cookie, int error);
void iommufd_dirty_trace_read(u32 context, u32 tracker, u64 cookie, u64 iova,
			      u64 length, u64 extents, u64 ns, int error);
void iommufd_dirty_trace_lost(u32 context, u32 tracker, u64 cookie, int error);

/* EXPORT_SYMBOL() of Rust functions: the C part calls these. */
int iommufd_dirty_rs_register(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_rs_unregister(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_rs_lost(struct iommufd_dirty_tracker *tracker, int error);
int iommufd_dirty_rs_bind(struct iommufd_dirty_tracker *tracker, int context_fd,
			  u32 flags, u32 policy, u64 cookie);
void iommufd_dirty_rs_record(struct iommufd_dirty_sink *sink, u64 iova,
			     u64 length, bool unsure);
bool iommufd_dirty_rs_interrupted(struct iommufd_dirty_sink *sink);

#endif
