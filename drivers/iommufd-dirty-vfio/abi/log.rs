// SPDX-License-Identifier: GPL-2.0

//! VFIO's DMA logging: what a device's driver offers by `struct vfio_log_ops`.
//!
//! C header: `include/linux/vfio.h`, with `patches/` applied.

use super::{
    bindings,
    device::Device,
    record::{
        opaque,
        record,
        Record, //
    }, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

pub(crate) use bindings::vfio_device_feature_dma_logging_range as LogRange;

/// Ranges that a driver can be given.
pub(crate) const MAX_RANGES: u32 = bindings::IOMMUFD_DIRTY_VFIO_MAX_RANGES;

impl Device {
    /// Its driver has `log_ops`.
    pub(crate) fn has_log(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::iommufd_dirty_vfio_has_log(self.as_raw()) }
    }

    /// Userspace has started VFIO's DMA logging itself.
    pub(crate) fn log_in_use(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_device_log_in_use(self.as_raw()) }
    }

    /// Starts to log `ranges`, with `page_size` bytes per bit. Returns the page size that the
    /// driver uses; `ranges` is then what it logs.
    ///
    /// Errors: `EBUSY` if somebody has started it; those of the driver.
    pub(crate) fn log_start(&self, ranges: &mut KVec<LogRange>, page_size: u64) -> Result<u64> {
        let mut page_size = page_size;
        let mut nr = u32::try_from(ranges.len())?;
        // SAFETY: By the type invariants; `ranges` has `nr` elements.
        to_result(unsafe {
            bindings::vfio_device_log_start(
                self.as_raw(),
                ranges.as_mut_ptr(),
                &mut nr,
                &mut page_size,
            )
        })?;
        ranges.truncate(nr as usize);
        Ok(page_size)
    }

    /// Ends it, whatever the driver answers.
    pub(crate) fn log_stop(&self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::vfio_device_log_stop(self.as_raw()) })
    }

    /// Reads and clears what was logged in the `length` bytes from `iova` on.
    pub(crate) fn log_read<R: Record>(&self, iova: u64, length: u64, to: &mut R) -> Result {
        let iova = usize::try_from(iova)?;
        let length = usize::try_from(length)?;
        // SAFETY: By the type invariants; `record` is given the `R` that it expects, which is
        // lent until the function returns.
        to_result(unsafe {
            bindings::vfio_device_log_read(
                self.as_raw(),
                iova,
                length,
                Some(record::<R>),
                opaque(to),
            )
        })
    }
}
