// SPDX-License-Identifier: GPL-2.0

//! Tests of `logic/granule.rs`.

use iommufd_dirty_logic::logic::{
    granule::{
        choose,
        fits,
        session,
        valid_page_size,
        Limits,
        Misfit, //
    },
    range_set::RangeSet, //
};
use proptest::{
    collection::vec,
    prelude::*, //
};

use crate::common::{
    any_range,
    cases,
    edgy, //
};

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn choose_is_the_coarsest_not_above(pgsizes in edgy(), wanted in edgy()) {
        let sizes = Vec::from_iter((0..64).map(|bit| 1_u64 << bit).filter(|s| pgsizes & s != 0));
        let not_above = sizes.iter().rev().find(|size| **size <= wanted);
        prop_assert_eq!(choose(pgsizes, wanted), not_above.or(sizes.first()).copied());
    }

    #[test]
    fn page_sizes_are_powers_from_4k(bytes in edgy()) {
        let expected = (12..64).any(|bit| bytes == 1 << bit);
        prop_assert_eq!(valid_page_size(bytes), expected);
    }

    #[test]
    fn session_is_the_coarsest(wanted in edgy(), granules in vec(edgy(), 0..5)) {
        let mut all = granules.clone();
        all.push(wanted);
        all.sort();
        let coarsest = session(wanted, granules.into_iter());
        prop_assert_eq!(Some(&coarsest), all.last());
    }

    #[test]
    fn limits_are_inclusive(
        ranges in vec(any_range(), 0..4),
        min in edgy(),
        max in edgy(),
        exact in 0..3_u64,
    ) {
        let mut set = RangeSet::new();
        for range in &ranges {
            set.add(*range).unwrap();
        }
        let span = set.span();
        // Often right at, below and above the limit.
        for (min_span, max_span) in [
            (min, max),
            (min, 0),
            (0, max),
            (span.saturating_add(exact).saturating_sub(1), 0),
            (0, span.saturating_add(exact).saturating_sub(1)),
        ] {
            let limits = Limits { pgsizes: 1 << 12, max_ranges: 0, min_span, max_span };
            let expected = if ranges.is_empty() {
                Ok(())
            } else if span < min_span {
                Err(Misfit::TooSmall)
            } else if max_span > 0 && max_span < span {
                Err(Misfit::TooLarge)
            } else {
                Ok(())
            };
            prop_assert_eq!(fits(&limits, &set), expected);
        }
    }
}

/// Every power of two, 0 and odd sizes: 1 << 63 was once divided by after it had become 0.
#[test]
fn every_power_of_two() {
    for bit in 0..64 {
        assert_eq!(valid_page_size(1 << bit), bit >= 12);
        assert_eq!(choose(1 << bit, 4096), Some(1 << bit));
        assert_eq!(choose(u64::MAX, 1 << bit), Some(1 << bit));
        assert_eq!(choose(0, 1 << bit), None);
    }
    for bytes in [0, 1, 4095, 4097, 12288, u64::MAX] {
        assert!(!valid_page_size(bytes));
    }
}
