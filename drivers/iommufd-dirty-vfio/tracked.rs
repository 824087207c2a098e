// SPDX-License-Identifier: GPL-2.0

//! Which pages are tracked: looked up at each mark.

use crate::mem::{
    NoMemory,
    TryVec,
    Vec, //
};

/// Ranges of page numbers.
///
/// # Invariants
///
/// They are not empty, ascend, and no two of them overlap.
pub struct Tracked(Vec<(u64, u64)>);

impl Tracked {
    /// `ranges` are pairs of the first and the last page. What is not above all before it is left
    /// out.
    pub fn new(ranges: impl Iterator<Item = (u64, u64)>) -> Result<Self, NoMemory> {
        let mut all: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ranges {
            let above = all.last().is_none_or(|below| below.1 < first);
            if above && first <= last {
                all.try_push((first, last))?;
            }
        }
        // INVARIANT: Each was compared with the one before it.
        Ok(Self(all))
    }

    /// The lowest part of `first..=last` that is tracked, as its first and last page.
    pub fn first_in(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let at = self.0.partition_point(|range| range.1 < first);
        let range = self.0.get(at)?;
        let part = (range.0.max(first), range.1.min(last));
        (part.0 <= part.1).then_some(part)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}
