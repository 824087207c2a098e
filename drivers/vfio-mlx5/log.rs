// SPDX-License-Identifier: GPL-2.0

//! VFIO's DMA logging over the page tracker, for those who know no contexts.
//!
//! The uAPI knows no granule: a report may be asked for any range, and what it finds is clean then.
//! The firmware reports and clears whole granules, and may report more than it was asked for. What
//! of that is not in the report is kept for the next one, in memory that is bounded: with more of
//! it than fits, what lies between two pieces is reported dirty as well.

use crate::{
    abi::{
        bitmap::Bitmap,
        provider::DirtyRange, //
    },
    logic::extents::Extents,
    range::Range,
    tracker::PageTracker,
    vf::{
        User,
        Vf, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Bytes of memory for what is kept.
const MAX_KEPT: usize = 256 << 10;

/// The session of VFIO's DMA logging.
pub(crate) struct Log {
    /// Bytes for each bit.
    granule: u64,
    /// `None` if it is lost.
    tracker: Option<PageTracker>,
    /// Was reported dirty by the firmware, and not to the user.
    kept: Extents,
}

impl Vf {
    /// Starts to log `ranges`, with about `page_size` bytes for each bit. Returns how many there
    /// are.
    ///
    /// Errors: `EINVAL` for a page size or a range that cannot be, or if it is started, `EBUSY` if
    /// a context has the tracker, `EOPNOTSUPP` if there is none, or if the ranges are too large or
    /// too small for it, `ENOTCONN` while the PF is down; those of [`PageTracker::start`].
    pub(crate) fn log_start(
        self: &Arc<Self>,
        page_size: u64,
        ranges: &[DirtyRange],
    ) -> Result<u64> {
        let granule = nearest(self.limits()?.granules, page_size).ok_or(EINVAL)?;
        let mut list = KVec::with_capacity(ranges.len(), GFP_KERNEL_ACCOUNT)?;
        for range in ranges {
            let range = Range::new(range.iova, range.length).map_err(|_| EINVAL)?;
            list.push(range, GFP_KERNEL_ACCOUNT)?;
        }
        let mut kept = Extents::new();
        kept.set_limit(MAX_KEPT);

        let mut session = self.session.lock();
        match session.user {
            User::Nobody => (),
            User::Context(_) => return Err(EBUSY),
            User::Log(_) => return Err(EINVAL),
        }
        // VFIO's DMA logging has its own word for a span that it cannot take.
        let tracker = self.start_tracker(&session, granule, &list).map_err(|e| {
            if e == EDOM {
                EOPNOTSUPP
            } else {
                e
            }
        })?;
        self.wakers.set([tracker.signal()].into_iter());
        session.user = User::Log(Log {
            granule,
            tracker: Some(tracker),
            kept,
        });
        Ok(granule)
    }

    /// Ends it, if it was started. `EBUSY` if a context has the tracker.
    pub(crate) fn log_stop(&self) -> Result {
        let mut session = self.session.lock();
        if matches!(session.user, User::Context(_)) {
            return Err(EBUSY);
        }
        self.take_user(&mut session);
        Ok(())
    }

    /// Reports what is dirty of the `length` bytes from `iova` on, and makes it clean.
    ///
    /// Errors: `EINVAL` if it is not started, `EBUSY` if a context has the tracker; `EFAULT` if the
    /// bitmap cannot be written to, and what should be in it stays dirty; `ENOMEM`, as that; `EIO`
    /// if it cannot be said any more what is dirty; those of [`PageTracker::read`], after which it
    /// can.
    pub(crate) fn log_read(&self, iova: u64, length: u64, bitmap: &mut Bitmap<'_>) -> Result {
        let wanted = Range::new(iova, length).map_err(|_| EINVAL)?;
        let mut session = self.session.lock();
        let log = match &mut session.user {
            User::Nobody => return Err(EINVAL),
            User::Context(_) => return Err(EBUSY),
            User::Log(log) => log,
        };
        let read = log.read(wanted, bitmap);
        if log.tracker.is_none() {
            self.wakers.set(core::iter::empty());
        }
        read
    }
}

impl Log {
    /// What was dirty is not known any more.
    pub(crate) fn lose(&mut self) {
        self.tracker = None;
    }

    fn read(&mut self, wanted: Range, bitmap: &mut Bitmap<'_>) -> Result {
        let tracker = self.tracker.as_mut().ok_or(EIO)?;
        let kept = &mut self.kept;
        let granules = wanted.aligned_out(self.granule);
        // VFIO's users know of no report that ends early: only what kills the task ends it.
        let mut record = |iova, length| {
            let Ok(dirty) = Range::new(iova, length) else {
                return;
            };
            if let Some(inside) = dirty.intersect(wanted) {
                if bitmap.set(inside).is_err() {
                    kept.insert(inside);
                }
            }
            let (below, above) = dirty.minus(wanted);
            for outside in [below, above].into_iter().flatten() {
                kept.insert(outside);
            }
        };
        let read = tracker.read(granules.first(), granules.length(), &mut record);
        if tracker.is_lost() {
            self.lose();
            return Err(EIO);
        }
        read?;

        let mut set = Ok(());
        kept.for_each_in(wanted, |dirty| set = set.and(bitmap.set(dirty)));
        set?;
        kept.remove(wanted);
        Ok(())
    }
}

/// The one of `granules`, of which bit n is 2^n bytes, that a user who asked for `page_size` gets:
/// it, or the next smaller one, or the smallest. `None` if it is no power of two.
fn nearest(granules: u64, page_size: u64) -> Option<u64> {
    if !page_size.is_power_of_two() {
        return None;
    }
    let fine = granules & (page_size | page_size.wrapping_sub(1));
    match fine.checked_ilog2() {
        Some(log) => 1_u64.checked_shl(log),
        None => Some(granules & granules.wrapping_neg()),
    }
}
