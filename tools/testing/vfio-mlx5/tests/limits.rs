// SPDX-License-Identifier: GPL-2.0

//! Tests of `limits.rs`.

use crate::common::{
    any_range,
    base,
    cases,
    edgy,
    shift, //
};
use mlx5_model::{
    bits,
    caps::Caps,
    ifc::adv_virtualization_cap as adv,
    limits::Limits as Model, //
};
use proptest::prelude::*;
use vfio_mlx5_logic::{
    limits::{
        plan,
        Limits,
        Misfit,
        Plan, //
    },
    range::Range, //
};

const GENERAL: u16 = 0;
const ADV_VIRTUALIZATION: u16 = 0x26;

/// The capabilities of the model's PF, with some of them set.
fn of(set: &[(bits::Field, u64)]) -> Option<Limits> {
    let caps = Caps::new(0, Some(&Model::default()));
    let general = caps.query(GENERAL, true).unwrap();
    let mut page = caps.query(ADV_VIRTUALIZATION, true).unwrap().to_vec();
    for (field, value) in set {
        bits::set(&mut page, *field, *value);
    }
    Limits::of(general, &page)
}

const MODEL: Limits = Limits {
    granules: (1 << 22) - (1 << 12),
    max_ranges: 16,
    min_span: (1 << 11) + 1,
    max_span: 1 << 42,
    log_max_msg: 19,
    max_trackers: 4,
};

#[test]
fn limits_are_those_of_the_device() {
    assert_eq!(of(&[]), Some(MODEL));
    let limits = |set: &[(bits::Field, u64)]| of(set).unwrap();
    assert_eq!(limits(&[(adv::pg_track_log_max_num, 0)]).max_trackers, 1);
    assert_eq!(
        limits(&[(adv::pg_track_max_num_range, 255)]).max_ranges,
        255
    );
    let span = adv::pg_track_log_max_addr_space;
    assert_eq!(limits(&[(span, 63)]).max_span, 1 << 63);
    assert_eq!(limits(&[(span, 64)]).max_span, u64::MAX);
    let span = adv::pg_track_log_min_addr_space;
    assert_eq!(limits(&[(span, 0)]).min_span, 1);
    assert_eq!(limits(&[(span, 20)]).min_span, (1 << 19) + 1);
    let page = adv::pg_track_log_min_page_size;
    assert_eq!(limits(&[(page, 0)]).granules, MODEL.granules);
    assert_eq!(limits(&[(page, 16)]).granules, (1 << 22) - (1 << 16));
    let (least, most) = (
        adv::pg_track_log_min_msg_size,
        adv::pg_track_log_max_msg_size,
    );
    assert_eq!(limits(&[(most, 14)]).log_max_msg, 14);
    assert_eq!(limits(&[(most, 31)]).log_max_msg, 19);
    assert_eq!(limits(&[(least, 20)]).log_max_msg, 20);
}

#[test]
fn what_cannot_be_used_is_no_tracker() {
    for set in [
        [(adv::pg_track_max_num_range, 0)],
        [(adv::pg_track_log_min_page_size, 22)],
        [(adv::pg_track_log_max_page_size, 11)],
        [(adv::pg_track_log_min_addr_space, 64)],
        [(adv::pg_track_log_min_addr_space, 44)],
        // Larger than the largest.
        [(adv::pg_track_log_min_msg_size, 21)],
        // No entry has room.
        [(adv::pg_track_log_max_msg_size, 2)],
    ] {
        assert_eq!(of(&set), None, "{set:?}");
    }
    let large = [
        (adv::pg_track_log_min_msg_size, 25),
        (adv::pg_track_log_max_msg_size, 25),
    ];
    assert_eq!(of(&large), None);
    let vf = Caps::new(1, None);
    let pf = Caps::new(0, Some(&Model::default()));
    let page = pf.query(ADV_VIRTUALIZATION, true).unwrap();
    assert_eq!(Limits::of(vf.query(GENERAL, true).unwrap(), page), None);
    assert_eq!(Limits::of(&[], page), None);
    assert_eq!(Limits::of(pf.query(GENERAL, true).unwrap(), &[0; 3]), None);
}

/// Granules in the models below.
const SIZE: usize = 48;

fn limits(max_ranges: u32) -> Limits {
    Limits {
        granules: u64::MAX,
        max_ranges,
        min_span: 1,
        max_span: u64::MAX,
        log_max_msg: 19,
        max_trackers: 1,
    }
}

/// Which of the `SIZE` granules from `base` on have a byte in `ranges`.
fn model(ranges: &[Range], base: u64, granule: u64) -> [bool; SIZE] {
    std::array::from_fn(|n| {
        let first = base + n as u64 * granule;
        ranges
            .iter()
            .any(|r| r.first() <= first + (granule - 1) && r.last() >= first)
    })
}

/// The lengths of the holes between the first and the last that is set, ascending.
fn holes(model: &[bool; SIZE]) -> Vec<usize> {
    let first = model.iter().position(|set| *set).unwrap();
    let last = model.iter().rposition(|set| *set).unwrap();
    let mut holes: Vec<usize> = model[first..=last]
        .split(|set| *set)
        .map(<[bool]>::len)
        .filter(|len| *len > 0)
        .collect();
    holes.sort_unstable();
    holes
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn all_of_it_is_tracked_in_as_many_ranges_as_there_may_be(
        log in 0..8_u32,
        place in base(SIZE << 8),
        max in 1..12_u32,
        parts in prop::collection::vec((0..SIZE << 8, 1..2000_usize), 1..20),
    ) {
        let granule = 1_u64 << log;
        let base = place & !0xff;
        let end = SIZE << log;
        let mut ranges: Vec<Range> = parts
            .iter()
            .map(|(first, len)| {
                let first = first % end;
                let last = (first + len % (end / 4).max(1)).min(end - 1);
                shift(Range::inclusive(first as u64, last as u64).unwrap(), base)
            })
            .collect();
        let wanted = model(&ranges, base, granule);

        let plan = plan(&limits(max), granule, &mut ranges).unwrap();
        let ranges = &ranges[..plan.count];
        let got = model(ranges, base, granule);

        prop_assert!(plan.count <= max as usize);
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].last() + 1 < pair[1].first());
        }
        for range in ranges {
            prop_assert_eq!(range.aligned_out(granule), *range);
            prop_assert!(range.first() >= base && range.last() - base < (SIZE as u64) << log);
        }
        // Nothing is left out, and only the smallest holes are filled.
        prop_assert!(wanted.iter().zip(&got).all(|(wanted, got)| !wanted || *got));
        let before = holes(&wanted);
        let filled = (before.len() + 1).saturating_sub(max as usize);
        prop_assert_eq!(&holes(&got)[..], &before[filled..]);

        let span = got.iter().filter(|set| **set).count() as u128 * u128::from(granule);
        prop_assert_eq!(plan.log_page_size, log as u8);
        prop_assert!(1 << plan.log_addr_space_size >= span);
        prop_assert!(plan.log_addr_space_size == 0 || 1 << (plan.log_addr_space_size - 1) < span);
    }

    #[test]
    fn spans_are_kept(
        max in 1..4_u32,
        min_span in edgy(),
        max_span in edgy(),
        granule in edgy(),
        ranges in prop::collection::vec(any_range(), 0..8),
    ) {
        let limits = Limits { min_span, max_span, ..limits(max) };
        let mut list = ranges.clone();
        let got = plan(&limits, granule, &mut list);
        if !granule.is_power_of_two() {
            prop_assert_eq!(got, Err(Misfit::Granule));
            return Ok(());
        }
        if ranges.is_empty() {
            prop_assert_eq!(got, Err(Misfit::Nothing));
            return Ok(());
        }
        // Without limits of the span it is what would have to be tracked, if a number can tell it.
        let mut free = ranges.clone();
        let span = match plan(&super::limits::limits(max), granule, &mut free) {
            Ok(Plan { count, .. }) => {
                let lengths = free[..count].iter();
                lengths.map(|r| u128::from(r.last() - r.first()) + 1).sum::<u128>()
            }
            Err(misfit) => {
                prop_assert_eq!(misfit, Misfit::TooLarge);
                1 << 64
            }
        };
        match got {
            Ok(plan) => {
                prop_assert!(span <= max_span.into() && span >= min_span.into());
                for range in &ranges {
                    prop_assert!(list[..plan.count].iter().any(|r| r.contains(range)));
                }
            }
            Err(Misfit::TooLarge) => prop_assert!(span > max_span.into()),
            Err(Misfit::TooSmall) => prop_assert!(span < min_span.into()),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_capabilities_are_limits_or_none(page: [u8; 8], general: [u8; 32]) {
        let caps = Caps::new(0, Some(&Model::default()));
        let pf = caps.query(GENERAL, true).unwrap();
        let mut short = pf.to_vec();
        short[..32].copy_from_slice(&general);
        let _ = Limits::of(&general, &page);
        if let Some(limits) = Limits::of(&short, &page) {
            prop_assert!(limits.granules != 0 && limits.granules & 0xfff == 0);
            prop_assert!(limits.max_ranges > 0 && limits.max_trackers > 0);
            prop_assert!(limits.min_span > 0 && limits.min_span <= limits.max_span);
            prop_assert!((3..=24).contains(&limits.log_max_msg));
        }
    }
}

#[test]
fn a_granule_that_the_device_has_not_is_refused() {
    let ranges = [Range::new(0, 1 << 20).unwrap()];
    for granule in [0, 2048, 4097, 1 << 22, 1 << 63] {
        let got = plan(&MODEL, granule, &mut ranges.clone());
        assert_eq!(got, Err(Misfit::Granule), "{granule}");
    }
}
