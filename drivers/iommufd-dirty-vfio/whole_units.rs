// SPDX-License-Identifier: GPL-2.0

//! What to ask a driver's DMA log for, so that it reports all that it clears.
//!
//! Uses `core` only: the same source is in the host crate, whose tests are in
//! `tools/testing/host/`.

/// Pages that are read together, counted from the start of a logged range.
///
/// pds looks at its bitmap in words of 64 pages: it rounds a length up to them, rounds a start that
/// is not a multiple of 8 up (and reports nothing of what is before), and reads beyond its memory
/// if the last word begins late.
const UNIT_PAGES: u64 = 64;

/// The bytes to read of the range `[first, first + size)`, which is logged with `page_size` bytes
/// per bit, to have all of it that is in `[iova, iova + length)`: the address and how many. They
/// are whole units of the range, or end where it ends. `None` if the two have nothing in common.
///
/// So a page of `page_size` is read whole, too: mlx5 reports the one that begins before what it is
/// asked for.
pub fn whole_units(
    first: u64,
    size: u64,
    page_size: u64,
    iova: u64,
    length: u64,
) -> Option<(u64, u64)> {
    // Both are offsets into the range, and the last is the last byte.
    let end = size.checked_sub(1)?;
    let last = iova.saturating_add(length.checked_sub(1)?);
    let to = last.checked_sub(first)?.min(end);
    let from = iova.saturating_sub(first);
    if from > to {
        return None;
    }
    // A unit that is no number of bytes is larger than any range.
    let unit = page_size.saturating_mul(UNIT_PAGES).max(1);
    let from = from.saturating_sub(from.checked_rem(unit)?);
    let rest = unit.saturating_sub(1).saturating_sub(to.checked_rem(unit)?);
    let to = to.saturating_add(rest).min(end);
    Some((
        first.checked_add(from)?,
        to.saturating_sub(from).checked_add(1)?,
    ))
}
