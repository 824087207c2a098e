// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration that makes each call of the kernel once or more, and what comes of it when one of
//! them fails.

use super::*;

/// What was delivered, however far the migration came.
#[derive(Default)]
struct Delivered {
    bitmap: [AtomicU64; 2],
    extents: BTreeSet<u64>,
}

impl Delivered {
    fn all(&self) -> BTreeSet<u64> {
        bits(&self.bitmap).union(&self.extents).copied().collect()
    }
}

fn migrate(to: &mut Delivered, interrupted: bool) -> Result<()> {
    let context = Context::open()?;
    if interrupted {
        context.interrupter().set();
    }
    let other = context.another()?;
    if context.device_has_tracker(&other)? {
        context.bind_device(&other, &Binding::new(Policy::Fail).cookie(1))?;
    }
    let hwpt = context.bind_hwpt(&other, 3, &Binding::new(Policy::Fail).cookie(2))?;
    context.bind_untracked(UntrackedPolicy::Ignore, 3)?;
    assert_eq!(hwpt.info()?.cookie, 2);
    hwpt.set_policy(Policy::AllDirty)?;
    assert_eq!(hwpt.stats()?.reads, 7);
    assert_eq!(context.trackers()?.len(), 3);
    context.add_ranges(&[ram()])?;
    assert_eq!(context.ranges()?, [ram()]);
    context.dry_run(&StartOptions::new(PageSize::KIB_4).exact())?;

    let session = context.start(&StartOptions::new(PageSize::KIB_4))?;
    assert_eq!(session.start_report().trackers.len(), 3);
    write([1, 70]);
    let mut request = request(&to.bitmap);
    session.read(&mut request)?;
    write([2, 3, 99]);
    session.count(&[ram()], PageSize::KIB_4, None)?;
    let mut extents = Extents::new(&[ram()], PageSize::KIB_4, 2);
    for extent in session.extents(&mut extents) {
        to.extents.insert((extent?.iova() - BASE) / PAGE);
    }
    write([4]);
    session.harvest(&[ram()], Some(&hwpt))?;
    let kept = bitmap();
    let mut keeping = super::request(&kept).keep_dirty();
    session.read(&mut keeping)?;
    session.clear(&keeping)?;
    to.bitmap[0].fetch_or(kept[0].load(Ordering::SeqCst), Ordering::SeqCst);
    assert!(!context.has_trouble()?);
    context.add_clean_ranges(&[ram()])?;
    context.remove_ranges(&[ram()])?;
    hwpt.unbind()?;

    write([5, 64]);
    let last = session.devices_stopped();
    last.read(&mut request)?;
    last.stop()
}

const WRITTEN: [u64; 8] = [1, 2, 3, 4, 5, 64, 70, 99];

fn calls() -> Vec<(u32, u32)> {
    fake::with(|k| std::mem::take(k).calls)
}

#[test]
fn all_is_well() {
    let mut to = Delivered::default();
    migrate(&mut to, false).unwrap();
    assert_eq!(to.all(), set(WRITTEN));
    let calls = calls();
    let numbers: BTreeSet<u32> = calls.iter().map(|call| call.0).collect();
    // All the ioctls, VFIO's, open() and poll().
    assert_eq!(numbers.len(), 16 + 3);
    assert_eq!(calls.last().unwrap().0, IOMMUFD_DIRTY_STOP);
    assert_eq!(
        calls[calls.len() - 2],
        (IOMMUFD_DIRTY_READ, IOMMUFD_DIRTY_READ_FINAL)
    );
}

fn each(f: impl Fn(usize, (u32, u32))) {
    migrate(&mut Delivered::default(), false).unwrap();
    for (n, call) in calls().into_iter().enumerate() {
        f(n + 1, call);
    }
}

fn error_of(call: u32, flags: u32, errno: Errno) -> Option<Error> {
    Some(match call {
        fake::OPEN => Error::Open(errno),
        fake::POLL => Error::Poll(errno),
        IOMMUFD_DIRTY_INFO => Error::Info(errno),
        IOMMUFD_DIRTY_NEW => Error::Another(errno),
        IOMMUFD_DIRTY_BIND_HWPT => Error::BindHwpt(errno),
        IOMMUFD_DIRTY_BIND_UNTRACKED => Error::BindUntracked(errno),
        VFIO_DEVICE_FEATURE if flags & VFIO_DEVICE_FEATURE_PROBE != 0 => Error::ProbeDevice(errno),
        VFIO_DEVICE_FEATURE => Error::BindDevice(errno),
        IOMMUFD_DIRTY_UNBIND => Error::Unbind(errno),
        IOMMUFD_DIRTY_LIST => Error::Trackers(errno),
        IOMMUFD_DIRTY_TRACKER_INFO => Error::TrackerInfo(errno),
        IOMMUFD_DIRTY_RANGES if flags & IOMMUFD_DIRTY_RANGES_REMOVE != 0 => {
            Error::RemoveRanges(errno)
        }
        IOMMUFD_DIRTY_RANGES => Error::AddRanges(errno),
        IOMMUFD_DIRTY_LIST_RANGES => Error::Ranges(errno),
        IOMMUFD_DIRTY_STOP => Error::Stop(errno),
        IOMMUFD_DIRTY_CLEAR => Error::Clear(errno),
        IOMMUFD_DIRTY_HARVEST => Error::Harvest(errno),
        IOMMUFD_DIRTY_SET_POLICY => Error::SetPolicy(errno),
        IOMMUFD_DIRTY_STATS => Error::Stats(errno),
        // They have a report.
        IOMMUFD_DIRTY_START | IOMMUFD_DIRTY_READ => return None,
        other => panic!("{other:#x}"),
    })
}

/// What was written until the failure is delivered or still there, and nothing goes on.
fn check_nothing_lost(to: &Delivered) {
    let mut there = held();
    there.extend(to.all());
    let written: Vec<u64> = set(WRITTEN).intersection(&there).copied().collect();
    let came = [0, 2, 5, 6, 8];
    assert!(came.contains(&written.len()), "{written:?}");
    assert!(fake::with(|k| !k.started));
}

#[test]
fn an_error_is_that_of_the_call_and_nothing_is_lost() {
    each(|n, (number, flags)| {
        let fault = Fault {
            errno: libc::EBADF,
            after: 0,
        };
        fake::with(|k| k.faults.insert(n, fault));
        let mut to = Delivered::default();
        let error = migrate(&mut to, false).unwrap_err();
        let errno = Errno::new(libc::EBADF);
        assert_eq!(error.errno(), Some(errno));
        match error_of(number, flags, errno) {
            Some(expected) => assert_eq!(error, expected),
            None if number == IOMMUFD_DIRTY_START => assert!(matches!(error, Error::Start { .. })),
            None => assert!(matches!(error, Error::Read { .. })),
        }
        // A STOP that failed has stopped all the same.
        if number == IOMMUFD_DIRTY_STOP {
            fake::with(|k| k.started = false);
        }
        check_nothing_lost(&to);
        calls();
    });
}

#[test]
fn an_error_amid_a_read_loses_nothing() {
    each(|n, (number, _)| {
        if number != IOMMUFD_DIRTY_READ {
            return;
        }
        for after in 1..PAGES {
            let errno = libc::EIO;
            fake::with(|k| k.faults.insert(n, Fault { errno, after }));
            let mut to = Delivered::default();
            // It has room for two extents, and may be full before.
            match migrate(&mut to, false) {
                Err(Error::Read { errno, .. }) => assert_eq!(errno.raw(), libc::EIO),
                other => assert_eq!(other, Ok(())),
            }
            check_nothing_lost(&to);
            calls();
        }
    });
}

#[test]
fn a_signal_ends_nothing() {
    each(|n, (number, _)| {
        // The standard library opens again.
        if number == fake::OPEN {
            return;
        }
        let pages = if number == IOMMUFD_DIRTY_READ { 66 } else { 1 };
        for after in 0..pages {
            let errno = libc::EINTR;
            fake::with(|k| k.faults.insert(n, Fault { errno, after }));
            let mut to = Delivered::default();
            migrate(&mut to, false).unwrap();
            assert_eq!(to.all(), set(WRITTEN), "call {n} after {after} pages");
            assert_eq!(held(), set([]));
            calls();
        }
    });
}

#[test]
fn a_signal_ends_each_call_if_it_shall() {
    each(|n, (number, _)| {
        // There is no context yet that could be informed.
        if number == fake::OPEN {
            return;
        }
        let fault = Fault {
            errno: libc::EINTR,
            after: 0,
        };
        fake::with(|k| k.faults.insert(n, fault));
        let mut to = Delivered::default();
        let error = migrate(&mut to, true).unwrap_err();
        assert!(error.is_interrupted(), "call {n}: {error}");
        check_nothing_lost(&to);
        let calls = calls();
        // Only a STOP may follow, when the session is given up. A STOP is made again.
        let last = calls.last().unwrap().0;
        assert!(calls.len() == n || last == IOMMUFD_DIRTY_STOP);
        assert!(number != IOMMUFD_DIRTY_STOP || calls.len() == n + 1);
    });
}
