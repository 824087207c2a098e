// SPDX-License-Identifier: GPL-2.0

//! Runs of bits in the pinned pages of the user's bitmap, by page and by word.

/// Bytes in a page of the user's memory.
pub const USER_PAGE: u64 = crate::mem::PAGE_SIZE as u64;

/// Bits in a page of the user's memory.
pub(super) const USER_PAGE_BITS: u64 = USER_PAGE * 8;

/// Bits in a word, the unit in which bits are set.
const WORD_BITS: u64 = 64;

/// A run of bits in the pinned pages of a window.
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
        one_word(
            self.first,
            self.first.checked_add(self.count.checked_sub(1)?)?,
        )
    }
}

/// Index of the word that has all bits from number `first` to number `last`, which is not below it,
/// and their mask in it.
pub fn one_word(first: u64, last: u64) -> Option<(usize, u64)> {
    // CAST: The word is in memory, so that its index is a `usize`.
    let word = (first / WORD_BITS) as usize;

    (first / WORD_BITS == last / WORD_BITS).then_some((word, mask(first, last)))
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

/// Calls `f` for each page of the pinned ones that has some of `bits`, ascending: with its index
/// and its bits, counted from its first one.
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
