// SPDX-License-Identifier: GPL-2.0

//! The HWPT that a device's DMA goes through, and its dirty bits.
//!
//! C header: `include/linux/iommufd.h`, with `patches/` applied.

use super::{
    bindings,
    device::Device,
    record::{
        opaque,
        record,
        Record, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

/// A paging HWPT that has dirty tracking.
///
/// # Invariants
///
/// Both pointers own a reference, and that to the context is put last.
pub(crate) struct Hwpt {
    ictx: NonNull<bindings::iommufd_ctx>,
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
}

// SAFETY: iommufd locks by itself; its functions may be called from any task.
unsafe impl Send for Hwpt {}
// SAFETY: As above.
unsafe impl Sync for Hwpt {}

/// Which way the DMA of a device takes: as long as it is the same, all that the device wrote went
/// through one HWPT.
#[derive(PartialEq, Eq)]
pub(crate) struct Way(u64);

impl Device {
    /// The HWPT that all its DMA goes through.
    ///
    /// Errors: `EXDEV` if it is not attached; `EOPNOTSUPP` if the HWPT has no dirty tracking, or if
    /// there is no such one; `ENODEV` if it has none of its own, because it is emulated.
    pub(crate) fn hwpt(&self) -> Result<(Hwpt, Way)> {
        let mut moves = 0;
        // SAFETY: The device is open, so that it is bound to an iommufd or to none for good.
        let hwpt = unsafe { bindings::iommufd_dirty_vfio_hwpt(self.as_raw(), &mut moves) };
        let hwpt = NonNull::new(from_err_ptr(hwpt)?).ok_or(ENODEV)?;
        // SAFETY: As above, and it has a HWPT, so it is bound to an iommufd.
        let ictx = unsafe { bindings::iommufd_dirty_vfio_ictx_get(self.as_raw()) };
        let ictx = NonNull::new(ictx).ok_or(ENODEV)?;
        // INVARIANT: Both functions gave us a reference.
        Ok((Hwpt { ictx, hwpt }, Way(moves)))
    }

    /// The way that its DMA takes now. It has a HWPT.
    pub(crate) fn way(&self) -> Way {
        // SAFETY: As in `hwpt`.
        Way(unsafe { bindings::iommufd_dirty_vfio_moves(self.as_raw()) })
    }
}

impl Hwpt {
    /// Is it the same one?
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.hwpt == other.hwpt
    }

    /// Bytes of the smallest IOPTE.
    pub(crate) fn granule(&self) -> u64 {
        // SAFETY: By the type invariants.
        let pgsizes = unsafe { bindings::iommufd_hwpt_dirty_pgsizes(self.hwpt.as_ptr()) } as u64;
        pgsizes & pgsizes.wrapping_neg()
    }

    /// Claims the dirty bits and switches tracking on. `EBUSY`: somebody else has.
    pub(crate) fn start(&self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommufd_hwpt_dirty_start(self.hwpt.as_ptr()) })
    }

    /// Switches tracking off and gives the dirty bits back. It was started.
    pub(crate) fn stop(&self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommufd_hwpt_dirty_stop(self.hwpt.as_ptr()) })
    }

    /// Records the IOPTEs that are dirty and have a part in the `length` bytes from `iova` on, and
    /// cleans them. It was started. After an error those that were not recorded are still dirty.
    pub(crate) fn read<R: Record>(&self, iova: u64, length: u64, to: &mut R) -> Result {
        let iova = usize::try_from(iova).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(length).map_err(|_| EOVERFLOW)?;
        // SAFETY: By the type invariants; `record` is given the `R` that it expects, which is lent
        // until the function returns.
        let ret = unsafe {
            bindings::iommufd_hwpt_dirty_read(
                self.hwpt.as_ptr(),
                iova,
                length,
                0,
                Some(record::<R>),
                opaque(to),
            )
        };
        // A positive value is that a part of it is not mapped.
        to_result(ret)
    }
}

impl Drop for Hwpt {
    fn drop(&mut self) {
        // SAFETY: By the type invariants both references are ours, and not used any more.
        unsafe {
            bindings::iommufd_hwpt_dirty_put(self.ictx.as_ptr(), self.hwpt.as_ptr());
            bindings::iommufd_ctx_put(self.ictx.as_ptr());
        }
    }
}
