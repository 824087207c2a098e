// SPDX-License-Identifier: GPL-2.0

//! Where VFIO's DMA logging is reported to: a bitmap of userspace.
//!
//! C header: `include/linux/iova_bitmap.h`.

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

    /// Reports that `dirty`, which must be inside of what was asked for, is dirty. May sleep.
    ///
    /// Errors: `EFAULT` if the bitmap cannot be written to, `ENOMEM`. A kernel without `patches/`
    /// returns none.
    pub(crate) fn set(&mut self, dirty: Range) -> Result {
        // SAFETY: By the type invariants.
        let set = unsafe { bindings::bitmap_set(self.raw, dirty.first(), dirty.length()) };
        // A positive value would be that some of it is not inside.
        to_result(set.min(0))
    }
}
