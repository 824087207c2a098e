// SPDX-License-Identifier: GPL-2.0

//! An open VFIO device.
//!
//! C header: `include/linux/vfio.h`, with `patches/` applied.

use super::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A VFIO device that is open.
///
/// # Invariants
///
/// The device is valid and open for as long as the value lives.
#[derive(Clone)]
pub(crate) struct Device(NonNull<bindings::vfio_device>);

// SAFETY: VFIO locks by itself; the functions below may be called from any task.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    ///
    /// The device must be valid and open until the result and all its clones are dropped.
    pub(super) unsafe fn new(device: *mut bindings::vfio_device) -> Result<Self> {
        // INVARIANT: By the safety requirements.
        Ok(Self(NonNull::new(device).ok_or(ENODEV)?))
    }

    /// For a C function.
    pub(super) fn as_raw(&self) -> *mut bindings::vfio_device {
        self.0.as_ptr()
    }

    /// What the bus calls it.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the type invariants, and the name of a device stays while it has a driver.
        unsafe { CStr::from_char_ptr(bindings::iommufd_dirty_vfio_name(self.as_raw()).cast()) }
    }

    /// The number of the I/O address space that it is attached to now, which no other space ever
    /// has; 0 if it is in none of an iommufd.
    pub(crate) fn space(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { bindings::iommufd_dirty_vfio_space(self.as_raw()) }
    }

    /// Its DMA goes through VFIO, into an iommufd.
    pub(crate) fn is_emulated(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::iommufd_dirty_vfio_emulated(self.as_raw()) }
    }
}
