// SPDX-License-Identifier: GPL-2.0

//! Tracepoints, see `abi/trace.h`.

use super::bindings;
use crate::logic::range::Range;
use kernel::prelude::*;

/// The tracker that an event is about.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    /// The context's number.
    pub(crate) context: u32,
    /// The tracker's id there.
    pub(crate) tracker: u32,
    /// What userspace gave when it bound the tracker.
    pub(crate) cookie: u64,
}

fn errno(result: Result) -> i32 {
    result.map_or_else(|e| e.to_errno(), |()| 0)
}

/// A tracker was asked to start with `granule` bytes per bit and `nr_ranges` ranges.
pub(crate) fn start(who: Who, granule: u64, nr_ranges: u32, result: Result) {
    let error = errno(result);
    // SAFETY: The function takes integers only.
    unsafe {
        bindings::iommufd_dirty_trace_start(
            who.context,
            who.tracker,
            who.cookie,
            granule,
            nr_ranges,
            error,
        )
    }
}

/// A tracker was stopped.
pub(crate) fn stop(who: Who, result: Result) {
    let error = errno(result);
    // SAFETY: The function takes integers only.
    unsafe { bindings::iommufd_dirty_trace_stop(who.context, who.tracker, who.cookie, error) }
}

/// A tracker was read: it recorded `extents` extents in `ns` nanoseconds.
pub(crate) fn read(who: Who, range: Range, extents: u64, ns: u64, result: Result) {
    let error = errno(result);
    // SAFETY: The function takes integers only.
    unsafe {
        bindings::iommufd_dirty_trace_read(
            who.context,
            who.tracker,
            who.cookie,
            range.first(),
            range.length(),
            extents,
            ns,
            error,
        )
    }
}

/// A tracker reported that dirty pages were lost. From any context.
pub(crate) fn lost(who: Who, error: Error) {
    let error = error.to_errno();
    // SAFETY: The function takes integers only.
    unsafe { bindings::iommufd_dirty_trace_lost(who.context, who.tracker, who.cookie, error) }
}
