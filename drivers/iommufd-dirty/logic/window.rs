// SPDX-License-Identifier: GPL-2.0

//! The arithmetic of a READ: which bit of which page of the user's bitmap stands for which address.
//!
//! Bit `bit_offset + (address - iova) / page_size` stands for `address`; bit n is bit n % 8 of byte
//! n / 8 from the bitmap's address on, and that address may be any. A request is worked off in
//! windows: a few pages of the bitmap are pinned, then everything is read whose bits lie in them.

use super::{
    bits::{
        Bits,
        USER_PAGE,
        USER_PAGE_BITS, //
    },
    paged::PagedRange,
    range::Range, //
};

/// Why a READ's range and bitmap are not a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// Not a [`valid_page_size()`](super::granule::valid_page_size).
    PageSize,
    /// The last bit lies beyond the address space, or has no number.
    Overflow,
}

/// One element of a READ's array: a range, and the bitmap that belongs to it.
///
/// # Invariants
///
/// The bit of the last page has a number below 2^53 counted from `base`, and its byte an address.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pages: PagedRange,
    /// User address of the page that has the bit of the first page.
    base: u64,
    /// Number of that bit in that page.
    first_bit: u64,
}

impl Request {
    /// A request to read `range` into the bitmap at user address `bitmap`, with `page_size` bytes
    /// per bit and bit `bit_offset` for the first byte.
    pub fn new(
        range: Range,
        page_size: u64,
        bitmap: u64,
        bit_offset: u64,
    ) -> Result<Self, BadRequest> {
        let pages = PagedRange::new(range, page_size).ok_or(BadRequest::PageSize)?;

        bit_offset
            .checked_add(pages.number(range.last()))
            .and_then(|last_bit| bitmap.checked_add(last_bit / 8))
            .ok_or(BadRequest::Overflow)?;
        // Not above the last bit's byte, that was just seen to be in the address space.
        let byte = bitmap.saturating_add(bit_offset / 8);
        let in_page = byte % USER_PAGE;

        Ok(Self {
            pages,
            base: byte.saturating_sub(in_page),
            first_bit: in_page.saturating_mul(8).saturating_add(bit_offset % 8),
        })
    }

    /// The windows of at most `max_pages` pages of bitmap (at least 1), from the page on that
    /// contains byte `start_offset` of the range. None if that is beyond the range.
    pub fn windows(&self, start_offset: u64, max_pages: usize) -> Windows {
        Windows {
            request: *self,
            page: start_offset >> self.pages.shift,
            max_pages: u64::try_from(max_pages).unwrap_or(u64::MAX).max(1),
        }
    }
}

/// Iterator over the [`Window`]s of a [`Request`], ascending.
///
/// Each ends where a page of the bitmap ends, so that each bit belongs to exactly one window.
#[derive(Debug, Clone)]
pub struct Windows {
    request: Request,
    /// The first page that was in no window yet.
    page: u64,
    max_pages: u64,
}

impl Iterator for Windows {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let Request {
            pages,
            base,
            first_bit,
        } = self.request;
        let left = pages.count().checked_sub(self.page)?;
        if left == 0 {
            return None;
        }

        // Bits are counted from `base` here, and pages of the bitmap too.
        let bit = first_bit.checked_add(self.page)?;
        let user_page = bit / USER_PAGE_BITS;
        let window_bit = bit % USER_PAGE_BITS;
        let room = self
            .max_pages
            .saturating_mul(USER_PAGE_BITS)
            .saturating_sub(window_bit);
        let count = left.min(room);
        let user_pages = window_bit.checked_add(count)?.div_ceil(USER_PAGE_BITS);

        let last = self.page.checked_add(count)?.checked_sub(1)?;
        let range = pages.span(self.page, last)?;
        self.page = last.checked_add(1)?;

        Some(Window {
            range,
            addr: base.checked_add(user_page.checked_mul(USER_PAGE)?)?,
            pages: usize::try_from(user_pages).ok()?,
            first_bit: window_bit,
            shift: pages.shift,
        })
    }
}

/// A part of a [`Request`] whose bits lie in a few pages of the user's bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The part of the I/O address space whose bits lie in the pages. Begins with a page of the
    /// request.
    pub range: Range,
    /// User address of the first page of bitmap, a multiple of [`USER_PAGE`].
    pub addr: u64,
    /// PagedRange of bitmap, at least 1.
    pub pages: usize,
    /// The bit, in those pages, that stands for the first byte of `range`. It is in the first page.
    pub first_bit: u64,
    pub(super) shift: u32,
}

impl Window {
    /// The bits of the pages that `dirty` has a byte in; `None` if it is outside the window.
    pub fn bits(&self, dirty: Range) -> Option<Bits> {
        let (first, last) = self.paged().touched(dirty)?;

        Some(Bits {
            first: self.first_bit.saturating_add(first),
            count: last.saturating_sub(first).saturating_add(1),
        })
    }

    /// The bytes that `bits` stand for; `None` if those are outside the window.
    pub fn bytes(&self, bits: Bits) -> Option<Range> {
        let end = bits.first.saturating_add(bits.count);
        let first = bits.first.saturating_sub(self.first_bit);
        let last = end.checked_sub(self.first_bit)?.checked_sub(1)?;

        self.paged().span(first, last)
    }

    fn paged(&self) -> PagedRange {
        PagedRange {
            range: self.range,
            shift: self.shift,
        }
    }
}
