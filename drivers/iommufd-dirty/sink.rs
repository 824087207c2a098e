// SPDX-License-Identifier: GPL-2.0

//! Where the dirty extents go that a tracker found.
//!
//! A tracker records extents as it finds them, in whole IOPTEs or granules, which need not end
//! where the request ends, and one call may cover several windows of it. What lies in the request
//! goes where the reader wants it; the rest, unless the tracker still has it, goes to the member's
//! residual. Nothing is dropped but what the context does not track.

use crate::{
    abi::pinned_pages::{
        PinnedPages,
        LINE_WORDS, //
    },
    logic::{
        batch::{
            Batch,
            Locator,
            Slot, //
        },
        bits::{
            one_word,
            Bits, //
        },
        extents::Extents,
        range::Range,
        range_set::RangeSet, //
    },
    patience::Patience, //
};

/// What is asked for, and where it goes.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Into the user's bitmaps, of which the pages of these windows are pinned.
    Bitmap(&'a PinnedPages, &'a Batch),
    /// Into the member's residual.
    Residual(Range),
    /// To what the member keeps whatever is tracked later.
    Harvest(Range),
    /// Into the member's scratch, where it does not count as taken.
    Scratch(Range),
}

impl Target<'_> {
    /// From the first to the last byte that is asked for; `None` if that is nothing.
    pub(crate) fn hull(&self) -> Option<Range> {
        match self {
            Self::Bitmap(_, batch) => batch.hull(),
            Self::Residual(range) | Self::Harvest(range) | Self::Scratch(range) => Some(*range),
        }
    }

    /// Part number `at` of what is asked for; `None` if there are no more.
    pub(crate) fn part(&self, at: usize) -> Option<Range> {
        match self {
            Self::Bitmap(_, batch) => batch.slots().get(at).map(|slot| slot.window.range),
            Self::Residual(range) | Self::Harvest(range) | Self::Scratch(range) => {
                (at == 0).then_some(*range)
            }
        }
    }
}

/// `struct iommufd_dirty_sink`: lent to a tracker for one call.
pub(crate) struct Sink<'a> {
    into: Target<'a>,
    pub(crate) patience: &'a Patience<'a>,
    /// What the context tracks.
    tracked: &'a RangeSet,
    /// Takes what was not asked for; `None` if the tracker clears nothing.
    residual: Option<&'a mut Extents>,
    harvested: &'a mut Extents,
    scratch: &'a mut Extents,
    /// Most extents lie in the same part as the one before.
    near: Option<Near>,
    /// Bits that are recorded and not yet set: those of one line, because pages that are dirty
    /// often share one, and to set bits costs more than to record a page.
    line: usize,
    masks: [u64; LINE_WORDS],
    /// Of what is being recorded it is not known whether it was written.
    unsure: bool,
    pub(crate) counts: Counts,
}

/// A part of what is tracked and asked for.
#[derive(Clone, Copy)]
struct Near {
    range: Range,
    /// Its bits; `None` if there is no bitmap.
    bits: Option<Locator>,
}

/// What a sink has seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Extents recorded.
    pub(crate) extents: u64,
    /// Bytes of what was asked for.
    pub(crate) bytes: u64,
    /// Bytes of which nobody knows whether they were written.
    pub(crate) unsure: u64,
    /// Bits set that were not set before.
    pub(crate) fresh: u64,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        into: Target<'a>,
        patience: &'a Patience<'a>,
        tracked: &'a RangeSet,
        residual: Option<&'a mut Extents>,
        harvested: &'a mut Extents,
        scratch: &'a mut Extents,
    ) -> Self {
        Self {
            into,
            patience,
            tracked,
            residual,
            harvested,
            scratch,
            near: None,
            line: 0,
            masks: [0; LINE_WORDS],
            unsure: false,
            counts: Counts::default(),
        }
    }

    /// Records the `length` bytes from `iova` on. What would wrap is cut.
    pub(crate) fn record(&mut self, iova: u64, length: u64) {
        let Some(more) = length.checked_sub(1) else {
            return;
        };
        let Some(dirty) = Range::inclusive(iova, iova.saturating_add(more)) else {
            return;
        };
        self.counts.extents = self.counts.extents.saturating_add(1);
        match self.near {
            Some(near) if near.range.contains(&dirty) => self.deliver(dirty, near),
            _ => self.scatter(dirty),
        }
    }

    /// As [`Self::record`], and it is not known whether the bytes were written.
    pub(crate) fn record_unsure(&mut self, iova: u64, length: u64) {
        let before = self.counts.bytes;
        self.unsure = true;
        self.record(iova, length);
        self.unsure = false;
        // What is in a residual is counted there.
        if matches!(self.into, Target::Bitmap(..) | Target::Scratch(_)) {
            let bytes = self.counts.bytes.saturating_sub(before);
            self.counts.unsure = self.counts.unsure.saturating_add(bytes);
        }
    }

    /// `inside` is in `near`.
    #[inline]
    fn deliver(&mut self, inside: Range, near: Near) {
        self.counts.bytes = self.counts.bytes.saturating_add(inside.length());
        let Some(bits) = near.bits else {
            self.hold(inside);
            return;
        };
        let (first, last) = bits.ends(inside);
        let Some((word, mask)) = one_word(first, last) else {
            self.set(first, last);
            return;
        };
        if word / LINE_WORDS != self.line {
            self.next_line(word, mask);
        } else if let Some(all) = self.masks.get_mut(word % LINE_WORDS) {
            *all |= mask;
        }
    }

    /// The bits of `mask` in `word` begin another line. Apart, because it is seldom: what is called
    /// costs the caller registers.
    #[inline(never)]
    fn next_line(&mut self, word: usize, mask: u64) {
        self.flush();
        self.line = word / LINE_WORDS;
        if let Some(all) = self.masks.get_mut(word % LINE_WORDS) {
            *all = mask;
        }
    }

    /// There is no bitmap for `inside`.
    #[inline(never)]
    fn hold(&mut self, inside: Range) {
        match self.into {
            // Of a bitmap's part there always is one. Were there none, the next read would have it.
            Target::Bitmap(..) | Target::Residual(_) => {
                if let Some(residual) = &mut self.residual {
                    put(residual, inside, self.unsure);
                }
            }
            Target::Harvest(_) => put(self.harvested, inside, self.unsure),
            Target::Scratch(_) => self.scratch.insert(inside),
        }
    }

    /// Sets the bits from number `first` to number `last`.
    #[inline(never)]
    fn set(&mut self, first: u64, last: u64) {
        let bits = Bits {
            first,
            count: last.saturating_sub(first).saturating_add(1),
        };
        if let Target::Bitmap(pages, _) = self.into {
            self.counts.fresh = self.counts.fresh.saturating_add(pages.set(bits));
        }
    }

    /// Sets the bits that are not set yet: after the tracker has returned, whatever it returned.
    #[inline(never)]
    pub(crate) fn flush(&mut self) {
        if self.masks.iter().all(|mask| *mask == 0) {
            return;
        }
        let masks = core::mem::take(&mut self.masks);
        if let Target::Bitmap(pages, _) = self.into {
            let fresh = pages.set_in_line(self.line, &masks);
            self.counts.fresh = self.counts.fresh.saturating_add(fresh);
        }
    }

    /// What lies in no part that was used last.
    #[cold]
    fn scatter(&mut self, dirty: Range) {
        for part in self.tracked.within(dirty) {
            let mut left = Some(part);
            let mut at = match self.into {
                Target::Bitmap(_, batch) => batch.seek(part.first()),
                _ => 0,
            };
            while let Some((rest, asked)) = left.zip(self.into.part(at)) {
                let Some(inside) = rest.intersect(asked) else {
                    break;
                };
                let whole = self.tracked.holding(&inside);
                let near = Near {
                    range: whole.and_then(|w| w.intersect(asked)).unwrap_or(inside),
                    bits: match self.into {
                        Target::Bitmap(_, batch) => batch.slots().get(at).map(Slot::locator),
                        _ => None,
                    },
                };
                self.deliver(inside, near);
                self.near = Some(near);
                let (before, after) = rest.minus(asked);
                self.keep(before);
                left = after;
                at = at.saturating_add(1);
            }
            self.keep(left);
        }
    }

    fn keep(&mut self, outside: Option<Range>) {
        if let (Some(outside), Some(residual)) = (outside, &mut self.residual) {
            put(residual, outside, self.unsure);
        }
    }
}

fn put(held: &mut Extents, range: Range, unsure: bool) {
    if unsure {
        held.insert_unsure(range);
    } else {
        held.insert(range);
    }
}
