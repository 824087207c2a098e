// SPDX-License-Identifier: GPL-2.0

//! What a migration does, with the mock.

use crate::mock::{Create, Mock, CAP_PEEK, CAP_UNMAP_DROPS, CAP_UPDATE_RANGES};
use crate::{errno_of, iova, options, pages, ram, read, started, tests, Bits, PAGE, PAGES};
use iommufd_dirty_ioctls::{
    Context, Error, Extents, Kind, PageSize, Policy, Range, StartOptions, State,
};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use vm_memory::bitmap::AtomicBitmap;

tests! {
    a_context_makes_another,
    a_descriptor_becomes_a_context,
    from_bind_to_stop,
    trackers_are_merged_and_told_apart,
    extents_are_what_bitmaps_are,
    an_iterator_that_is_dropped_loses_nothing,
    bitmaps_of_vm_memory,
    what_is_kept_is_cleared_later,
    count_takes_nothing,
    ranges_come_and_go,
    a_virtual_iommu_is_translated_by_bit_offsets,
    harvest_keeps_it_for_the_next_read,
    unbind_keeps_it_or_drops_it,
    bind_while_tracking,
    a_session_that_is_dropped_stops,
    what_a_start_would_do,
}

fn a_context_makes_another() {
    let one = Context::open().unwrap();
    let mock = Mock::new();
    mock.bind(&one, Policy::Fail, 1);
    let other = one.another().unwrap();
    assert!(other.trackers().unwrap().is_empty());
    let info = other.info().unwrap();
    assert!(info.hwpt && info.max_trackers >= 8 && info.max_read_ranges >= 1024);
}

fn a_descriptor_becomes_a_context() {
    let one = Context::open().unwrap();
    one.add_ranges(&[ram()]).unwrap();
    let fd: OwnedFd = one.as_fd().try_clone_to_owned().unwrap();
    drop(one);
    assert_eq!(Context::from(fd).ranges().unwrap(), [ram()]);
    // It is nothing that could be a context.
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    assert_eq!(errno_of(Context::from(null).info()), libc::ENOTTY);
}

fn from_bind_to_stop() {
    let context = Context::open().unwrap();
    let mock = Mock::new();
    let tracker = mock.bind(&context, Policy::Fail, 0xc00c1e);
    let info = tracker.info().unwrap();
    assert_eq!((info.kind, info.state), (Kind::Device, State::Stopped));
    assert_eq!((info.cookie, info.page_sizes), (0xc00c1e, PAGE));
    assert_eq!(info.policy, Some(Policy::Fail));
    assert!(info.name.contains("mock"), "{}", info.name);

    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    assert_eq!(session.start_report().granule, PAGE);
    let start = &session.start_report().trackers[0];
    assert_eq!((start.id, start.cookie), (tracker.id(), 0xc00c1e));
    assert_eq!((start.error, start.ranges), (None, 1));
    assert_eq!(tracker.info().unwrap().state, State::Tracking);

    for round in 0..5 {
        let written = pages((0..PAGES).filter(|page| page % 7 == round));
        mock.write(written.iter().copied());
        assert_eq!(read(&session), written);
        assert!(read(&session).is_empty());
    }
    assert_eq!(context.stats().unwrap().reads, 10);
    assert_eq!(tracker.stats().unwrap().reads, 10);

    mock.write([0, PAGES - 1]);
    let last = session.devices_stopped();
    let bits = Bits::new();
    last.read(&mut bits.request()).unwrap();
    assert_eq!(bits.take(), pages([0, PAGES - 1]));
    assert_eq!(mock.state().final_reads, 1);
    last.stop().unwrap();
    assert_eq!(mock.state().started, 0);
    assert_eq!(tracker.info().unwrap().state, State::Stopped);
}

fn trackers_are_merged_and_told_apart() {
    let context = Context::open().unwrap();
    let (one, other) = (Mock::new(), Mock::new());
    let first = one.bind(&context, Policy::Fail, 11);
    other.bind(&context, Policy::Fail, 22);
    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    one.write([1, 2]);
    other.write([2, 3, 4]);
    let bits = Bits::new();
    let report = session.read(&mut bits.request()).unwrap();
    assert_eq!(bits.take(), pages([1, 2, 3, 4]));
    assert_eq!(report.dirty, 4);
    let each: Vec<_> = report
        .trackers
        .iter()
        .map(|t| (t.cookie, t.bytes))
        .collect();
    assert_eq!(each, [(11, 2 * PAGE), (22, 3 * PAGE)]);

    one.write([5]);
    other.write([6]);
    session.read(&mut bits.request().only(&first)).unwrap();
    assert_eq!(bits.take(), pages([5]));
    assert_eq!(read(&session), pages([6]));
}

fn extents_are_what_bitmaps_are() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    let written = pages((0..PAGES).filter(|page| page % 3 == 0));
    for room in [1, 7, 100, 4000] {
        mock.write(written.iter().copied());
        let mut request = Extents::new(&[ram()], PageSize::KIB_4, room);
        let found = session.extents(&mut request).map(|e| e.unwrap().iova());
        assert_eq!(pages(found), pages(written.iter().map(|n| iova(*n))));
        assert_eq!(request.report().dirty, written.len() as u64);
        assert!(read(&session).is_empty());
    }
}

fn an_iterator_that_is_dropped_loses_nothing() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    let written = pages((0..200).map(|page| page * 5));
    mock.write(written.iter().copied());
    let mut request = Extents::new(&[ram()], PageSize::KIB_4, 7);
    let mut found = Vec::new();
    // One at a time, each by an iterator of its own.
    while let Some(extent) = session.extents(&mut request).next() {
        found.push((extent.unwrap().iova() - iova(0)) / PAGE);
    }
    assert_eq!(found.len(), written.len());
    assert_eq!(pages(found), written);
}

fn bitmaps_of_vm_memory() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    let half = PAGES / 2;
    let ranges = [0, 1].map(|n| Range::new(iova(n * half), half * PAGE).unwrap());
    let page_size = NonZeroUsize::new(PAGE as usize).unwrap();
    let bitmaps = [0, 1].map(|_| AtomicBitmap::new((half * PAGE) as usize, page_size));
    let [low, high] = &bitmaps;
    let mut request = Extents::new(&ranges, PageSize::KIB_4, 3);
    mock.write([0, 9, half - 1, half, PAGES - 1]);
    session.mark(&mut request, &[low, high]).unwrap();
    let last = half as usize - 1;
    let marked = |b: &AtomicBitmap| {
        (0..b.len())
            .filter(|n| b.is_bit_set(*n))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (marked(low), marked(high)),
        (vec![0, 9, last], vec![0, last])
    );
}

fn what_is_kept_is_cleared_later() {
    for caps in [0, CAP_PEEK] {
        let mock = Mock::that_can(caps);
        let (_context, session) = started(&mock);
        let bits = Bits::new();
        let mut keeping = bits.request().keep_dirty();
        mock.write([3, 70]);
        session.read(&mut keeping).unwrap();
        let count = session.count(&[ram()], PageSize::KIB_4, None).unwrap();
        assert_eq!(count.dirty, 2);
        mock.write([4]);
        session.clear(&keeping).unwrap();
        assert_eq!(bits.take(), pages([3, 70]));
        assert_eq!(read(&session), pages([4]));
    }
}

fn count_takes_nothing() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    mock.write([3, 70, 71]);
    for (page_size, dirty) in [(PAGE, 3), (64 << 10, 2)] {
        let page_size = PageSize::new(page_size).unwrap();
        let count = session.count(&[ram()], page_size, None).unwrap();
        assert_eq!(count.dirty, dirty);
    }
    assert_eq!(read(&session), pages([3, 70, 71]));
}

fn ranges_come_and_go() {
    let mock = Mock::that_can(CAP_UPDATE_RANGES);
    let (context, session) = started(&mock);
    let more = |n| Range::new(iova(PAGES + n), PAGE).unwrap();
    context.add_clean_ranges(&[more(1)]).unwrap();
    context.add_ranges(&[more(3)]).unwrap();
    assert_eq!(context.ranges().unwrap(), [ram(), more(1), more(3)]);
    let all = Range::new(iova(PAGES), 4 * PAGE).unwrap();
    let count = || session.count(&[all], PageSize::KIB_4, None).unwrap();
    // What was added may have been written before, or not.
    assert_eq!(count().dirty, 1);
    assert!(count().status.has_hole());
    context.remove_ranges(&[more(3)]).unwrap();
    assert_eq!(count().dirty, 0);

    let odd = Range::new(iova(0) + 1, PAGE).unwrap();
    assert_eq!(errno_of(context.add_ranges(&[odd])), libc::EINVAL);
    assert!(matches!(
        context.add_ranges(&[odd]),
        Err(Error::AddRanges(_))
    ));
    assert_eq!(context.ranges().unwrap(), [ram(), more(1)]);
}

/// Two pages of I/O address space are the same page of the guest's.
fn a_virtual_iommu_is_translated_by_bit_offsets() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    let bits = Bits::new();
    let map = |from, count| Range::new(iova(from), count * PAGE).unwrap();
    let mut request = iommufd_dirty_ioctls::Bitmaps::new(PageSize::KIB_4)
        .with_offset(map(100, 10), &bits.0, 1000)
        .and_then(|r| r.with_offset(map(300, 10), &bits.0, 1005))
        .unwrap();
    mock.write([101, 106, 301]);
    assert_eq!(session.read(&mut request).unwrap().dirty, 2);
    assert_eq!(bits.take(), pages([1001, 1006]));
}

fn harvest_keeps_it_for_the_next_read() {
    let mock = Mock::that_can(CAP_UNMAP_DROPS);
    let (context, session) = started(&mock);
    mock.write([3, 70]);
    let low = Range::new(iova(0), 64 * PAGE).unwrap();
    let harvested = session.harvest(&[low], None).unwrap();
    assert_eq!((harvested.error, mock.state().dirty), (None, PAGE));
    context.remove_ranges(&[low]).unwrap();
    assert_eq!(read(&session), pages([3, 70]));
}

fn unbind_keeps_it_or_drops_it() {
    let context = Context::open().unwrap();
    let mocks = [Mock::new(), Mock::new(), Mock::new()];
    let [stays, kept, dropped] = [0, 1, 2].map(|n| mocks[n].bind(&context, Policy::Fail, n as u64));
    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    for (mock, page) in mocks.iter().zip(1..) {
        mock.write([page]);
    }
    kept.unbind().unwrap();
    dropped.unbind_and_drop_dirty().unwrap();
    assert_eq!(context.trackers().unwrap().len(), 1);
    assert_eq!(context.trackers().unwrap()[0].id(), stays.id());
    assert_eq!(read(&session), pages([1, 2]));
}

fn bind_while_tracking() {
    let mock = Mock::new();
    let (context, session) = started(&mock);
    let other = Mock::new();
    let tracker = other.bind(&context, Policy::Fail, 2);
    assert_eq!(tracker.info().unwrap().state, State::Tracking);
    let bits = Bits::new();
    let report = session.read(&mut bits.request()).unwrap();
    assert_eq!(bits.take(), pages(0..PAGES));
    assert!(report.status.is_overreported());
    other.write([8]);
    assert_eq!(read(&session), pages([8]));
}

fn a_session_that_is_dropped_stops() {
    let mock = Mock::new();
    let (context, session) = started(&mock);
    assert_eq!(errno_of(context.start(&options())), libc::EBUSY);
    drop(session);
    assert_eq!(mock.state().started, 0);
    let again = context.start(&options()).unwrap();
    mock.write([5]);
    assert_eq!(read(&again), pages([5]));
    again.stop().unwrap();
    assert_eq!(mock.state().starts, 2);
}

fn what_a_start_would_do() {
    let context = Context::open().unwrap();
    let coarse = Mock::with(Create {
        pgsizes: 64 << 10,
        ..Default::default()
    });
    coarse.bind(&context, Policy::Fail, 9);
    context.add_ranges(&[ram()]).unwrap();
    assert_eq!(context.dry_run(&options()).unwrap().granule, 64 << 10);
    let exact = StartOptions::new(PageSize::KIB_4).exact();
    for result in [context.dry_run(&exact).err(), context.start(&exact).err()] {
        let Some(Error::Start { errno, report }) = result else {
            panic!();
        };
        assert_eq!((errno.raw(), report.granule), (libc::ERANGE, 64 << 10));
        let culprit = &report.trackers[0];
        assert_eq!((culprit.cookie, culprit.granule), (9, 64 << 10));
        assert_eq!(culprit.error, Some(errno));
    }
    assert_eq!(coarse.state().starts, 0);
}
