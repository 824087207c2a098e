// SPDX-License-Identifier: GPL-2.0

//! The modules of iommufd-dirty that need no kernel, as a crate for `cargo test`.
//!
//! Kbuild does not know this file: it is the root of the host crate, as `iommufd_dirty.rs` is that
//! of the kernel module, and [`logic`] is the same source in both.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, rust_2018_idioms)]

#[path = "../iommufd-dirty-vfio/blocks.rs"]
pub mod blocks;
pub mod logic;
#[path = "../../tools/testing/host/mem.rs"]
pub mod mem;
