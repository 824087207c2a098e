// SPDX-License-Identifier: GPL-2.0

//! A flag of the allocators that the kernel crate does not have.
//!
//! C header: `include/linux/gfp_types.h`.

use kernel::alloc::Flags;

/// Gives up where it would call the out-of-memory killer.
pub(crate) const NORETRY: Flags = {
    let bits = 1u32 << kernel::bindings::___GFP_NORETRY_BIT;
    // SAFETY: `Flags` has one field, of that type: their sizes are the same, or this does not
    // compile, so that nothing else has room in it. Any bits are flags.
    unsafe { core::mem::transmute::<u32, Flags>(bits) }
};
