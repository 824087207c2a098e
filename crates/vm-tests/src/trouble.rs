// SPDX-License-Identifier: GPL-2.0

//! Trackers that cannot track.

use crate::mock::{Mock, FAIL_READ, LOSE};
use crate::{errno_of, iova, options, pages, ram, read, started, tests, Bits, PAGE, PAGES};
use iommufd_dirty_ioctls::UntrackedPolicy;
use iommufd_dirty_ioctls::{Bitmaps, Context, Error, PageSize, Policy, Range, State};

tests! {
    a_read_that_fails_loses_nothing,
    another_policy_lets_the_round_go_on,
    poll_tells_of_trouble_until_it_is_looked_at,
    one_that_is_gone,
    a_member_that_cannot_track,
    holes_are_a_status_or_an_error,
}

fn a_read_that_fails_loses_nothing() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    mock.write(0..100);
    mock.knob(FAIL_READ, 1);
    let bits = Bits::new();
    let mut request = bits.request();
    let Err(Error::Read { errno, report }) = session.read(&mut request) else {
        panic!();
    };
    assert_eq!(errno.raw(), libc::EIO);
    let culprit = &report.trackers[0];
    assert_eq!((culprit.cookie, culprit.error), (1, Some(errno)));
    // Half of them came with the error.
    session.read(&mut request).unwrap();
    assert_eq!(bits.take(), pages(0..100));
}

fn another_policy_lets_the_round_go_on() {
    let (one, other) = (Mock::new(), Mock::new());
    let (context, session) = started(&one);
    let tracker = other.bind(&context, Policy::Fail, 2);
    read(&session);
    one.write([3]);
    other.knob(LOSE, libc::EIO as u64);
    let bits = Bits::new();
    let mut request = bits.request();
    assert_eq!(errno_of(session.read(&mut request)), libc::EIO);
    tracker.set_policy(Policy::Ignore).unwrap();
    let report = session.read(&mut request).unwrap();
    assert_eq!(bits.take(), pages([3]));
    assert!(report.status.is_ignored());
    let ignored: Vec<_> = report
        .trackers
        .iter()
        .map(|t| t.status.is_ignored())
        .collect();
    assert_eq!(ignored, [false, true]);

    tracker.set_policy(Policy::AllDirty).unwrap();
    assert!(session.read(&mut request).unwrap().status.is_all_dirty());
    assert_eq!(bits.take(), pages(0..PAGES));
}

fn poll_tells_of_trouble_until_it_is_looked_at() {
    let mock = Mock::new();
    let (context, _session) = started(&mock);
    assert!(!context.has_trouble().unwrap());
    mock.knob(LOSE, libc::EIO as u64);
    assert!(context.has_trouble().unwrap());
    let info = context.trackers().unwrap()[0].info().unwrap();
    assert_eq!(info.state, State::Lost);
    assert_eq!(info.error.unwrap().raw(), libc::EIO);
    assert!(!context.has_trouble().unwrap());
}

fn one_that_is_gone() {
    let mock = Mock::new();
    let (context, session) = started(&mock);
    mock.unregister();
    assert!(context.has_trouble().unwrap());
    let bits = Bits::new();
    let read = session.read(&mut bits.request());
    assert_eq!(errno_of(read), libc::ESHUTDOWN);
    let tracker = &context.trackers().unwrap()[0];
    assert_eq!(tracker.info().unwrap().state, State::Gone);
}

fn a_member_that_cannot_track() {
    let context = Context::open().unwrap();
    context.add_ranges(&[ram()]).unwrap();
    context.bind_untracked(UntrackedPolicy::Ignore, 1).unwrap();
    let session = context.start(&options()).unwrap();
    assert!(read(&session).is_empty());
    context
        .bind_untracked(UntrackedPolicy::AllDirty, 2)
        .unwrap();
    assert_eq!(read(&session), pages(0..PAGES));
    assert_eq!(read(&session), pages(0..PAGES));
}

fn holes_are_a_status_or_an_error() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    let bits = Bits::new();
    let half = Range::new(iova(PAGES / 2), PAGES * PAGE).unwrap();
    let request = || Bitmaps::new(PageSize::KIB_4).with(half, &bits.0).unwrap();
    mock.write([PAGES - 1]);
    let strict = session.read(&mut request().strict());
    assert_eq!(errno_of(strict), libc::ENXIO);
    assert!(session.read(&mut request()).unwrap().status.has_hole());
    assert_eq!(bits.take(), pages([PAGES / 2 - 1]));
}
