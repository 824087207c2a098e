// SPDX-License-Identifier: GPL-2.0

//! RANGES: what a context tracks, before START and while tracking.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            get,
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
    member::{
        Member,
        Policy, //
    },
    read::interrupted,
    start::ranges_for,
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
        if cmd.flags & !known != 0 || cmd.__reserved != 0 {
            return Err(EOPNOTSUPP);
        }
        if cmd.nr_ranges == 0 {
            return Err(EINVAL);
        }
        if cmd.nr_ranges as usize > MAX_RANGES {
            return Err(ENOSPC);
        }
        let remove = cmd.flags & IOMMUFD_DIRTY_RANGES_REMOVE != 0;
        let clean = cmd.flags & IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN != 0;
        if remove && clean {
            return Err(EINVAL);
        }

        let mut new = self.tracked.try_clone()?;
        for at in 0..cmd.nr_ranges {
            if interrupted() {
                return Err(EINTR);
            }
            let range = read_range(cmd.ranges_uptr, at)?;
            if remove {
                new.remove(range)?;
            } else {
                new.add(range)?;
            }
            if new.as_slice().len() > MAX_RANGES {
                return Err(ENOSPC);
            }
        }
        if new.as_slice().first() == Some(&ALL) {
            // Its length is not a number of bytes that a tracker could be given.
            return Err(EOVERFLOW);
        }
        if self.started {
            return self.retrack(new, clean);
        }
        self.tracked = new;
        Ok(())
    }

    /// While tracking: the trackers track `new` from now on, or what they track now if one whose
    /// policy is FAIL cannot.
    fn retrack(&mut self, new: RangeSet, clean: bool) -> Result {
        for at in 0..self.members.len() {
            let moved = self.retrack_member(at, &new);
            let Some(m) = self.members.get_mut(at) else {
                break;
            };
            m.outcome = moved.map(|()| false);
            if let (Err(e), Policy::Fail) = (moved, m.policy) {
                self.track_again(at, new);
                return Err(e);
            }
        }
        for m in self.members.iter_mut() {
            m.failed = m.failed.or(m.outcome.err());
        }
        let old = core::mem::replace(&mut self.tracked, new);
        for_difference(&old, &self.tracked, |gone| {
            self.residual.remove(gone);
            for m in self.members.iter_mut() {
                m.residual.remove(gone);
            }
        });
        if !clean {
            for_difference(&self.tracked, &old, |added| {
                for m in self.members.iter_mut().filter(|m| m.tracker().is_some()) {
                    m.residual.insert(added);
                }
            });
        }
        Ok(())
    }

    /// Members 0 to `last` have been asked to track `new`, and the last one could not: all go back
    /// to what they tracked. Whatever was written to it meanwhile may have been seen by nobody.
    fn track_again(&mut self, last: usize, new: RangeSet) {
        let old = core::mem::replace(&mut self.tracked, new);
        for at in 0..=last {
            let back = self.retrack_member(at, &old);
            if let Some(m) = self.members.get_mut(at).filter(|m| m.failed.is_none()) {
                // One that can do neither has failed until STOP: its policy stands in for it.
                m.failed = back.err();
                mark_all(m, &old);
            }
        }
        self.tracked = old;
    }

    /// One tracker tracks `new` from now on, instead of `self.tracked`. After an error it tracks
    /// what it did, or nothing, and all is dirty in its residual.
    fn retrack_member(&mut self, at: usize, new: &RangeSet) -> Result {
        let Some(m) = self.members.get(at) else {
            return Ok(());
        };
        let Some(tracker) = m.tracker().cloned() else {
            return Ok(());
        };
        let (granule, running) = (m.granule, m.running);
        if granule == 0 || m.failed.is_some() {
            // Its policy stands in for it until STOP.
            return Ok(());
        }
        let ranges = ranges_for(m, new, granule)?;
        let nr_ranges = u32::try_from(ranges.len()).map_err(|_| ENOSPC)?;

        let update = running && !ranges.is_empty() && m.has_cap(IOMMUFD_DIRTY_CAP_UPDATE_RANGES);
        let updated = if update {
            tracker.provider.update_ranges(&ranges)
        } else {
            Err(ENOSPC)
        };
        if updated != Err(ENOSPC) {
            updated?;
        } else {
            // It cannot, or has no slot left for the new ranges beside the old ones.
            self.restart(at, &tracker, &ranges)?;
        }
        if let Some(m) = self.members.get_mut(at) {
            m.nr_ranges = nr_ranges;
        }
        Ok(())
    }

    /// Stops the member's tracker, if it runs, and starts it with `ranges`, if there are any.
    fn restart(&mut self, at: usize, tracker: &Tracker, ranges: &[DirtyRange]) -> Result {
        let Some((id, running)) = self.members.get(at).map(|m| (m.id, m.running)) else {
            return Ok(());
        };
        if running {
            self.harvest(ALL, id);
        }
        let Some(m) = self.members.get_mut(at) else {
            return Ok(());
        };
        if running {
            let _ = tracker.provider.stop();
            tracker.set_stopped();
            m.running = false;
            // What is written until it is started again is seen by nobody.
            mark_all(m, &self.tracked);
        }
        if ranges.is_empty() {
            return Ok(());
        }
        tracker.set_started();
        // The granule in force was told to userspace.
        let started = match tracker.provider.start(m.granule, ranges) {
            Ok(Some(_)) => Err(ERANGE),
            started => started.map(|_| ()),
        };
        m.running = started.is_ok();
        if !m.running {
            tracker.set_stopped();
        }
        started
    }
}

fn mark_all(member: &mut Member, tracked: &RangeSet) {
    for range in tracked.as_slice() {
        member.residual.insert(*range);
    }
}

/// Calls `f` for what is in `a` and not in `b`.
fn for_difference(a: &RangeSet, b: &RangeSet, mut f: impl FnMut(Range)) {
    for range in a.as_slice() {
        let mut left = Some(*range);
        for common in b.within(*range) {
            let (before, after) = left.map_or((None, None), |range| range.minus(common));
            if let Some(before) = before {
                f(before);
            }
            left = after;
        }
        if let Some(rest) = left {
            f(rest);
        }
    }
}

fn read_range(base: u64, at: u32) -> Result<Range> {
    let raw: DirtyRange = get(base, at)?;
    let range = Range::new(raw.iova, raw.length)?;
    if (raw.iova | raw.length) % MIN_PAGE_SIZE != 0 {
        return Err(EINVAL);
    }
    Ok(range)
}
