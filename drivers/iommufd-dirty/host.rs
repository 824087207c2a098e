// SPDX-License-Identifier: GPL-2.0

//! The modules of iommufd-dirty that need no kernel, as a crate for `cargo test`.
//!
//! Kbuild does not know this file: it is the root of the host crate, as `iommufd_dirty.rs` is that
//! of the kernel module, and [`logic`] is the same source in both. So are [`whole_units`],
//! [`owed`], [`tracked`] and [`tree`], of iommufd-dirty-vfio.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, rust_2018_idioms)]

#[path = "../../tools/testing/host/cells.rs"]
pub mod cells;
pub mod logic;
#[path = "../../tools/testing/host/mem.rs"]
pub mod mem;
#[path = "../iommufd-dirty-vfio/owed.rs"]
pub mod owed;
#[path = "../iommufd-dirty-vfio/tracked.rs"]
pub mod tracked;
#[path = "../iommufd-dirty-vfio/tree.rs"]
pub mod tree;
#[path = "../iommufd-dirty-vfio/whole_units.rs"]
pub mod whole_units;
