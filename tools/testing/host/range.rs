// SPDX-License-Identifier: GPL-2.0

//! Tests of `logic/range.rs`.

use iommufd_dirty_logic::logic::range::{
    BadRange,
    Range, //
};
use proptest::prelude::*;

use crate::common::{
    any_range,
    base,
    cases,
    edgy,
    shift,
    short,
    Model, //
};

const SIZE: usize = 24;

fn small() -> impl Strategy<Value = Range> {
    (0..SIZE as u64, 0..SIZE as u64)
        .prop_map(|(a, b)| Range::inclusive(a.min(b), a.max(b)).unwrap())
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn new_is_iova_and_length(iova in edgy(), length in edgy()) {
        let end = u128::from(iova) + u128::from(length);
        let expected = match length {
            0 => Err(BadRange::Empty),
            _ if end > 1 << 64 => Err(BadRange::Wraps),
            _ => Ok((iova, (end - 1) as u64, length)),
        };
        let got = Range::new(iova, length);
        prop_assert_eq!(got.map(|r| (r.first(), r.last(), r.length())), expected);
    }

    #[test]
    fn inclusive_is_in_order(first in edgy(), last in edgy()) {
        let got = Range::inclusive(first, last);
        let expected = (first <= last).then_some((first, last));
        prop_assert_eq!(got.map(|r| (r.first(), r.last())), expected);
    }

    #[test]
    fn algebra_is_that_of_sets(base in base(SIZE), a in small(), b in small()) {
        let (a, b) = (shift(a, base), shift(b, base));
        let (in_a, in_b) = (Model::of(base, SIZE, [a]), Model::of(base, SIZE, [b]));
        let both = |f: fn(bool, bool) -> bool| {
            let bytes = in_a.bytes.iter().zip(&in_b.bytes).map(|(a, b)| f(*a, *b)).collect();
            Model { base, bytes }
        };
        let runs = |model: &Model| model.runs(model.all());

        prop_assert_eq!(Vec::from_iter(a.intersect(b)), runs(&both(|a, b| a && b)));
        prop_assert_eq!(a.contains(&b), in_b.is_subset(&in_a));

        let (below, above) = a.minus(b);
        let rest = Vec::from_iter(below.into_iter().chain(above));
        prop_assert_eq!(rest, runs(&both(|a, b| a && !b)));
        prop_assert!(below.is_none_or(|r| r.last() < b.first()));
        prop_assert!(above.is_none_or(|r| r.first() > b.last()));

        let union = runs(&both(|a, b| a || b));
        prop_assert_eq!(a.touches(b), union.len() == 1);
        prop_assert_eq!(a.hull(b).first(), union[0].first());
        prop_assert_eq!(a.hull(b).last(), union[union.len() - 1].last());
    }

    #[test]
    fn aligned_out_is_the_least_that_is_aligned(range in any_range(), log in 0..64_u32) {
        let granule = 1_u128 << log;
        let end = (u128::from(range.last()) + 1).div_ceil(granule) * granule;
        let got = range.aligned_out(1 << log);
        prop_assert_eq!(u128::from(got.first()), u128::from(range.first()) / granule * granule);
        prop_assert_eq!(u128::from(got.last()), end - 1);
    }

    #[test]
    fn hostile_granules_lose_nothing(range in any_range(), granule in edgy()) {
        prop_assert!(range.aligned_out(granule).contains(&range));
    }

    #[test]
    fn length_is_what_new_takes(range in short(SIZE), base in base(SIZE)) {
        let range = shift(range, base);
        prop_assert_eq!(Range::new(range.first(), range.length()), Ok(range));
    }
}

#[test]
fn the_whole_space_is_a_range() {
    let all = Range::inclusive(0, u64::MAX).unwrap();
    assert_eq!(all.length(), u64::MAX);
    assert_eq!(all.minus(all), (None, None));
    assert_eq!(all.aligned_out(1 << 63), all);
    assert!(all.touches(Range::new(u64::MAX, 1).unwrap()));
}
