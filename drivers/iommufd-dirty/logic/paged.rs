// SPDX-License-Identifier: GPL-2.0

//! A range in pages, as userspace asks for it: which pages dirty extents touch.

use super::{
    granule::valid_page_size,
    range::Range, //
};

/// A range to read, in pages that are counted from its first byte. The last page may be cut short.
///
/// # Invariants
///
/// `shift` is less than 64 and at least 12.
#[derive(Debug, Clone, Copy)]
pub(super) struct PagedRange {
    pub(super) range: Range,
    pub(super) shift: u32,
}

impl PagedRange {
    /// `None` if `page_size` is not valid.
    pub(super) fn new(range: Range, page_size: u64) -> Option<Self> {
        // INVARIANT: A valid page size is a power of two from 2^12 on.
        valid_page_size(page_size).then(|| Self {
            range,
            shift: page_size.trailing_zeros(),
        })
    }

    /// Number of pages: at most 2^52.
    pub(super) fn count(&self) -> u64 {
        self.number(self.range.last()).saturating_add(1)
    }

    /// Number of the page that `address` is in, counted from 0.
    pub(super) fn number(&self, address: u64) -> u64 {
        address.saturating_sub(self.range.first()) >> self.shift
    }

    /// The first and the last page that `dirty` has a byte in; `None` if it is outside.
    pub(super) fn touched(&self, dirty: Range) -> Option<(u64, u64)> {
        let dirty = self.range.intersect(dirty)?;

        Some((self.number(dirty.first()), self.number(dirty.last())))
    }

    /// The bytes of pages `first` to `last`; `None` if there is no page `first`.
    pub(super) fn span(&self, first: u64, last: u64) -> Option<Range> {
        // A page that begins beyond the address space is beyond the range, too.
        let begin = |page: u64| {
            let offset = page.checked_mul(1 << self.shift)?;
            self.range.first().checked_add(offset)
        };
        let end = last
            .checked_add(1)
            .and_then(begin)
            .map_or(u64::MAX, |next| next.saturating_sub(1));

        Range::inclusive(begin(first)?, end)?.intersect(self.range)
    }
}

/// Counts the pages that dirty extents touch, for a READ that only counts.
#[derive(Debug, Clone)]
pub struct PageCounter {
    pages: PagedRange,
    /// The first page that no extent touched yet.
    next: u64,
    total: u64,
}

impl PageCounter {
    /// Counts pages of `page_size` bytes from the first byte of `range` on. `None` if the page size
    /// is not valid.
    pub fn new(range: Range, page_size: u64) -> Option<Self> {
        Some(Self {
            pages: PagedRange::new(range, page_size)?,
            next: 0,
            total: 0,
        })
    }

    /// An extent is dirty that is above all that were pushed before. What lies outside the range
    /// does not count.
    pub fn push(&mut self, dirty: Range) {
        let Some((first, last)) = self.pages.touched(dirty) else {
            return;
        };
        let next = last.saturating_add(1);

        self.total = self
            .total
            .saturating_add(next.saturating_sub(first.max(self.next)));
        self.next = self.next.max(next);
    }

    /// Pages that the extents touch.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// Grows dirty extents to whole pages and joins those that touch then, for a READ of extents.
#[derive(Debug, Clone)]
pub struct Grow {
    pages: PagedRange,
    pending: Option<Range>,
}

impl Grow {
    /// Grows to pages of `page_size` bytes, counted from the first byte of `range` and cut at its
    /// last. `None` if the page size is not valid.
    pub fn new(range: Range, page_size: u64) -> Option<Self> {
        Some(Self {
            pages: PagedRange::new(range, page_size)?,
            pending: None,
        })
    }

    /// An extent is dirty that is above all that were pushed before. Returns a grown extent that
    /// is complete, if this one begins another.
    pub fn push(&mut self, dirty: Range) -> Option<Range> {
        let (first, last) = self.pages.touched(dirty)?;
        let grown = self.pages.span(first, last)?;

        match self.pending {
            Some(pending) if pending.touches(grown) => {
                self.pending = Some(pending.hull(grown));
                None
            }
            _ => self.pending.replace(grown),
        }
    }

    /// The last grown extent, if there is one.
    pub fn finish(&mut self) -> Option<Range> {
        self.pending.take()
    }
}
