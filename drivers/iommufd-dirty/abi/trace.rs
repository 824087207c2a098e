// SPDX-License-Identifier: GPL-2.0

//! Tracepoints, see `abi/trace.h`. `context` and `tracker` are ids; a tracker 0 is all of them.

use super::bindings;
use crate::logic::range::Range;
use kernel::prelude::*;

fn errno(result: Result) -> i32 {
    result.map_or_else(|e| e.to_errno(), |()| 0)
}

/// A tracker was asked to start with `granule` bytes per bit and `nr_ranges` ranges.
pub(crate) fn start(context: u32, tracker: u32, granule: u64, nr_ranges: u32, result: Result) {
    // SAFETY: The function takes integers only.
    unsafe {
        bindings::iommufd_dirty_trace_start(context, tracker, granule, nr_ranges, errno(result))
    }
}

/// A tracker was stopped.
pub(crate) fn stop(context: u32, tracker: u32, result: Result) {
    // SAFETY: The function takes integers only.
    unsafe { bindings::iommufd_dirty_trace_stop(context, tracker, errno(result)) }
}

/// A tracker was read: it recorded `extents` extents in `ns` nanoseconds.
pub(crate) fn read(
    context: u32,
    tracker: u32,
    range: Range,
    extents: u64,
    ns: u64,
    result: Result,
) {
    // SAFETY: The function takes integers only.
    unsafe {
        bindings::iommufd_dirty_trace_read(
            context,
            tracker,
            range.first(),
            range.length(),
            extents,
            ns,
            errno(result),
        )
    }
}

/// A tracker told that dirt was lost. From any context.
pub(crate) fn lost(context: u32, tracker: u32, error: Error) {
    // SAFETY: The function takes integers only.
    unsafe { bindings::iommufd_dirty_trace_lost(context, tracker, error.to_errno()) }
}
