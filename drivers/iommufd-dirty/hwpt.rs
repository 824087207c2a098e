// SPDX-License-Identifier: GPL-2.0

//! The IOMMU domain tracker: the dirty bits of an iommufd HWPT.

use crate::abi::{
    bindings::*,
    hwpt::Hwpt,
    provider::{
        Coverage,
        Description,
        DirtyRange,
        Kind,
        Operations,
        ReadFlags,
        Registration,
        Sink,
        Started, //
    }, //
};
use crate::logic::granule::MIN_PAGE_SIZE;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    str::CString, //
};

/// A registered HWPT; dropping it gives the HWPT back.
pub(crate) type Registered = Pin<KBox<Registration<HwptTracker>>>;

pub(crate) struct HwptTracker {
    hwpt: Hwpt,
}

/// Registers HWPT `id` of the iommufd that is open as `fd`. Errors: see `Hwpt::get`.
pub(crate) fn register(fd: i32, id: u32) -> Result<Registered> {
    let hwpt = Hwpt::get(fd, id)?;
    // The size of each IOPTE is the page table's choice. Only the smallest is a granule to align
    // to: to a larger one a read would reach beyond what is mapped.
    let finest = hwpt.pgsizes().max(1).trailing_zeros();
    let what = Description {
        name: CString::try_from_fmt(fmt!("hwpt {id}"))?,
        kind: Kind::IommuDomain,
        waits: false,
        unmap_drops: true,
        pgsizes: (1u64 << finest).max(MIN_PAGE_SIZE),
        max_ranges: 0,
        min_span: 0,
        max_span: 0,
        space: hwpt.space(),
    };
    KBox::try_pin_init(
        Registration::new(what, HwptTracker { hwpt }),
        GFP_KERNEL_ACCOUNT,
    )
}

impl HwptTracker {
    fn read(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        peek: bool,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        let flags = [
            (flags.is_final(), IOMMUFD_HWPT_DIRTY_FINAL),
            (flags.is_strict(), IOMMUFD_HWPT_DIRTY_STRICT),
            (peek, IOMMUFD_HWPT_DIRTY_PEEK),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(0, |all, (_, flag)| all | flag);
        Ok(if self.hwpt.read(iova, length, flags, sink)? {
            Coverage::Hole
        } else {
            Coverage::Whole
        })
    }
}

#[vtable]
impl Operations for HwptTracker {
    fn query(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<u64> {
        // The dirty bits are in the page table, which is there anyway.
        Ok(0)
    }

    fn start(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<Started> {
        self.hwpt.start().map(|()| Started::Tracking)
    }

    fn stop(&self) -> Result {
        self.hwpt.stop()
    }

    fn read_and_clear(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        self.read(iova, length, flags, false, sink)
    }

    fn peek(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        self.read(iova, length, flags, true, sink)
    }

    fn update_ranges(&self, _ranges: &[DirtyRange]) -> Result {
        // It tracks whatever is mapped.
        Ok(())
    }
}
