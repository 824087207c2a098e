// SPDX-License-Identifier: GPL-2.0

//! What reads cost.

use kernel::prelude::*;

/// Counted for each tracker, and for the context.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) reads: u64,
    pub(crate) errors: u64,
    pub(crate) extents: u64,
    pub(crate) last_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) last_error: i32,
}

impl Stats {
    /// A read took `ns` nanoseconds, and recorded `extents` extents.
    pub(crate) fn count(&mut self, ns: u64, extents: u64, result: Result) {
        self.reads = self.reads.saturating_add(1);
        self.extents = self.extents.saturating_add(extents);
        self.last_ns = ns;
        self.max_ns = self.max_ns.max(ns);
        if let Err(e) = result {
            self.errors = self.errors.saturating_add(1);
            self.last_error = e.to_errno();
        }
    }
}
