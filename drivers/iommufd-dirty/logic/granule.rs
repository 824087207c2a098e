// SPDX-License-Identifier: GPL-2.0

//! Negotiation: which granule a tracker gets, and whether ranges suit it.

use super::range_set::RangeSet;

/// The smallest page size and granule, in bytes.
pub const MIN_PAGE_SIZE: u64 = 4096;

/// What a tracker can take, as its owner declared it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Granules that it can do: bit n is 2^n bytes.
    pub pgsizes: u64,
    /// Ranges that it can take; 0 is no limit.
    pub max_ranges: usize,
    /// Bytes that its ranges must cover in all, at least.
    pub min_span: u64,
    /// Bytes that its ranges may cover in all; 0 is no limit.
    pub max_span: u64,
}

/// Why ranges do not suit a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// They cover less than [`Limits::min_span`].
    TooSmall,
    /// They cover more than [`Limits::max_span`].
    TooLarge,
}

/// Is this a page size, or a granule, that the interface knows: a power of two, 4 KiB or more?
pub fn valid_page_size(bytes: u64) -> bool {
    bytes.is_power_of_two() && bytes >= MIN_PAGE_SIZE
}

/// The granule, in bytes, for a tracker that can do `pgsizes` (bit n is 2^n bytes): the coarsest
/// that is not coarser than `wanted`, else the finest. `None` if it can do none at all.
pub fn choose(pgsizes: u64, wanted: u64) -> Option<u64> {
    // All sizes up to `wanted`.
    let fine = pgsizes
        & wanted
            .checked_ilog2()
            .map_or(0, |log| u64::MAX >> 63_u32.saturating_sub(log));

    match fine.checked_ilog2() {
        Some(log) => Some(1 << log),
        None => (pgsizes != 0).then(|| 1 << pgsizes.trailing_zeros()),
    }
}

/// The granule of a session, in bytes: nothing is told more precisely than the coarsest of what
/// is `wanted` and what the trackers got.
pub fn session(wanted: u64, granules: impl Iterator<Item = u64>) -> u64 {
    granules.fold(wanted, u64::max)
}

/// Do `ranges`, already grown and joined by [`RangeSet::joined()`], suit a tracker?
///
/// No ranges at all suit every tracker: it has nothing to do.
pub fn fits(limits: &Limits, ranges: &RangeSet) -> Result<(), Misfit> {
    let span = ranges.span();

    if span == 0 {
        Ok(())
    } else if span < limits.min_span {
        Err(Misfit::TooSmall)
    } else if limits.max_span != 0 && span > limits.max_span {
        Err(Misfit::TooLarge)
    } else {
        Ok(())
    }
}
