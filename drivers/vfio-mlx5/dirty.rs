// SPDX-License-Identifier: GPL-2.0

//! The page tracker of a VF as a tracker of /dev/iommufd-dirty.
//!
//! A report clears what it tells, so there is no peek. If one fails nobody knows what was cleared:
//! then the tracker is lost.
//!
//! The ranges of an object of the firmware cannot be changed. For new ones a second object is made
//! while the first one still tracks, and nothing that is written goes unseen. What the first one
//! knows of the ranges that stay is *owed* to the user: both are read, until all of that was read
//! once. Then the first one goes. If the ranges change before that, what is owed is read into
//! memory, and the first one goes as well: there are never three.

use crate::{
    abi::{
        killed,
        provider::{
            Coverage,
            Description,
            DirtyRange,
            Kind,
            Operations,
            ReadFlags,
            Registration,
            Sink,
            Started, //
        },
        vf::Place, //
    },
    limits::Limits,
    logic::{
        extents::Extents,
        range_set::RangeSet, //
    },
    range::Range,
    tracker::{
        self,
        PageTracker, //
    },
    vf::{
        User,
        Vf, //
    }, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// Bytes of memory for what was owed when the ranges changed again. If it is more, what lies
/// between two pieces is reported dirty as well.
const MAX_KEPT: usize = 1 << 20;

/// A VF that is open.
pub(crate) struct Dirty {
    vf: Arc<Vf>,
    place: Place,
}

/// The session of a context.
pub(crate) struct Session {
    /// Bytes for each bit.
    granule: u64,
    /// What `current` tracks.
    ranges: RangeSet,
    /// `None` if it is lost.
    current: Option<PageTracker>,
    /// The one before `current`.
    old: Option<Old>,
    /// What was read of those before and not told.
    kept: Extents,
}

/// A page tracker whose ranges were changed, and what of it was not read since.
struct Old {
    tracker: PageTracker,
    /// Whole granules, tracked by both.
    owed: RangeSet,
}

/// Makes a tracker of an open VF, which takes what `limits` say. `place` is where its DMA is.
pub(crate) fn register(
    vf: &Arc<Vf>,
    name: &CStr,
    limits: &Limits,
    place: Place,
) -> Result<Pin<KBox<Registration<Dirty>>>> {
    let finest = limits.granules & limits.granules.wrapping_neg();
    let what = Description {
        name: CString::try_from(name)?,
        kind: Kind::Device,
        waits: true,
        // The log is the PF's, and knows of no page table.
        unmap_drops: false,
        pgsizes: limits.granules,
        max_ranges: limits.max_ranges,
        // Ranges are whole granules.
        min_span: limits.min_span.max(finest),
        max_span: limits.max_span,
        // Until it is bound nobody asks.
        space: 0,
    };
    let vf = vf.clone();
    KBox::try_pin_init(
        Registration::new(what, Dirty { vf, place }),
        GFP_KERNEL_ACCOUNT,
    )
}

impl tracker::Dirty for Sink<'_> {
    fn record(&mut self, iova: u64, length: u64) {
        Sink::record(self, iova, length);
    }

    fn interrupted(&self) -> bool {
        Sink::interrupted(self)
    }
}

impl Session {
    /// What was dirty is not known any more.
    pub(crate) fn lose(&mut self) {
        self.old = None;
        self.current = None;
    }

    fn trackers(&self) -> impl Iterator<Item = &PageTracker> {
        let old = self.old.as_ref().map(|old| &old.tracker);
        [self.current.as_ref(), old].into_iter().flatten()
    }

    /// Records what is dirty in `part`, whole granules. On error some of it may be gone, if a
    /// tracker is lost then; `EINTR` because of a signal.
    fn read(&mut self, part: Range, sink: &mut Sink<'_>) -> Result {
        let current = self.current.as_mut().ok_or(EIO)?;
        current.read(part.first(), part.length(), sink)?;
        let is_unsure = self.kept.is_unsure_in(part);
        self.kept.take(part, |dirty| {
            if is_unsure {
                sink.record_unsure(dirty.first(), dirty.length())
            } else {
                sink.record(dirty.first(), dirty.length())
            }
        });

        let Some(old) = &mut self.old else {
            return Ok(());
        };
        for owed in old.owed.within(part) {
            if sink.interrupted() {
                return Err(EINTR);
            }
            old.tracker.read(owed.first(), owed.length(), sink)?;
        }
        // If there is no memory to split a range it is still owed, and read again.
        let _ = old.owed.remove(part);
        if old.owed.as_slice().is_empty() {
            self.old = None;
        }
        Ok(())
    }

    /// Keeps what is owed, in memory, and gives up the old tracker. On error some of it may be
    /// gone, if a tracker is lost then.
    fn settle(&mut self) -> Result {
        let Some(old) = &mut self.old else {
            return Ok(());
        };
        let mut record = |iova, length| {
            if let Ok(dirty) = Range::new(iova, length) {
                self.kept.insert(dirty);
            }
        };
        // A signal that does not kill must not make the caller take the change for impossible.
        for owed in old.owed.as_slice() {
            if killed() {
                return Err(EINTR);
            }
            old.tracker.read(owed.first(), owed.length(), &mut record)?;
        }
        self.old = None;
        Ok(())
    }

    /// As [`Self::check`], and asks the firmware if there was an event.
    pub(crate) fn look(&mut self) -> bool {
        for tracker in self.trackers() {
            // It is lost if that fails.
            let _ = tracker.look();
        }
        self.check()
    }

    /// Tells whether there is a tracker that can be relied on. If not there is none afterwards.
    fn check(&mut self) -> bool {
        let is_well = self.current.is_some() && !self.trackers().any(PageTracker::is_lost);
        if !is_well {
            self.lose();
        }
        is_well
    }
}

#[vtable]
impl Operations for Dirty {
    fn query(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<u64> {
        self.place.check()?;
        let session = self.vf.session.lock();
        if matches!(session.user, User::Log(_)) {
            return Err(EBUSY);
        }
        session.pf().map_err(as_tracker)?;
        self.vf.limits().map(tracker::memory)
    }

    fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Started> {
        self.place.check()?;
        let vf = &self.vf;
        let (list, ranges) = lists(ranges)?;
        let mut session = vf.session.lock();
        if !matches!(session.user, User::Nobody) {
            return Err(EBUSY);
        }
        let tracker = vf
            .start_tracker(&session, granule, &list)
            .map_err(as_tracker)?;
        vf.wakers.set([tracker.signal()].into_iter());
        let mut kept = Extents::new();
        kept.set_limit(MAX_KEPT);
        session.user = User::Context(Session {
            granule,
            ranges,
            current: Some(tracker),
            old: None,
            kept,
        });
        Ok(Started::Tracking)
    }

    fn stop(&self) -> Result {
        let mut session = self.vf.session.lock();
        if matches!(session.user, User::Context(_)) {
            self.vf.take_user(&mut session);
        }
        Ok(())
    }

    fn read_and_clear(
        &self,
        iova: u64,
        length: u64,
        _flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        let part = Range::new(iova, length).map_err(|_| EINVAL)?;
        self.place.check()?;
        let vf = &self.vf;
        let mut session = vf.session.lock();
        let User::Context(context) = &mut session.user else {
            return Err(ENODATA);
        };
        let had_old = context.old.is_some();
        let read = context.read(part, sink);
        let is_well = context.check();
        if !is_well || had_old {
            vf.wakers.set(context.trackers().map(PageTracker::signal));
        }
        drop(session);
        if !is_well {
            sink.lost(EIO);
            return Err(EIO);
        }
        read?;
        Ok(Coverage::Whole)
    }

    fn update_ranges(&self, ranges: &[DirtyRange]) -> Result {
        self.place.check()?;
        let vf = &self.vf;
        let (list, new) = lists(ranges)?;
        let mut session = vf.session.lock();
        let User::Context(context) = &mut session.user else {
            return Err(ENODATA);
        };
        let settled = context.settle();
        let is_well = context.check();
        vf.wakers.set(context.trackers().map(PageTracker::signal));
        if !is_well {
            vf.lost();
            return Err(EIO);
        }
        settled?;

        let mut owed = RangeSet::new();
        for range in new.as_slice() {
            for part in context.ranges.within(*range) {
                owed.add(part)?;
            }
        }
        let granule = context.granule;
        let tracker = vf
            .start_tracker(&session, granule, &list)
            .map_err(as_second)?;

        let User::Context(context) = &mut session.user else {
            return Err(ENODATA);
        };
        context.ranges = new;
        if let Some(old) = context.current.replace(tracker) {
            context.old = (!owed.as_slice().is_empty()).then_some(Old { tracker: old, owed });
        }
        vf.wakers.set(context.trackers().map(PageTracker::signal));
        Ok(())
    }
}

/// What a context is told of an error of the firmware: what is wrong with a command is none of its
/// business.
fn as_tracker(error: Error) -> Error {
    match error {
        ENOMEM | ENOSPC | EDOM => error,
        _ => EIO,
    }
}

/// As that, of a tracker beside one that tracks. A firmware that has no second one may say so in
/// its own way: without the first one it is tried again. What came of nothing that the firmware
/// said is no such refusal.
fn as_second(error: Error) -> Error {
    match error {
        ENOMEM | EDOM => error,
        ENOTCONN | ETIMEDOUT | ECANCELED => EIO,
        _ => ENOSPC,
    }
}

/// The ranges as a tracker is started with them, and as a set.
fn lists(ranges: &[DirtyRange]) -> Result<(KVec<Range>, RangeSet)> {
    let mut list = KVec::with_capacity(ranges.len(), GFP_KERNEL_ACCOUNT)?;
    let mut set = RangeSet::new();
    for range in ranges {
        let range = Range::new(range.iova, range.length).map_err(|_| EINVAL)?;
        list.push(range, GFP_KERNEL_ACCOUNT)?;
        set.add(range)?;
    }
    Ok((list, set))
}
