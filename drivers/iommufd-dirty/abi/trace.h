/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommufd_dirty

#if !defined(__IOMMUFD_DIRTY_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define __IOMMUFD_DIRTY_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(iommufd_dirty_start,
	TP_PROTO(u32 context, u32 tracker, u64 cookie, u64 granule,
		 u32 nr_ranges, int error),
	TP_ARGS(context, tracker, cookie, granule, nr_ranges, error),
	TP_STRUCT__entry(
		__field(u32, context)
		__field(u32, tracker)
		__field(u64, cookie)
		__field(u64, granule)
		__field(u32, nr_ranges)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->context = context;
		__entry->tracker = tracker;
		__entry->cookie = cookie;
		__entry->granule = granule;
		__entry->nr_ranges = nr_ranges;
		__entry->error = error;
	),
	TP_printk("context=%u tracker=%u cookie=%#llx granule=%#llx ranges=%u error=%d",
		  __entry->context, __entry->tracker, __entry->cookie,
		  __entry->granule, __entry->nr_ranges, __entry->error)
);

DECLARE_EVENT_CLASS(iommufd_dirty_event,
	TP_PROTO(u32 context, u32 tracker, u64 cookie, int error),
	TP_ARGS(context, tracker, cookie, error),
	TP_STRUCT__entry(
		__field(u32, context)
		__field(u32, tracker)
		__field(u64, cookie)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->context = context;
		__entry->tracker = tracker;
		__entry->cookie = cookie;
		__entry->error = error;
	),
	TP_printk("context=%u tracker=%u cookie=%#llx error=%d", __entry->context,
		  __entry->tracker, __entry->cookie, __entry->error)
);

DEFINE_EVENT(iommufd_dirty_event, iommufd_dirty_stop,
	TP_PROTO(u32 context, u32 tracker, u64 cookie, int error),
	TP_ARGS(context, tracker, cookie, error)
);

DEFINE_EVENT(iommufd_dirty_event, iommufd_dirty_lost,
	TP_PROTO(u32 context, u32 tracker, u64 cookie, int error),
	TP_ARGS(context, tracker, cookie, error)
);

TRACE_EVENT(iommufd_dirty_read,
	TP_PROTO(u32 context, u32 tracker, u64 cookie, u64 iova, u64 length,
		 u64 extents, u64 ns, int error),
	TP_ARGS(context, tracker, cookie, iova, length, extents, ns, error),
	TP_STRUCT__entry(
		__field(u32, context)
		__field(u32, tracker)
		__field(u64, cookie)
		__field(u64, iova)
		__field(u64, length)
		__field(u64, extents)
		__field(u64, ns)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->context = context;
		__entry->tracker = tracker;
		__entry->cookie = cookie;
		__entry->iova = iova;
		__entry->length = length;
		__entry->extents = extents;
		__entry->ns = ns;
		__entry->error = error;
	),
	TP_printk("context=%u tracker=%u cookie=%#llx iova=%#llx length=%#llx extents=%llu ns=%llu error=%d",
		  __entry->context, __entry->tracker, __entry->cookie,
		  __entry->iova, __entry->length, __entry->extents, __entry->ns,
		  __entry->error)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
