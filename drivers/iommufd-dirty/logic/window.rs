// SPDX-License-Identifier: GPL-2.0

//! The arithmetic of a READ: which bit of which page of the user's bitmap stands for which address.
//!
//! Bit `bit_offset + (address - iova) / page_size` stands for `address`; bit n is bit n % 8 of byte
//! n / 8 from the bitmap's address on, and that address may be any. A request is worked off in
//! windows: a few pages of the bitmap are pinned, then everything is read whose bits lie in them.

use super::{
    granule::valid_page_size,
    range::Range, //
};

/// Bytes in a page of the user's memory.
pub const USER_PAGE: u64 = crate::mem::PAGE_SIZE as u64;

/// Bits in a page of the user's memory.
const USER_PAGE_BITS: u64 = USER_PAGE * 8;

/// Bits in a word, the unit in which bits are set.
const WORD_BITS: u64 = 64;

/// Why a READ's range and bitmap are not a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// Not a [`valid_page_size()`].
    PageSize,
    /// The last bit lies beyond the address space, or has no number.
    Overflow,
}

/// A range to read, in pages that are counted from its first byte. The last page may be cut short.
///
/// # Invariants
///
/// `shift` is less than 64 and at least 12.
#[derive(Debug, Clone, Copy)]
struct Pages {
    range: Range,
    shift: u32,
}

impl Pages {
    /// `None` if `page_size` is not valid.
    fn new(range: Range, page_size: u64) -> Option<Self> {
        // INVARIANT: A valid page size is a power of two from 2^12 on.
        valid_page_size(page_size).then(|| Self {
            range,
            shift: page_size.trailing_zeros(),
        })
    }

    /// Number of pages: at most 2^52.
    fn count(&self) -> u64 {
        self.number(self.range.last()).saturating_add(1)
    }

    /// Number of the page that `address` is in, counted from 0.
    fn number(&self, address: u64) -> u64 {
        address.saturating_sub(self.range.first()) >> self.shift
    }

    /// The first and the last page that `dirty` has a byte in; `None` if it is outside.
    fn touched(&self, dirty: Range) -> Option<(u64, u64)> {
        let dirty = self.range.intersect(dirty)?;

        Some((self.number(dirty.first()), self.number(dirty.last())))
    }

    /// The bytes of pages `first` to `last`; `None` if there is no page `first`.
    fn span(&self, first: u64, last: u64) -> Option<Range> {
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

/// One element of a READ's array: a range, and the bitmap that belongs to it.
///
/// # Invariants
///
/// The bit of the last page has a number below 2^53 counted from `base`, and its byte an address.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pages: Pages,
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
        let pages = Pages::new(range, page_size).ok_or(BadRequest::PageSize)?;

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
    /// Pages of bitmap, at least 1.
    pub pages: usize,
    /// The bit, in those pages, that stands for the first byte of `range`. It is in the first page.
    pub first_bit: u64,
    shift: u32,
}

impl Window {
    /// The bits of the pages that `dirty` has a byte in; `None` if it is outside the window.
    pub fn bits(&self, dirty: Range) -> Option<Bits> {
        let (first, last) = self.as_pages().touched(dirty)?;

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

        self.as_pages().span(first, last)
    }

    fn as_pages(&self) -> Pages {
        Pages {
            range: self.range,
            shift: self.shift,
        }
    }
}

/// A run of bits in the pinned pages of a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// Number of the first one: bit 0 is the lowest bit of the first byte of the first page.
    pub first: u64,
    /// How many, not 0.
    pub count: u64,
}

impl Bits {
    /// Index of the word that has them all, and their mask in it; see [`Words`].
    pub fn in_one_word(self) -> Option<(usize, u64)> {
        let last = self.first.checked_add(self.count.checked_sub(1)?)?;
        // CAST: The word is in memory, so that its index is a `usize`.
        let word = (self.first / WORD_BITS) as usize;

        (self.first / WORD_BITS == last / WORD_BITS).then_some((word, mask(self.first, last)))
    }
}

/// The bits of one word from number `first` to number `last`.
fn mask(first: u64, last: u64) -> u64 {
    (u64::MAX << (first % WORD_BITS)) & (u64::MAX >> (WORD_BITS - 1 - last % WORD_BITS))
}

/// Bits of the pinned pages that lie in one word, or all bits of several.
///
/// Words are aligned, have 64 bits and are little-endian: bit b of word w is bit w * 64 + b.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// Those of the mask, in the word with this index.
    Part(usize, u64),
    /// All of the words with these indices.
    Whole(core::ops::Range<usize>),
}

/// Calls `f` for each page of the pinned ones that has some of `bits`, ascending: with its index and
/// its bits, counted from its first one.
pub fn pages(bits: Bits, mut f: impl FnMut(usize, Bits)) {
    let mut left = bits;
    while left.count > 0 {
        let first = left.first % USER_PAGE_BITS;
        let count = left.count.min(USER_PAGE_BITS.saturating_sub(first));
        // CAST: The page is in memory, so that its index is a `usize`.
        f(
            (left.first / USER_PAGE_BITS) as usize,
            Bits { first, count },
        );
        left = Bits {
            first: left.first.saturating_add(count),
            count: left.count.saturating_sub(count),
        };
    }
}

/// Calls `f` for the words that have some of `bits`, ascending.
pub fn words(bits: Bits, mut f: impl FnMut(Words)) {
    if let Some((word, mask)) = bits.in_one_word() {
        f(Words::Part(word, mask));
        return;
    }
    let end = match bits.first.checked_add(bits.count) {
        Some(end) if bits.count > 0 => end,
        _ => return,
    };
    // CAST: The words are in memory, so that an index is a `usize`.
    let (from, to) = (
        bits.first.div_ceil(WORD_BITS) as usize,
        (end / WORD_BITS) as usize,
    );
    if bits.first % WORD_BITS != 0 {
        f(Words::Part(
            from.saturating_sub(1),
            mask(bits.first, WORD_BITS - 1),
        ));
    }
    f(Words::Whole(from..to));
    if end % WORD_BITS != 0 {
        f(Words::Part(to, mask(0, end.saturating_sub(1))));
    }
}

/// Counts the pages that dirty extents touch, for a READ that only counts.
#[derive(Debug, Clone)]
pub struct PageCounter {
    pages: Pages,
    /// The first page that no extent touched yet.
    next: u64,
    total: u64,
}

impl PageCounter {
    /// Counts pages of `page_size` bytes from the first byte of `range` on. `None` if the page size
    /// is not valid.
    pub fn new(range: Range, page_size: u64) -> Option<Self> {
        Some(Self {
            pages: Pages::new(range, page_size)?,
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
    pages: Pages,
    pending: Option<Range>,
}

impl Grow {
    /// Grows to pages of `page_size` bytes, counted from the first byte of `range` and cut at its
    /// last. `None` if the page size is not valid.
    pub fn new(range: Range, page_size: u64) -> Option<Self> {
        Some(Self {
            pages: Pages::new(range, page_size)?,
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
