// SPDX-License-Identifier: GPL-2.0

//! Signals amid a READ.

use crate::mock::{Mock, LATENCY_MS};
use crate::{iova, pages, started, tests, Bits, PAGE};
use iommufd_dirty_ioctls::{Bitmaps, PageSize, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

tests! {
    signals_end_nothing,
    an_interrupter_lets_a_signal_end_it,
}

const RANGES: u64 = 40;

static CAME: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(_: libc::c_int) {
    CAME.fetch_add(1, Ordering::SeqCst);
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Calls `f` while its thread gets a signal every few ms. Returns how many came, too.
fn with_signals<T>(f: impl FnOnce() -> T) -> (T, u64) {
    // SAFETY: all zeroes are a valid one, and the handler does what a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as extern "C" fn(_) as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    CAME.store(0, Ordering::SeqCst);
    // SAFETY: it has no conditions.
    let reader = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        // If `f` panics, too.
        let _ending = SetOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(7));
                // SAFETY: the thread waits for this one.
                unsafe { libc::pthread_kill(reader, libc::SIGUSR1) };
            }
        });
        f()
    });
    (result, CAME.load(Ordering::SeqCst))
}

/// Far from each other, so that each is a call of the tracker.
fn far(n: u64) -> Range {
    Range::new(iova(n * 50), PAGE).unwrap()
}

fn request(bits: &Bits) -> Bitmaps<'_> {
    (0..RANGES).fold(Bitmaps::new(PageSize::KIB_4), |request, n| {
        request.with_offset(far(n), &bits.0, n).unwrap()
    })
}

/// Until a signal came while it was read, however busy the machine is.
fn signals_end_nothing() {
    let mock = Mock::new();
    let (_context, session) = started(&mock);
    mock.knob(LATENCY_MS, 10);
    let bits = Bits::new();
    loop {
        mock.write((0..RANGES).map(|n| n * 50));
        let (report, came) = with_signals(|| session.read(&mut request(&bits)).unwrap());
        assert_eq!((report.dirty, report.trackers.len()), (RANGES, 1));
        assert_eq!(report.trackers[0].bytes, RANGES * PAGE);
        assert_eq!(bits.take(), pages(0..RANGES));
        if came > 0 {
            break;
        }
    }
}

fn an_interrupter_lets_a_signal_end_it() {
    let mock = Mock::new();
    let (context, session) = started(&mock);
    let bits = Bits::new();
    let mut request = request(&bits);
    let mut interrupted = || {
        mock.write((0..RANGES).map(|n| n * 50));
        mock.knob(LATENCY_MS, 50);
        context.interrupter().set();
        let (result, _) = with_signals(|| session.read(&mut request));
        context.interrupter().reset();
        mock.knob(LATENCY_MS, 0);
        if result.is_ok() {
            bits.take();
        }
        result.err()
    };
    let error = (0..20).find_map(|_| interrupted());
    assert!(error.expect("no signal ended it").is_interrupted());
    let before = bits.take();
    assert!((before.len() as u64) < RANGES);

    let report = session.read(&mut request).unwrap();
    let after = bits.take();
    assert!(before.is_disjoint(&after));
    assert_eq!(before.len() + after.len(), RANGES as usize);
    // Of the whole round.
    assert_eq!(report.dirty, RANGES);
}
