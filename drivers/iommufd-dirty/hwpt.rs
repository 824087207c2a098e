// SPDX-License-Identifier: GPL-2.0

//! The IOMMU domain tracker: the dirty bits of an iommufd HWPT.

use crate::{
    abi::{
        bindings::*,
        hwpt::Hwpt, //
    },
    logic::granule::{
        Limits,
        MIN_PAGE_SIZE, //
    },
    properties::Properties,
    source::Source,
    tracker::Tracker, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The tracker of HWPT `id` of the iommufd that is open as `fd`. Errors: see `Hwpt::get`.
pub(crate) fn tracker(fd: i32, id: u32) -> Result<Arc<Tracker>> {
    let hwpt = Hwpt::get(fd, id)?;
    // The size of each IOPTE is the page table's choice. Only the smallest is a granule to align
    // to: to a larger one a read would reach beyond what is mapped.
    let finest = hwpt.pgsizes().max(1).trailing_zeros();
    let name = CString::try_from_fmt(fmt!("hwpt {id}"))?;
    let properties = Properties {
        name: Properties::padded(name.to_bytes()),
        kind: IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN,
        caps: IOMMUFD_DIRTY_CAP_PEEK
            | IOMMUFD_DIRTY_CAP_UPDATE_RANGES
            | IOMMUFD_DIRTY_CAP_UNMAP_DROPS,
        limits: Limits {
            pgsizes: (1u64 << finest).max(MIN_PAGE_SIZE),
            max_ranges: 0,
            min_span: 0,
            max_span: 0,
        },
    };
    Tracker::new(properties, Source::Hwpt(hwpt))
}
