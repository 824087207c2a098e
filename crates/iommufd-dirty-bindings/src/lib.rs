// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bindings for `/dev/iommufd-dirty`, a kernel subsystem's merged view of which pages devices wrote
//! while a virtual machine is migrated.
//!
//! Everything here has the same name as in `linux/iommufd_dirty.h`, where each field is
//! described. The structures are for the ioctls of the same name: [`iommufd_dirty_read`] for
//! [`IOMMUFD_DIRTY_READ`]. [`vfio_device_feature_dirty_tracker`] is the exception: it follows a
//! `struct vfio_device_feature` and goes to [`VFIO_DEVICE_FEATURE`] of a VFIO device.
//!
//! Each structure begins with its own size in bytes:
//!
//! ```
//! use iommufd_dirty_bindings::iommufd_dirty_info;
//!
//! let info = iommufd_dirty_info {
//!     size: size_of::<iommufd_dirty_info>() as u32,
//!     ..Default::default()
//! };
//! # assert_eq!(info.size, 40);
//! ```
//!
//! The crate `iommufd-dirty-ioctls` is a safe interface on top of this.

#![no_std]

// Elsewhere `_IO()` may make other numbers, and the words of a bitmap are to be swapped.
#[cfg(not(all(
    target_endian = "little",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
)))]
compile_error!("these bindings are for x86-64, arm64 and 64-bit RISC-V, little-endian");

#[allow(non_camel_case_types, missing_docs, clippy::all)]
mod bindings;

pub use bindings::*;
