// SPDX-License-Identifier: GPL-2.0

//! RANGES: what a context tracks, before START and while tracking.
//!
//! While tracking, a tracker may track more than the context does: nothing is delivered of what is
//! beyond. So a REMOVE never fails and never restarts a tracker, and an ADD that one tracker
//! refuses leaves the others as they are.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            Array,
            DirtyRange, //
        }, //
    },
    logic::{
        granule::MIN_PAGE_SIZE,
        range::{
            BadRange,
            Range,
            ALL, //
        },
        range_set::RangeSet, //
    },
    mem::{
        TryVec,
        Vec, //
    },
    member::Member,
    policy::Policy,
    start::for_provider,
    state::{
        State,
        MAX_RANGES, //
    },
    tracker::Tracker, //
};
use kernel::prelude::*;

impl From<BadRange> for Error {
    fn from(bad: BadRange) -> Self {
        match bad {
            BadRange::Empty => EINVAL,
            BadRange::Wraps => EOVERFLOW,
        }
    }
}

impl State {
    /// `ioctl(IOMMUFD_DIRTY_RANGES)`
    pub(crate) fn ranges(&mut self, cmd: &mut uapi::Ranges) -> Result {
        let known = IOMMUFD_DIRTY_RANGES_REMOVE | IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN;
        if cmd.flags & !known != 0 {
            return Err(EOPNOTSUPP);
        }
        let remove = cmd.flags & IOMMUFD_DIRTY_RANGES_REMOVE != 0;
        let clean = cmd.flags & IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN != 0;
        if cmd.nr_ranges == 0 || (remove && clean) {
            return Err(EINVAL);
        }
        if cmd.nr_ranges as usize > MAX_RANGES {
            return Err(ENOSPC);
        }

        let given = RangeSet::of(read_ranges(cmd)?)?;
        let new = if remove {
            self.tracked.difference(&given)?
        } else {
            self.tracked.union(&given)?
        };
        if new.as_slice().len() > MAX_RANGES {
            return Err(ENOSPC);
        }
        if new.as_slice().first() == Some(&ALL) {
            // Its length is not a number of bytes that a tracker could be given.
            return Err(EOVERFLOW);
        }
        if self.session.is_none() {
            self.tracked = new;
            return Ok(());
        }
        let changed = if remove {
            self.tracked.difference(&new)?
        } else {
            new.difference(&self.tracked)?
        };
        if remove {
            self.shrink(new, &changed);
            return Ok(());
        }
        self.grow(new, &changed, clean)
    }

    /// `ioctl(IOMMUFD_DIRTY_LIST_RANGES)`
    pub(crate) fn list_ranges(&mut self, cmd: &mut uapi::ListRanges) -> Result {
        if cmd.flags != 0 {
            return Err(EOPNOTSUPP);
        }
        let out: Array<DirtyRange> = Array::new(cmd.ranges_uptr, cmd.nr_ranges, cmd.range_len)?;
        let ranges = self.tracked.as_slice();
        cmd.nr_ranges = u32::try_from(ranges.len())?;
        out.write_all(ranges.iter().map(|range| DirtyRange {
            iova: range.first(),
            length: range.length(),
        }))
    }

    /// While tracking: the trackers track `new` from now on, which is less. One that cannot change
    /// goes on with what it has.
    fn shrink(&mut self, new: RangeSet, gone: &RangeSet) {
        for m in self.members.iter_mut() {
            m.shrink(&new);
            for range in gone.as_slice() {
                m.residual.remove(*range);
            }
        }
        self.tracked = new;
    }

    /// While tracking: the trackers track `new` from now on, which is `added` more. After an error
    /// of one whose policy is FAIL those that track, track what they did or more.
    fn grow(&mut self, new: RangeSet, added: &RangeSet, clean: bool) -> Result {
        // All are asked first: what can be known to be impossible is refused before anything
        // changes.
        let mut wanted = KVec::with_capacity(self.members.len(), GFP_KERNEL)?;
        for m in self.members.iter() {
            let ranges = m.plan_growth(&new);
            if let (Err(e), Policy::Fail) = (&ranges, m.policy) {
                return Err(*e);
            }
            wanted.push(ranges, GFP_KERNEL)?;
        }
        for (m, wanted) in self.members.iter_mut().zip(wanted) {
            if crate::abi::killed() {
                return Err(EINTR);
            }
            let grown = wanted.and_then(|wanted| match wanted {
                Some(wanted) => m.retrack(wanted, &self.tracked),
                None => Ok(()),
            });
            match (grown, m.policy) {
                (Ok(()), _) => (),
                (Err(e), Policy::Fail) => return Err(e),
                // From now on it does not see all that is tracked.
                (Err(e), _) => m.failed = m.failed.or(Some(e)),
            }
        }
        if !clean {
            for m in self.members.iter_mut() {
                m.mark_all(added);
            }
        }
        self.tracked = new;
        Ok(())
    }
}

impl Member {
    /// What the tracker must be given to track `new`; `None` if it does already, or if its policy
    /// stands in for it. `EDOM` if it never can.
    fn plan_growth(&self, new: &RangeSet) -> Result<Option<RangeSet>> {
        let Some(tracker) = self.tracker() else {
            return Ok(None);
        };
        if self.granule == 0 || self.failed.is_some() {
            return Ok(None);
        }
        if let Some(error) = self.trouble() {
            return Err(error);
        }
        let wanted = self.ranges_for(new, self.granule)?;
        if self.ranges.covers_all(&wanted) {
            return Ok(None);
        }
        if !self.running {
            tracker
                .source
                .query(self.granule, &for_provider(&wanted)?)?;
        }
        Ok(Some(wanted))
    }

    /// Fewer ranges, if the tracker can change them.
    fn shrink(&mut self, new: &RangeSet) {
        let update = self.running
            && self.trouble().is_none()
            && self.has_cap(IOMMUFD_DIRTY_CAP_UPDATE_RANGES);
        let Some(tracker) = self.tracker().cloned().filter(|_| update) else {
            return;
        };
        let Ok(wanted) = self.ranges_for(new, self.granule) else {
            return;
        };
        if wanted.as_slice().is_empty() || wanted.as_slice() == self.ranges.as_slice() {
            return;
        }
        let updated = for_provider(&wanted).and_then(|list| tracker.source.update_ranges(&list));
        if updated.is_ok() {
            self.ranges = wanted;
        }
    }

    /// The tracker tracks `wanted` from now on. After an error it tracks what it did; if it cannot
    /// do that either, it has failed. `tracked` is what the context tracks up to now.
    fn retrack(&mut self, wanted: RangeSet, tracked: &RangeSet) -> Result {
        let Some(tracker) = self.tracker().cloned() else {
            return Ok(());
        };
        let list = for_provider(&wanted)?;
        let updated = if self.running && self.has_cap(IOMMUFD_DIRTY_CAP_UPDATE_RANGES) {
            tracker.source.update_ranges(&list)
        } else {
            Err(ENOSPC)
        };
        match updated {
            Ok(()) => (),
            // It cannot, or has no slot left for the new ranges beside the old ones.
            Err(ENOSPC) => self.restart(&tracker, &list, tracked)?,
            Err(e) => return Err(e),
        }
        self.ranges = wanted;
        Ok(())
    }

    /// Stops the tracker, if it runs, and starts it with `list`, or else with what it had.
    fn restart(&mut self, tracker: &Tracker, list: &[DirtyRange], tracked: &RangeSet) -> Result {
        let was_running = self.running;
        let before = for_provider(&self.ranges)?;
        if was_running {
            let _ = tracker.source.stop();
            tracker.set_stopped();
            self.running = false;
            // What it held, and what is written until it is started again, is seen by nobody.
            self.mark_all(tracked);
        }
        let started = self.start_again(tracker, list);
        if started.is_err() && was_running {
            if let Err(e) = self.start_again(tracker, &before) {
                self.failed = Some(e);
            }
        }
        started
    }

    fn start_again(&mut self, tracker: &Tracker, list: &[DirtyRange]) -> Result {
        tracker.set_started();
        // The granule in force was told to userspace.
        let started = match tracker.source.start(self.granule, list) {
            Ok(Some(_)) => Err(ERANGE),
            started => started.map(|_| ()),
        };
        self.running = started.is_ok();
        if !self.running {
            tracker.set_stopped();
        }
        started
    }
}

fn read_ranges(cmd: &uapi::Ranges) -> Result<Vec<Range>> {
    let array: Array<DirtyRange> = Array::new(cmd.ranges_uptr, cmd.nr_ranges, cmd.range_len)?;
    let mut list = Vec::new();
    list.try_reserve_for(cmd.nr_ranges as usize)?;
    for at in 0..cmd.nr_ranges {
        if crate::abi::killed() {
            return Err(EINTR);
        }
        let raw = array.get(at)?;
        let range = Range::new(raw.iova, raw.length)?;
        if (raw.iova | raw.length) % MIN_PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        list.try_push(range)?;
    }
    Ok(list)
}
