// SPDX-License-Identifier: GPL-2.0

//! Removing several elements of a vector.

use crate::mem::Vec;

/// Removes the elements `from..to` of `v`. Does nothing if those are not in `v`.
///
/// The vectors of the kernel have no `drain()`, and removing one by one would move the tail once
/// for each.
pub(super) fn cut<T>(v: &mut Vec<T>, from: usize, to: usize) {
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
