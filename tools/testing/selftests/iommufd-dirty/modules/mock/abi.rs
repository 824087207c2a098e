// SPDX-License-Identifier: GPL-2.0

//! Where the mock meets C: all its `unsafe` is here.
//!
//! C headers: `include/linux/iommufd_dirty.h`, `iommufd_dirty_mock.h`.

use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

// It is written as a crate of its own would be: not everything in it is used here.
#[allow(unreachable_pub)]
#[path = "../../../../../../drivers/iommufd-dirty/abi/provider.rs"]
pub(crate) mod provider;

/// bindgen's output of `abi.h`.
#[allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod bindings {
    use kernel::bindings::module;
    use pin_init::MaybeZeroable;
    include!(env!("IOMMUFD_DIRTY_MOCK_BINDINGS"));
}

// SAFETY: All fields are integers.
unsafe impl FromBytes for bindings::mock_create {}
// SAFETY: All fields are integers.
unsafe impl FromBytes for bindings::mock_bind {}
// SAFETY: All fields are integers.
unsafe impl FromBytes for bindings::mock_dirty {}
// SAFETY: All fields are integers.
unsafe impl FromBytes for bindings::mock_knob_set {}

// SAFETY: Four integers of four bytes: there is no padding.
unsafe impl AsBytes for bindings::mock_bind {}
// SAFETY: Two integers of four bytes side by side among such of eight: there is no padding.
unsafe impl AsBytes for bindings::mock_state {}
