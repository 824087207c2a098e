// SPDX-License-Identifier: GPL-2.0

//! What the tests share: a model of a set of addresses, and strategies that like the edges.

use iommufd_dirty_logic::logic::range::Range;
use proptest::prelude::*;

/// A set of addresses from `base` on: one `bool` for each byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) base: u64,
    pub(crate) bytes: Vec<bool>,
}

impl Model {
    pub(crate) fn new(base: u64, size: usize) -> Self {
        Self {
            base,
            bytes: vec![false; size],
        }
    }

    /// The model with exactly `ranges` in it, which must not overlap.
    pub(crate) fn of(base: u64, size: usize, ranges: impl IntoIterator<Item = Range>) -> Self {
        let mut model = Self::new(base, size);
        for range in ranges {
            let part = &mut model.bytes[index(base, range)];
            assert!(!part.contains(&true), "{range:?} twice");
            part.fill(true);
        }
        model
    }

    pub(crate) fn all(&self) -> Range {
        Range::inclusive(self.base, self.base + (self.bytes.len() - 1) as u64).unwrap()
    }

    pub(crate) fn set(&mut self, range: Range, value: bool) {
        self.bytes[index(self.base, range)].fill(value);
    }

    /// Bytes in `range`.
    pub(crate) fn count(&self, range: Range) -> usize {
        let part = &self.bytes[index(self.base, range)];
        part.iter().filter(|byte| **byte).count()
    }

    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&other.bytes).all(|(a, b)| !a || *b)
    }

    /// The runs of bytes that are set and in `within`, ascending.
    pub(crate) fn runs(&self, within: Range) -> Vec<Range> {
        let mut runs: Vec<Range> = Vec::new();
        for at in index(self.base, within) {
            if !self.bytes[at] {
                continue;
            }
            let byte = Range::new(self.base + at as u64, 1).unwrap();
            match runs.last_mut() {
                Some(run) if run.last() + 1 == byte.first() => {
                    *run = Range::inclusive(run.first(), byte.last()).unwrap();
                }
                _ => runs.push(byte),
            }
        }
        runs
    }
}

fn index(base: u64, range: Range) -> std::ops::RangeInclusive<usize> {
    (range.first() - base) as usize..=(range.last() - base) as usize
}

/// Where a model of `size` bytes stands: at the bottom, at the top, or somewhere.
pub(crate) fn base(size: usize) -> impl Strategy<Value = u64> {
    let top = u64::MAX - (size as u64 - 1);
    prop_oneof![Just(0), Just(top), 1..top]
}

/// A range in a model of `size` bytes at 0, more often short than long.
pub(crate) fn short(size: usize) -> impl Strategy<Value = Range> {
    let size = size as u64;
    (0..size, prop_oneof![3 => 1..8_u64, 1 => 1..=size])
        .prop_map(move |(first, len)| Range::inclusive(first, (first + len).min(size) - 1).unwrap())
}

/// `range`, that many bytes up.
pub(crate) fn shift(range: Range, base: u64) -> Range {
    Range::inclusive(base + range.first(), base + range.last()).unwrap()
}

/// Any `u64`: most often near to 0, to the maximum or to a power of two.
pub(crate) fn edgy() -> impl Strategy<Value = u64> {
    let near = (0..64_u32, 0..3_u64).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add(off) - 1);
    prop_oneof![
        2 => 0..4_u64,
        2 => (0..4_u64).prop_map(|x| u64::MAX - x),
        4 => near,
        2 => any::<u64>(),
    ]
}

/// Any range, with edges where [`edgy()`] likes them.
pub(crate) fn any_range() -> impl Strategy<Value = Range> {
    (edgy(), edgy()).prop_map(|(a, b)| Range::inclusive(a.min(b), a.max(b)).unwrap())
}

/// Any valid page size: 4 KiB to 1 << 63.
pub(crate) fn page_size() -> impl Strategy<Value = u64> {
    (12..64_u32).prop_map(|bit| 1 << bit)
}

/// As many cases as `n`; failures are printed with the smallest input, and not kept in files.
pub(crate) fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(n)
    }
}
