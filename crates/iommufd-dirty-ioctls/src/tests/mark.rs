// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! READ into the bitmaps of vm-memory.

use super::*;
use std::num::NonZeroUsize;
use vm_memory::bitmap::AtomicBitmap;

const HALF: u64 = 50;

fn half(n: u64) -> Range {
    Range::new(BASE + n * HALF * PAGE, HALF * PAGE).unwrap()
}

fn atomic(pages: u64) -> AtomicBitmap {
    let page_size = NonZeroUsize::new(PAGE as usize).unwrap();
    AtomicBitmap::new((pages * PAGE) as usize, page_size)
}

fn marked(bitmap: &AtomicBitmap) -> Vec<usize> {
    (0..bitmap.len())
        .filter(|n| bitmap.is_bit_set(*n))
        .collect()
}

#[test]
fn each_range_has_its_own() {
    let (_context, session) = started();
    let bitmaps = [atomic(HALF), atomic(HALF)];
    let [first, second] = &bitmaps;
    let mut request = Extents::new(&[half(0), half(1)], PageSize::KIB_4, 2);
    first.set_bit(3);
    write([0, 49, 50, 99]);
    let report = session.mark(&mut request, &[first, second]).unwrap();
    assert_eq!(report.dirty, 4);
    assert_eq!(marked(first), [0, 3, 49]);
    assert_eq!(marked(second), [0, 49]);
}

#[test]
fn what_was_found_before_an_error_is_marked() {
    let (_context, session) = started();
    let bitmap = atomic(PAGES);
    let mut request = Extents::new(&[ram()], PageSize::KIB_4, 2);
    write([10, 50, 90]);
    fail(1, libc::EIO, 60);
    let failed = session.mark(&mut request, &[&bitmap]);
    assert_eq!(errno_of(failed), libc::EIO);
    assert_eq!(marked(&bitmap), [10, 50]);
    let last = session.devices_stopped();
    last.mark(&mut request, &[&bitmap]).unwrap();
    assert_eq!(marked(&bitmap), [10, 50, 90]);
}

#[test]
fn one_that_is_too_short_is_refused() {
    let (_context, session) = started();
    let mut request = Extents::new(&[half(0), half(1)], PageSize::KIB_4, 2);
    write([99]);
    let short = session.mark(&mut request, &[&atomic(HALF), &atomic(HALF - 1)]);
    assert!(matches!(
        short,
        Err(Error::BitmapTooShort { needed: 50, .. })
    ));
    let missing = session.mark(&mut request, &[&atomic(HALF)]);
    assert!(matches!(missing, Err(Error::BitmapsMissing { .. })));
    assert_eq!(held(), set([99]));
}
