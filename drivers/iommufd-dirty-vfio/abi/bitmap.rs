// SPDX-License-Identifier: GPL-2.0

//! Where VFIO's DMA logging is reported to: a bitmap of userspace.
//!
//! C header: `include/linux/iova_bitmap.h`, with `patches/` applied.

use super::bindings;
use crate::logic::range::Range;
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// # Invariants
///
/// The bitmap is valid for `'a`, and nobody else uses it.
pub(crate) struct Bitmap<'a> {
    raw: *mut bindings::iova_bitmap,
    _lent: PhantomData<&'a mut ()>,
}

impl Bitmap<'_> {
    /// # Safety
    ///
    /// The bitmap must be valid until the result is dropped, and nobody else use it.
    pub(super) unsafe fn new(raw: *mut bindings::iova_bitmap) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            raw,
            _lent: PhantomData,
        }
    }

    /// Sets the bits of `dirty`, which must be inside of what is reported. May sleep.
    ///
    /// Errors: `EFAULT` if the bitmap cannot be written to, `ENOMEM`.
    pub(crate) fn set(&mut self, dirty: Range) -> Result {
        // SAFETY: By the type invariants.
        let set = unsafe {
            bindings::iommufd_dirty_vfio_bitmap_set(self.raw, dirty.first(), dirty.length())
        };
        to_result(set.min(0))
    }
}
