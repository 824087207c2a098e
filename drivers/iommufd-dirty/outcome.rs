// SPDX-License-Identifier: GPL-2.0

//! What came of reading a tracker.

use crate::logic::range::Range;
use kernel::prelude::*;

/// In one call, in a scan, or in an ioctl: `struct iommufd_dirty_read_result`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// Why its policy stands in for it: the first reason.
    pub(crate) error: Option<Error>,
    /// `IOMMUFD_DIRTY_STATUS_*`
    pub(crate) status: u32,
    /// Dirty bytes that were delivered.
    pub(crate) bytes: u64,
    /// Bits set that were not set before.
    pub(crate) fresh: u64,
    /// A signal ended it.
    pub(crate) interrupted: bool,
    /// STRICT found a hole in it.
    pub(crate) refused: bool,
}

impl Outcome {
    /// And `more` came of it.
    pub(crate) fn add(&mut self, more: &Self) {
        self.error = self.error.or(more.error);
        self.status |= more.status;
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.fresh = self.fresh.saturating_add(more.fresh);
        self.interrupted |= more.interrupted;
        self.refused |= more.refused;
    }

    /// `dirty` was delivered, which set `fresh` bits.
    pub(crate) fn delivered(&mut self, dirty: Range, fresh: u64) {
        self.bytes = self.bytes.saturating_add(dirty.length());
        self.fresh = self.fresh.saturating_add(fresh);
    }
}
