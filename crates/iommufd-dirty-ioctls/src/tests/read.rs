// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! READ into bitmaps, HARVEST, and what is around them.

use super::*;

#[test]
fn goes_on_where_it_failed() {
    let (_context, session) = started();
    let bitmap = bitmap();
    let mut request = request(&bitmap);
    write([10, 50, 90]);
    fail(1, libc::EIO, 60);
    fake::with(|k| k.result_error = -libc::ESHUTDOWN);
    let Err(Error::Read { errno, report }) = session.read(&mut request) else {
        panic!();
    };
    assert_eq!((errno.raw(), report.dirty), (libc::EIO, 2));
    let culprit = &report.trackers[0];
    assert_eq!(
        (culprit.id, culprit.cookie, culprit.bytes),
        (1, 5, 2 * PAGE)
    );
    assert_eq!(culprit.error.unwrap().raw(), libc::ESHUTDOWN);
    assert_eq!((bits(&bitmap), held()), (set([10, 50]), set([90])));

    // Behind the place where it goes on: the next round's.
    write([20]);
    let report = session.read(&mut request).unwrap();
    assert_eq!((report.dirty, report.trackers[0].bytes), (3, 3 * PAGE));
    assert_eq!((bits(&bitmap), held()), (set([10, 50, 90]), set([20])));
    assert_eq!(session.read(&mut request).unwrap().dirty, 1);
}

#[test]
fn begins_anew_if_told_to() {
    let (_context, session) = started();
    let bitmap = bitmap();
    let mut request = request(&bitmap);
    write([10, 90]);
    fail(1, libc::EIO, 60);
    session.read(&mut request).unwrap_err();
    write([20]);
    request.restart();
    assert_eq!(session.read(&mut request).unwrap().dirty, 2);
    assert_eq!((bits(&bitmap), held()), (set([10, 20, 90]), set([])));
}

#[test]
fn a_last_round_is_final_from_its_beginning() {
    let (_context, session) = started();
    let bitmap = bitmap();
    let mut request = request(&bitmap);
    fail(1, libc::EIO, 60);
    session.read(&mut request).unwrap_err();
    // Before the place where it would go on.
    write([20]);
    let last = session.devices_stopped();
    fail(1, libc::EINTR, 10);
    last.read(&mut request).unwrap();
    assert_eq!((bits(&bitmap), held()), (set([20]), set([])));
    let last_round = IOMMUFD_DIRTY_READ_FINAL;
    assert_eq!(reads(), [0, last_round, last_round]);
}

#[test]
fn a_bitmap_has_a_bit_for_each_page() {
    let bitmap = bitmap();
    let with = |length, offset| {
        let range = Range::new(BASE, length).unwrap();
        Bitmaps::new(PageSize::KIB_4).with_offset(range, &bitmap, offset)
    };
    let too_short = |length, offset| match with(length, offset) {
        Err(Error::BitmapTooShort { needed, .. }) => needed,
        other => panic!("{other:?}"),
    };
    with(128 * PAGE, 0).unwrap();
    with(28 * PAGE, 100).unwrap();
    assert_eq!(too_short(128 * PAGE + 1, 0), 129);
    assert_eq!(too_short(1, 128), 129);
    assert_eq!(too_short(1, u64::MAX), u64::MAX);
    let all = Range::new(0, u64::MAX).unwrap();
    let coarsest = PageSize::new(1 << 63).unwrap();
    Bitmaps::new(coarsest)
        .with_offset(all, &bitmap, 126)
        .unwrap();
    Bitmaps::new(coarsest)
        .with_offset(all, &bitmap, 127)
        .unwrap_err();
}

#[test]
fn what_is_kept_is_cleared_later() {
    let (_context, session) = started();
    let bitmap = bitmap();
    let mut keeping = request(&bitmap).keep_dirty();
    write([10, 90]);
    assert_eq!(session.read(&mut keeping).unwrap().dirty, 2);
    assert_eq!(held(), set([10, 90]));
    // Not in the bitmap: it stays.
    write([20]);
    session.clear(&keeping).unwrap();
    assert_eq!(held(), set([20]));
}

#[test]
fn ranges_share_a_bitmap() {
    let (_context, session) = started();
    let bitmap = bitmap();
    let half = |n: u64| Range::new(BASE + n * 50 * PAGE, 50 * PAGE).unwrap();
    let mut request = Bitmaps::new(PageSize::KIB_4)
        .with_offset(half(1), &bitmap, 0)
        .and_then(|r| r.with_offset(half(0), &bitmap, 70))
        .unwrap();
    write([1, 51]);
    assert_eq!(session.read(&mut request).unwrap().dirty, 2);
    assert_eq!(bits(&bitmap), set([1, 71]));
}

#[test]
fn ranges_and_page_sizes() {
    assert_eq!(Range::new(u64::MAX, 1).unwrap().last(), u64::MAX);
    Range::new(u64::MAX, 2).unwrap_err();
    Range::new(0, 0).unwrap_err();
    PageSize::new(4096).unwrap();
    for bad in [0, 2048, 12288, u64::MAX] {
        assert_eq!(PageSize::new(bad), Err(Error::PageSize { bytes: bad }));
    }
}

#[test]
fn a_tracker_of_another_context_is_not_read() {
    let (context, session) = started();
    let (other, _other_session) = started();
    let theirs = &other.trackers().unwrap()[0];
    let ours = &context.trackers().unwrap()[0];
    let bitmap = bitmap();
    let before = fake::with(|k| k.calls.len());
    let mut of_theirs = request(&bitmap).only(theirs);
    assert_eq!(errno_of(session.read(&mut of_theirs)), libc::ENOENT);
    assert_eq!(errno_of(session.clear(&of_theirs)), libc::ENOENT);
    let harvested = session.harvest(&[ram()], Some(theirs));
    assert_eq!(errno_of(harvested), libc::ENOENT);
    assert_eq!(fake::with(|k| k.calls.len()), before);
    session.read(&mut of_theirs.only(ours)).unwrap();
}

#[test]
fn harvest_goes_on_behind_a_tracker_that_fails() {
    let (_context, session) = started();
    fail(1, libc::EIO, 1);
    fail(2, libc::ESHUTDOWN, 1);
    let before = fake::with(|k| k.calls.len());
    let harvested = session.harvest(&[ram(); 4], None).unwrap();
    assert_eq!(harvested.error.unwrap().raw(), libc::EIO);
    assert!(harvested.status.has_hole());
    assert_eq!(fake::with(|k| k.calls.len()), before + 3);

    // At the last one there is no more to do.
    fail(1, libc::EXDEV, 1);
    let harvested = session.harvest(&[ram()], None).unwrap();
    assert_eq!(harvested.error.unwrap().raw(), libc::EXDEV);
    fail(1, libc::EFAULT, 0);
    assert_eq!(errno_of(session.harvest(&[ram()], None)), libc::EFAULT);
}

#[test]
fn start_reports_who_could_not() {
    let context = Context::open().unwrap();
    context
        .bind_untracked(UntrackedPolicy::AllDirty, 8)
        .unwrap();
    fail(2, libc::ERANGE, 1);
    let Err(Error::Start { errno, report }) = context.start(&StartOptions::new(PageSize::KIB_4))
    else {
        panic!();
    };
    assert_eq!(errno.raw(), libc::ERANGE);
    assert_eq!((report.granule, report.trackers[0].cookie), (PAGE, 8));
    assert_eq!(report.trackers[0].error, Some(errno));
}

#[test]
fn a_session_that_is_dropped_stops() {
    let (context, session) = started();
    // Not even a signal that shall end calls keeps it.
    context.interrupter().set();
    fail(1, libc::EINTR, 0);
    fail(2, libc::EINTR, 0);
    assert!(session.stop().unwrap_err().is_interrupted());
    assert!(fake::with(|k| !k.started));
}

#[test]
fn errors_say_what_failed() {
    let error = Error::BindHwpt(Errno::new(libc::EXDEV));
    let text = error.to_string();
    assert!(text.starts_with("cannot bind a page table: Invalid cross-device link"));
    let io = std::io::Error::from(error.errno().unwrap());
    assert_eq!(io.raw_os_error(), Some(libc::EXDEV));
}
