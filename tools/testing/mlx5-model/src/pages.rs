// SPDX-License-Identifier: GPL-2.0

//! A set of pages, which is a bitmap where there are some: a tracker may span 2^42 bytes.

use std::collections::BTreeMap;

const BITS: u64 = u64::BITS as u64;

/// Pages by their number.
#[derive(Debug, Default)]
pub struct Pages {
    /// 64 pages each; not 0.
    words: BTreeMap<u64, u64>,
}

/// Those bits of a word that are for the pages of a range.
fn mask(word: u64, first: u64, last: u64) -> u64 {
    let from = if word == first / BITS {
        first % BITS
    } else {
        0
    };
    let to = if word == last / BITS {
        last % BITS
    } else {
        BITS - 1
    };
    (u64::MAX << from) & (u64::MAX >> (BITS - 1 - to))
}

impl Pages {
    /// Adds all pages from the first to the last.
    pub fn insert(&mut self, first: u64, last: u64) {
        for word in first / BITS..=last / BITS {
            *self.words.entry(word).or_default() |= mask(word, first, last);
        }
    }

    /// Removes those that are there from the first to the last; in their order.
    pub fn take(&mut self, first: u64, last: u64) -> Vec<u64> {
        let (mut pages, mut empty) = (Vec::new(), Vec::new());
        for (word, bits) in self.words.range_mut(first / BITS..=last / BITS) {
            let mut taken = *bits & mask(*word, first, last);
            *bits &= !taken;
            if *bits == 0 {
                empty.push(*word);
            }
            while taken != 0 {
                pages.push(word * BITS + u64::from(taken.trailing_zeros()));
                taken &= taken - 1;
            }
        }
        for word in empty {
            self.words.remove(&word);
        }
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn pages_are_a_set(
            base in prop::sample::select(&[0, 1 << 30, u64::MAX - 400][..]),
            steps in prop::collection::vec((any::<bool>(), 0..300u64, 0..100u64), 1..60),
        ) {
            let (mut pages, mut set) = (Pages::default(), BTreeSet::new());
            for (insert, first, count) in steps {
                let (first, last) = (base + first, base + first + count);
                if insert {
                    pages.insert(first, last);
                    set.extend(first..=last);
                } else {
                    let expected: Vec<u64> = set.range(first..=last).copied().collect();
                    set.retain(|page| !expected.contains(page));
                    prop_assert_eq!(pages.take(first, last), expected);
                }
            }
            prop_assert_eq!(pages.take(0, u64::MAX), set.into_iter().collect::<Vec<u64>>());
            prop_assert!(pages.words.is_empty());
        }
    }

    #[test]
    fn a_huge_range_is_cheap() {
        let mut pages = Pages::default();
        pages.insert(1 << 51, 1 << 51);
        assert_eq!(pages.take(0, u64::MAX), [1 << 51]);
    }
}
