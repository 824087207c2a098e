// SPDX-License-Identifier: GPL-2.0

//! Where dirt goes that a tracker found.
//!
//! A tracker records extents as it finds them, in whole IOPTEs or granules, which need not end where
//! the request ends. What lies in the part that is being read goes where the reader wants it; the
//! rest, unless the tracker still has it, goes to the member's residual. Nothing is dropped but what
//! the context does not track.

use crate::{
    abi::pages::Pages,
    logic::{
        extents::Extents,
        range::Range,
        range_set::RangeSet,
        window::Window, //
    }, //
};

/// Where the dirt of the part that is being read goes.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Into the user's bitmap, of which the pages of this window are pinned.
    Bitmap(&'a Pages, &'a Window),
    /// Into the member's residual.
    Residual,
    /// Into the member's scratch, where it does not count as taken.
    Scratch,
    /// Nowhere: the user asked for it to be clean.
    Nowhere,
}

/// `struct iommufd_dirty_sink`: lent to a tracker for one call.
pub(crate) struct Sink<'a> {
    /// The part that is being read.
    pub(crate) part: Range,
    pub(crate) into: Target<'a>,
    /// What the context tracks.
    pub(crate) tracked: &'a RangeSet,
    /// Takes what lies outside of `part`; `None` if the tracker clears nothing.
    pub(crate) residual: Option<&'a mut Extents>,
    pub(crate) scratch: &'a mut Extents,
    /// Recorded and not yet written: trackers record page after page, and a run costs as much as a
    /// page.
    pub(crate) run: Option<Range>,
    /// Extents recorded.
    pub(crate) extents: u64,
    /// Bits set that were not set before.
    pub(crate) fresh: u64,
}

impl Sink<'_> {
    /// Records the `length` bytes from `iova` on. What would wrap is cut.
    pub(crate) fn record(&mut self, iova: u64, length: u64) {
        let Some(more) = length.checked_sub(1) else {
            return;
        };
        let Some(dirty) = Range::inclusive(iova, iova.saturating_add(more)) else {
            return;
        };
        self.extents = self.extents.saturating_add(1);
        match self.run {
            Some(run) if run.touches(dirty) => self.run = Some(run.hull(dirty)),
            _ => {
                self.flush();
                self.run = Some(dirty);
            }
        }
    }

    /// Writes what is recorded: after the tracker has returned, whatever it returned.
    pub(crate) fn flush(&mut self) {
        let Some(run) = self.run.take() else { return };
        if let Some(inside) = run.intersect(self.part) {
            match self.into {
                Target::Bitmap(pages, window) => {
                    if let Some(bits) = window.bits(inside) {
                        self.fresh = self.fresh.saturating_add(pages.set(bits));
                    }
                }
                Target::Residual => {
                    if let Some(residual) = &mut self.residual {
                        residual.insert(inside);
                    }
                }
                Target::Scratch => self.scratch.insert(inside),
                Target::Nowhere => (),
            }
        }
        let Some(residual) = &mut self.residual else {
            return;
        };
        let (before, after) = run.minus(self.part);
        for outside in [before, after].into_iter().flatten() {
            for range in self.tracked.within(outside) {
                residual.insert(range);
            }
        }
    }
}
