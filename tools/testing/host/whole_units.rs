// SPDX-License-Identifier: GPL-2.0

//! Tests of `drivers/iommufd-dirty-vfio/whole_units.rs`, against what pds does with a request.

use iommufd_dirty_logic::whole_units::whole_units;
use proptest::prelude::*;

use crate::common::{
    cases,
    edgy, //
};

const PAGE: u64 = 4096;

/// The pages of a range that pds would report and clear for a request, both as it computes them:
/// `drivers/vfio/pci/pds/dirty.c`, `pds_vfio_dirty_sync()`. `None`: it refuses it, or would leave its
/// bitmap, which has a bit for each of `pages` pages.
fn pds(first: u64, pages: u64, iova: u64, length: u64) -> Option<(u64, u64)> {
    if iova < first || iova - first + length > pages * PAGE {
        return None;
    }
    let bytes = (length / PAGE).div_ceil(8).next_multiple_of(8);
    if bytes != length.div_ceil(PAGE).next_multiple_of(64) / 8 {
        return None;
    }
    let offset = ((iova - first) / PAGE).div_ceil(8);
    (offset + bytes <= pages.next_multiple_of(64) / 8).then_some((offset * 8, bytes * 8))
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn pds_reports_and_clears_what_is_asked_for(
        first in 0_u64..1000,
        pages in 1_u64..1000,
        from in 0_u64..1200,
        count in 1_u64..1200,
    ) {
        let (first, iova, length) = (first * PAGE, from * PAGE, count * PAGE);
        let Some((at, bytes)) = whole_units(first, pages * PAGE, PAGE, iova, length) else {
            prop_assert!(iova + length <= first || iova >= first + pages * PAGE);
            return Ok(());
        };
        // All that was asked for of the range, and nothing else than the range.
        prop_assert!(at <= iova.max(first) && at >= first);
        prop_assert!(at + bytes >= (iova + length).min(first + pages * PAGE));
        prop_assert!(at + bytes <= first + pages * PAGE);
        let (page, count) = pds(first, pages, at, bytes).expect("pds takes it");
        // It begins where the request does, and what it clears behind it is no page of the range.
        prop_assert_eq!(first + page * PAGE, at);
        let end = page + count;
        prop_assert!(end * PAGE == at + bytes - first || end >= pages);
        // And no more than was needed.
        prop_assert!(iova.max(first) - at < 64 * PAGE);
    }

    #[test]
    fn nothing_overflows(
        first in edgy(), size in edgy(), shift in 0_u32..64, iova in edgy(), length in edgy(),
    ) {
        // A range that wraps is no range.
        let size = size.min((u64::MAX - first).saturating_add(1));
        let Some((at, bytes)) = whole_units(first, size, 1 << shift, iova, length) else {
            return Ok(());
        };
        prop_assert!(at >= first && bytes != 0 && bytes <= size);
        prop_assert!(at + (bytes - 1) <= first + (size - 1));
        prop_assert!(at <= iova.max(first));
        let last = iova.saturating_add(length - 1).min(first + (size - 1));
        prop_assert!(at + (bytes - 1) >= last);
    }

    #[test]
    fn a_page_of_the_driver_is_whole(
        first in 0_u64..100, pages in 1_u64..300, shift in 12_u32..22,
        from in 0_u64..400, count in 1_u64..400,
    ) {
        let page = 1_u64 << shift;
        let (iova, length) = (from * PAGE, count * PAGE);
        if let Some((at, bytes)) = whole_units(first * page, pages * page, page, iova, length) {
            prop_assert_eq!(at % page, 0);
            prop_assert_eq!(bytes % page, 0);
        }
    }
}

#[test]
fn no_overlap_is_nothing() {
    assert_eq!(whole_units(0x10000, 0x10000, PAGE, 0, 0x10000), None);
    assert_eq!(whole_units(0x10000, 0x10000, PAGE, 0x20000, 0x1000), None);
    assert_eq!(whole_units(0x10000, 0, PAGE, 0x10000, 0x1000), None);
    assert_eq!(whole_units(0x10000, 0x10000, PAGE, 0x10000, 0), None);
}
