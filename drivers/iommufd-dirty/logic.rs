// SPDX-License-Identifier: GPL-2.0

//! What needs no kernel object: ranges, negotiation, the residual, the arithmetic of a READ.
//!
//! These modules use `core` and [`crate::mem`] only, so that the very same source is compiled into
//! the kernel module and into the host crate whose tests are in `tools/testing/host/`. Nothing here
//! panics, whatever the arguments: they come from userspace and from devices.

use crate::mem::Vec;

pub mod extents;
pub mod granule;
pub mod range;
pub mod range_set;
pub mod window;

/// Removes the elements `from..to` of `v`. Does nothing if those are not in `v`.
///
/// The vectors of the kernel have no `drain()`, and removing one by one would move the tail once
/// for each.
fn cut<T>(v: &mut Vec<T>, from: usize, to: usize) {
    let len = v.len();
    let Some(count) = to.checked_sub(from) else {
        return;
    };
    let Some(tail) = v.get_mut(from..) else {
        return;
    };
    // `rotate_left()` panics if there is less to rotate.
    if count > tail.len() {
        return;
    }
    tail.rotate_left(count);
    v.truncate(len.saturating_sub(count));
}
