// SPDX-License-Identifier: GPL-2.0

//! What is dirty in the mock: a sparse bitmap with a bit for each *unit* of the I/O address space.
//!
//! It is kept apart from the data structures of the subsystem on purpose, because the subsystem is
//! tested against it.

use kernel::{
    prelude::*,
    rbtree::RBTree, //
};

/// Units in a word.
const BITS: u64 = u64::BITS as u64;

/// Words that a set may have: 256 thousand, or some 16 MiB of memory.
const MAX_WORDS: usize = 1 << 18;

/// A set of units.
///
/// # Invariants
///
/// `words` has `nr_words` nodes and none of them is 0; `units` of their bits are set.
pub(crate) struct DirtySet {
    words: RBTree<u64, u64>,
    nr_words: usize,
    units: u64,
}

/// A word that is cut to the units that were asked for.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    index: u64,
    bits: u64,
}

/// The bits of word `index` that stand for units in `first..=last`.
fn mask(index: u64, first: u64, last: u64) -> u64 {
    let mut mask = u64::MAX;
    if index == first / BITS {
        mask &= u64::MAX << (first % BITS);
    }
    if index == last / BITS {
        mask &= u64::MAX >> (BITS - 1 - last % BITS);
    }
    mask
}

impl DirtySet {
    pub(crate) fn new() -> Self {
        // INVARIANT: There are no nodes.
        Self {
            words: RBTree::new(),
            nr_words: 0,
            units: 0,
        }
    }

    /// Units that are dirty.
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// Makes the units `first..=last` dirty. On an error some of them are.
    ///
    /// Errors: `ENOMEM`; `ENOSPC` if the set would become too large.
    pub(crate) fn mark(&mut self, first: u64, last: u64) -> Result {
        for index in first / BITS..=last / BITS {
            let mask = mask(index, first, last);
            let newly = match self.words.get_mut(&index) {
                Some(word) => {
                    let newly = mask & !*word;
                    *word |= mask;
                    newly
                }
                None if self.nr_words >= MAX_WORDS => return Err(ENOSPC),
                None => {
                    self.words.try_create_and_insert(index, mask, GFP_KERNEL)?;
                    self.nr_words += 1;
                    mask
                }
            };
            self.units += u64::from(newly.count_ones());
        }
        Ok(())
    }

    /// The first word that has dirty units in `first..=last`.
    pub(crate) fn peek(&self, first: u64, last: u64) -> Option<Word> {
        let mut index = first / BITS;
        loop {
            let cursor = self.words.cursor_lower_bound(&index)?;
            let (&found, word) = cursor.current();
            if found > last / BITS {
                return None;
            }
            let bits = word & mask(found, first, last);
            if bits != 0 {
                return Some(Word { index: found, bits });
            }
            index = found + 1;
        }
    }

    /// Makes the units of a word clean.
    pub(crate) fn clear(&mut self, what: Word) {
        let Some(word) = self.words.get_mut(&what.index) else {
            return;
        };
        self.units -= u64::from((*word & what.bits).count_ones());
        *word &= !what.bits;
        if *word == 0 {
            self.words.remove(&what.index);
            self.nr_words -= 1;
        }
    }

    /// Makes the units `first..=last` clean.
    pub(crate) fn clear_all(&mut self, first: u64, last: u64) {
        while let Some(word) = self.peek(first, last) {
            self.clear(word);
        }
    }

    /// How many of the units `first..=last` are dirty.
    pub(crate) fn count(&self, first: u64, last: u64) -> u64 {
        let mut count = 0;
        let mut next = Some(first);
        while let Some(word) = next.and_then(|next| self.peek(next, last)) {
            count += word.units();
            next = word.end();
        }
        count
    }
}

impl Word {
    pub(crate) fn units(self) -> u64 {
        u64::from(self.bits.count_ones())
    }

    /// The first unit behind it, if there is one.
    pub(crate) fn end(self) -> Option<u64> {
        self.index.checked_add(1)?.checked_mul(BITS)
    }

    /// Its first `units` dirty units.
    pub(crate) fn first(self, units: u64) -> Self {
        let mut bits = self.bits;
        while u64::from(bits.count_ones()) > units {
            bits &= !(1 << (BITS - 1 - u64::from(bits.leading_zeros())));
        }
        Self { bits, ..self }
    }

    /// Runs of adjacent dirty units, ascending: the first unit and how many.
    pub(crate) fn runs(self) -> impl Iterator<Item = (u64, u64)> {
        let mut bits = self.bits;
        core::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let start = bits.trailing_zeros();
            let length = (bits >> start).trailing_ones();
            bits &= !(u64::MAX >> (u64::BITS - length) << start);
            Some((self.index * BITS + u64::from(start), u64::from(length)))
        })
    }
}
