// SPDX-License-Identifier: GPL-2.0

//! Where a function of the kernel puts what it found dirty.
//!
//! C header: `include/linux/iova_bitmap.h`, with `patches/` applied.

use super::provider::Sink;
use kernel::ffi::c_void;

/// Takes what was found dirty, one by one.
pub(crate) trait Record {
    /// The `length` bytes from `iova` on are dirty. Cannot fail; may sleep.
    fn record(&mut self, iova: u64, length: u64);

    /// As `record`, of bytes of which it is not known whether they were written.
    fn record_unsure(&mut self, iova: u64, length: u64);
}

impl Record for Sink<'_> {
    fn record(&mut self, iova: u64, length: u64) {
        Sink::record(self, iova, length);
    }

    fn record_unsure(&mut self, iova: u64, length: u64) {
        Sink::record_unsure(self, iova, length);
    }
}

/// An `iova_bitmap_record_fn`.
///
/// # Safety
///
/// `to` must be what [`opaque`] made of an `R` that nobody else uses until this returns.
pub(super) unsafe extern "C" fn record<R: Record>(to: *mut c_void, iova: usize, length: usize) {
    // SAFETY: By the safety requirements.
    let to = unsafe { &mut *to.cast::<R>() };
    to.record(iova as u64, length as u64);
}

/// The argument of [`record`].
pub(super) fn opaque<R: Record>(to: &mut R) -> *mut c_void {
    core::ptr::from_mut(to).cast()
}
