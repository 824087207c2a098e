// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! READ of extents: what an iterator hands out, and what it leaves.

use super::*;

fn pages(extents: impl Iterator<Item = Result<Range>>) -> Vec<u64> {
    extents.map(|e| (e.unwrap().iova() - BASE) / PAGE).collect()
}

#[test]
fn goes_on_when_its_room_is_full() {
    let (_context, session) = started();
    let mut request = Extents::new(&[ram()], PageSize::KIB_4, 3);
    write(0..10);
    assert_eq!(
        pages(session.extents(&mut request)),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(reads().len(), 4);
    assert_eq!(request.report().dirty, 10);
    // The next one is another round.
    write([7]);
    assert_eq!(pages(session.extents(&mut request)), [7]);
    assert_eq!(request.report().dirty, 1);
}

/// Each number of extents that an iterator may hand out before it is dropped, with room for few or
/// many.
fn each(f: impl Fn(usize, Extents)) {
    for room in [1, 3, 4, 20] {
        for taken in 0..=10 {
            f(taken, Extents::new(&[ram()], PageSize::KIB_4, room));
        }
    }
}

#[test]
fn one_that_is_dropped_loses_nothing() {
    each(|taken, mut request| {
        let (_context, session) = started();
        write(0..10);
        let mut all = pages(session.extents(&mut request).take(taken));
        assert_eq!(all.len(), taken);
        all.extend(pages(session.extents(&mut request)));
        assert_eq!(all, (0..10).collect::<Vec<_>>(), "{taken} taken");
    });
}

#[test]
fn what_is_left_does_not_make_a_last_round() {
    each(|taken, mut request| {
        let (_context, session) = started();
        write(0..10);
        let mut all = pages(session.extents(&mut request).take(taken));
        write([50]);
        let last = session.devices_stopped();
        all.extend(pages(last.extents(&mut request)));
        let mut expected: Vec<u64> = (0..10).collect();
        expected.push(50);
        assert_eq!(all, expected, "{taken} taken");
        let flags = *reads().last().unwrap();
        assert!(flags & IOMMUFD_DIRTY_READ_FINAL != 0);
        // Again and again it is the same.
        assert!(pages(last.extents(&mut request)).is_empty());
    });
}

#[test]
fn what_came_before_an_error_is_handed_out() {
    let (_context, session) = started();
    let mut request = Extents::new(&[ram()], PageSize::KIB_4, 8);
    write([10, 20, 90]);
    fail(1, libc::EIO, 60);
    let mut extents = session.extents(&mut request);
    assert_eq!(pages(extents.by_ref().take(2)), [10, 20]);
    assert_eq!(errno_of(extents.next().unwrap()), libc::EIO);
    assert_eq!(extents.next(), None);
    assert_eq!(extents.next(), None);
    assert_eq!(pages(session.extents(&mut request)), [90]);
    assert_eq!(request.report().dirty, 3);
}

#[test]
fn a_signal_is_not_seen() {
    let (_context, session) = started();
    let mut request = Extents::new(&[ram()], PageSize::KIB_4, 8);
    write([10, 20, 90]);
    fail(1, libc::EINTR, 15);
    fail(2, libc::EINTR, 0);
    fail(3, libc::EINTR, 50);
    assert_eq!(pages(session.extents(&mut request)), [10, 20, 90]);
}
