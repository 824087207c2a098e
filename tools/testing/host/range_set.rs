// SPDX-License-Identifier: GPL-2.0

//! Tests of `logic/range_set.rs`.

use iommufd_dirty_logic::{
    logic::{
        range::Range,
        range_set::RangeSet, //
    },
    mem::{
        fail,
        Fail,
        NoMemory, //
    },
};
use proptest::{
    collection::vec,
    prelude::*, //
};

use crate::common::{
    base,
    cases,
    shift,
    short,
    Model, //
};

const SIZE: usize = 160;

/// A range to add (`true`) or to remove.
fn steps() -> impl Strategy<Value = Vec<(bool, Range)>> {
    vec((any::<bool>(), short(SIZE)), 0..40)
}

fn step(set: &mut RangeSet, (add, range): (bool, Range)) -> Result<(), NoMemory> {
    if add {
        set.add(range)
    } else {
        set.remove(range)
    }
}

fn built(base: u64, steps: &[(bool, Range)]) -> RangeSet {
    let mut set = RangeSet::new();
    for (add, range) in steps {
        step(&mut set, (*add, shift(*range, base))).unwrap();
    }
    set
}

/// Joins the first pair of those with the smallest gap, until `max` are left.
fn naive_joined(ranges: &[Range], max: usize, granule: u64) -> Vec<Range> {
    let mut left = Vec::<Range>::new();
    for range in ranges.iter().map(|range| range.aligned_out(granule)) {
        match left.last_mut() {
            Some(last) if last.touches(range) => *last = last.hull(range),
            _ => left.push(range),
        }
    }
    while max != 0 && left.len() > max {
        let gap = |at: usize| left[at + 1].first() - left[at].last();
        let at = (0..left.len() - 1).min_by_key(|at| gap(*at)).unwrap();
        let high = left.remove(at + 1);
        left[at] = left[at].hull(high);
    }
    left
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn adds_and_removes_as_a_set(base in base(SIZE), steps in steps(), probe in short(SIZE)) {
        let probe = shift(probe, base);
        let mut model = Model::new(base, SIZE);
        let mut set = RangeSet::new();
        for (add, range) in steps {
            let range = shift(range, base);
            model.set(range, add);
            prop_assert_eq!(step(&mut set, (add, range)), Ok(()));

            // Equal to the runs: it ascends, and no two touch.
            prop_assert_eq!(set.as_slice(), model.runs(model.all()));
            prop_assert_eq!(set.span(), model.count(model.all()) as u64);
            prop_assert_eq!(Vec::from_iter(set.within(probe)), model.runs(probe));
            prop_assert_eq!(set.covers(&probe), model.count(probe) as u64 == probe.length());
        }
    }

    #[test]
    fn without_memory_nothing_changes(base in base(SIZE), steps in steps()) {
        let mut set = RangeSet::new();
        for (add, range) in steps {
            let range = shift(range, base);
            let before = set.as_slice().to_vec();

            fail(Fail::From(0));
            let result = step(&mut set, (add, range));
            if fail(Fail::Never) > 0 {
                prop_assert_eq!(result, Err(NoMemory));
                prop_assert_eq!(set.as_slice(), before);
                step(&mut set, (add, range)).unwrap();
            } else {
                prop_assert_eq!(result, Ok(()));
            }
            prop_assert_eq!(set.covers(&range), add);
        }
    }

    #[test]
    fn joined_takes_the_smallest_gaps(
        base in base(SIZE),
        steps in steps(),
        max in 0..12_usize,
        log in 0..5_u32,
    ) {
        let set = built(base, &steps);
        let joined = set.joined(max, 1 << log).unwrap();
        prop_assert_eq!(joined.as_slice(), naive_joined(set.as_slice(), max, 1 << log));
    }

    #[test]
    fn joined_fails_whole_or_not_at_all(steps in steps(), max in 0..4_usize, n in 0..16_usize) {
        let set = built(0, &steps);
        let expected = naive_joined(set.as_slice(), max, 2);

        fail(Fail::Nth(n));
        let joined = set.joined(max, 2);
        let failed = fail(Fail::Never);
        match joined {
            Ok(joined) => {
                prop_assert_eq!(failed, 0);
                prop_assert_eq!(joined.as_slice(), expected);
            }
            Err(NoMemory) => prop_assert_eq!(failed, 1),
        }
    }

    #[test]
    fn built_at_once_as_one_by_one(base in base(SIZE), ranges in vec(short(SIZE), 0..40)) {
        let mut model = Model::new(base, SIZE);
        let mut list = Vec::new();
        for range in ranges {
            list.push(shift(range, base));
            model.set(shift(range, base), true);
        }
        let set = RangeSet::of(list).unwrap();
        prop_assert_eq!(set.as_slice(), model.runs(model.all()));
    }

    #[test]
    fn unions_and_differences(
        base in base(SIZE),
        ours in steps(),
        theirs in steps(),
        probe in short(SIZE),
    ) {
        let (a, b) = (built(base, &ours), built(base, &theirs));
        let probe = shift(probe, base);
        let mut union = Model::of(base, SIZE, a.as_slice().iter().copied());
        let mut difference = union.clone();
        for range in b.as_slice() {
            union.set(*range, true);
            difference.set(*range, false);
        }
        let all = union.all();
        let (joined, left) = (a.union(&b).unwrap(), a.difference(&b).unwrap());
        prop_assert_eq!(joined.as_slice(), union.runs(all));
        prop_assert_eq!(left.as_slice(), difference.runs(all));
        prop_assert_eq!(a.covers_all(&b), union.runs(all) == a.as_slice());

        let runs = Model::of(base, SIZE, a.as_slice().iter().copied()).runs(probe);
        let hull = runs.first().zip(runs.last()).map(|(low, high)| low.hull(*high));
        prop_assert_eq!(a.hull_within(probe), hull);
        let bytes = runs.iter().fold(0, |sum, run| sum + run.length());
        prop_assert_eq!(a.bytes_within(probe), bytes);
        prop_assert_eq!(a.holding(&probe).is_some(), a.covers(&probe));
    }

    #[test]
    fn clones_are_equal(steps in steps()) {
        let set = built(0, &steps);
        let clone = set.try_clone().unwrap();
        prop_assert_eq!(clone.as_slice(), set.as_slice());
        prop_assert!(clone.bytes() >= size_of_val(clone.as_slice()));

        fail(Fail::From(0));
        let failing = set.try_clone().err();
        fail(Fail::Never);
        prop_assert_eq!(failing.is_some(), !set.as_slice().is_empty());
    }
}

#[test]
fn the_whole_space() {
    let all = Range::inclusive(0, u64::MAX).unwrap();
    let top = Range::new(u64::MAX, 1).unwrap();
    let mut set = RangeSet::new();

    assert!(!set.covers(&top));
    set.add(all).unwrap();
    assert_eq!(set.span(), u64::MAX);
    assert!(set.covers(&all));
    set.remove(top).unwrap();
    assert_eq!(set.span(), u64::MAX);
    assert!(!set.covers(&all));
    set.remove(Range::new(0, 1).unwrap()).unwrap();
    assert_eq!(set.span(), u64::MAX - 1);
    set.add(top).unwrap();
    set.add(Range::new(0, 1).unwrap()).unwrap();
    assert_eq!(set.as_slice(), [all]);
    assert_eq!(set.joined(1, 1 << 63).unwrap().as_slice(), [all]);
}

#[test]
fn an_allocation_that_fails_is_told() {
    fail(Fail::From(0));
    let mut set = RangeSet::new();
    assert_eq!(set.add(Range::new(0, 1).unwrap()), Err(NoMemory));
    assert_eq!(fail(Fail::Never), 1);
    assert_eq!(set.bytes(), 0);
}
