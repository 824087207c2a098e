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
        window::{
            Bits,
            Window, //
        }, //
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
    /// Bits that are recorded and not yet set: those of one word, because pages that are dirty often
    /// share one, and to set it costs more than to record a page.
    pub(crate) word: usize,
    pub(crate) mask: u64,
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
        if self.part.contains(&dirty) {
            self.deliver(dirty);
        } else {
            self.deliver_partly(dirty);
        }
    }

    fn deliver(&mut self, inside: Range) {
        match self.into {
            Target::Bitmap(_, window) => {
                let Some(bits) = window.bits(inside) else {
                    return;
                };
                match bits.in_one_word() {
                    Some((word, mask)) if word == self.word => self.mask |= mask,
                    Some((word, mask)) => {
                        self.flush();
                        (self.word, self.mask) = (word, mask);
                    }
                    None => self.set(bits),
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

    #[inline(never)]
    fn set(&mut self, bits: Bits) {
        if let Target::Bitmap(pages, _) = self.into {
            self.fresh = self.fresh.saturating_add(pages.set(bits));
        }
    }

    /// Sets the bits that are not set yet: after the tracker has returned, whatever it returned.
    #[inline(never)]
    pub(crate) fn flush(&mut self) {
        if self.mask == 0 {
            return;
        }
        if let Target::Bitmap(pages, _) = self.into {
            let fresh = pages.set_in_word(self.word, self.mask);
            self.fresh = self.fresh.saturating_add(fresh);
        }
        self.mask = 0;
    }

    #[cold]
    fn deliver_partly(&mut self, dirty: Range) {
        if let Some(inside) = dirty.intersect(self.part) {
            self.deliver(inside);
        }
        let Some(residual) = &mut self.residual else {
            return;
        };
        let (before, after) = dirty.minus(self.part);
        for outside in [before, after].into_iter().flatten() {
            for range in self.tracked.within(outside) {
                residual.insert(range);
            }
        }
    }
}
