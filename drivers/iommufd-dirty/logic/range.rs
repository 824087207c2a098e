// SPDX-License-Identifier: GPL-2.0

//! A range of the I/O address space.

/// Why an `(iova, length)` pair is not a [`Range`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRange {
    /// The length is 0.
    Empty,
    /// The last byte would lie beyond the address space.
    Wraps,
}

/// A range of bytes that is not empty.
///
/// It is held by its last byte, not by its length or end: so it can reach the top of the address
/// space, and can be the whole of it.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u64,
    last: u64,
}

/// The whole address space.
// INVARIANT: `first` is the smallest number.
pub const ALL: Range = Range {
    first: 0,
    last: u64::MAX,
};

impl Range {
    /// The range of `length` bytes from `iova` on.
    pub fn new(iova: u64, length: u64) -> Result<Self, BadRange> {
        let more = length.checked_sub(1).ok_or(BadRange::Empty)?;
        let last = iova.checked_add(more).ok_or(BadRange::Wraps)?;

        // INVARIANT: The addition did not wrap.
        Ok(Self { first: iova, last })
    }

    /// The range from byte `first` to byte `last`, both included; `None` if `first > last`.
    pub fn inclusive(first: u64, last: u64) -> Option<Self> {
        // INVARIANT: Compared here.
        (first <= last).then_some(Self { first, last })
    }

    /// Address of the first byte.
    pub fn first(self) -> u64 {
        self.first
    }

    /// Address of the last byte.
    pub fn last(self) -> u64 {
        self.last
    }

    /// Bytes in the range. `u64::MAX` also for the whole address space, which has one more.
    pub fn length(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Is all of `other` inside?
    pub fn contains(self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Do the two overlap, or lie side by side without a byte between them?
    pub fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }

    /// What is in both.
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::inclusive(self.first.max(other.first), self.last.min(other.last))
    }

    /// The smallest range that contains both, and thus what lies between them.
    pub fn hull(self, other: Self) -> Self {
        // INVARIANT: The minimum of the firsts is not above any last.
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// The range grown to multiples of `granule` bytes, a power of two.
    pub fn aligned_out(self, granule: u64) -> Self {
        let mask = granule.saturating_sub(1);

        // INVARIANT: `first` can only sink and `last` can only rise.
        Self {
            first: self.first & !mask,
            last: self.last | mask,
        }
    }

    /// What is in this one and not in `other`: the part below it and the part above it.
    pub fn minus(self, other: Self) -> (Option<Self>, Option<Self>) {
        let below = match other.first.checked_sub(1) {
            Some(end) => Self::inclusive(self.first, self.last.min(end)),
            None => None,
        };
        let above = match other.last.checked_add(1) {
            Some(start) => Self::inclusive(self.first.max(start), self.last),
            None => None,
        };

        (below, above)
    }
}
