// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! READ into the bitmaps of vm-memory. Their words are private, so extents are used.

use crate::{Error, Extents, ExtentsIter, ReadReport, Result};
use vm_memory::bitmap::AtomicBitmap;

pub(crate) fn mark<'s>(
    request: &mut Extents,
    bitmaps: &[&AtomicBitmap],
    read: impl for<'r> FnOnce(&'r mut Extents) -> ExtentsIter<'s, 'r>,
) -> Result<ReadReport> {
    let ranges = request.ranges().to_vec();
    if ranges.len() != bitmaps.len() {
        return Err(Error::BitmapsMissing {
            ranges: ranges.len(),
            bitmaps: bitmaps.len(),
        });
    }
    // It would ignore what is beyond its end.
    for (range, bitmap) in ranges.iter().zip(bitmaps) {
        if (bitmap.byte_size() as u64) < range.length() {
            return Err(Error::BitmapTooShort {
                range: *range,
                needed: range.length().div_ceil(request.page_size()),
            });
        }
    }
    for extent in read(request) {
        let extent = extent?;
        for (range, bitmap) in ranges.iter().zip(bitmaps) {
            let first = extent.iova().max(range.iova());
            let last = extent.last().min(range.last());
            if first <= last {
                let offset = first - range.iova();
                bitmap.set_addr_range(offset as usize, (last - first + 1) as usize);
            }
        }
    }
    Ok(request.report().clone())
}
