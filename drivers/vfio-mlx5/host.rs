// SPDX-License-Identifier: GPL-2.0

//! The modules of vfio-mlx5 that need no kernel, as a crate for `cargo test` and for fuzzing.
//!
//! Kbuild does not know this file: it is the root of the host crate in `tools/testing/vfio-mlx5/`,
//! as `vfio_mlx5.rs` is that of the kernel module, and the modules are the same source in both.

#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs, unreachable_pub, rust_2018_idioms)]

pub mod cmd;
pub mod cqe;
pub mod ifc;
pub mod image;
pub mod limits;
pub mod outgoing;
#[path = "../iommufd-dirty/logic/range.rs"]
pub mod range;
pub mod report;

/// What is `unsafe` in the kernel module. Here it has the layouts only.
pub mod abi {
    /// bindgen's output of mlx5_ifc.h.
    #[allow(warnings, clippy::all, unsafe_code)]
    pub mod bindings {
        include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
    }
}
