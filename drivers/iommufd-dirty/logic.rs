// SPDX-License-Identifier: GPL-2.0

//! What needs no kernel object: ranges, negotiation, the residual, the arithmetic of a READ.
//!
//! These modules use `core` and [`crate::mem`] only, so that the very same source is compiled into
//! the kernel module and into the host crate whose tests are in `tools/testing/host/`. Nothing here
//! panics, whatever the arguments: they come from userspace and from devices.

pub mod batch;
pub mod bits;
mod cut;
pub mod extents;
pub mod granule;
pub mod paged;
pub mod range;
pub mod range_set;
pub mod window;

use cut::cut;
