// SPDX-License-Identifier: GPL-2.0

//! START: negotiation, and all or nothing.

use crate::{
    abi::{
        bindings::*,
        trace,
        uapi::{
            self,
            put,
            DirtyRange,
            StartResult, //
        }, //
    },
    logic::{
        granule::{
            choose,
            fits,
            session,
            valid_page_size,
            Misfit, //
        },
        range_set::RangeSet, //
    },
    mem::{
        TryVec,
        Vec, //
    },
    member::{
        Member,
        Policy, //
    },
    state::State, //
};
use kernel::prelude::*;

/// The ranges that a tracker gets: `tracked` grown to `granule` and joined to what it can take.
///
/// Errors: `ENOSPC` if they cover more than it can track, `EINVAL` if less, `ENOMEM`.
pub(crate) fn ranges_for(
    member: &Member,
    tracked: &RangeSet,
    granule: u64,
) -> Result<Vec<DirtyRange>> {
    let mut list = Vec::new();
    let Some(tracker) = member.tracker() else {
        return Ok(list);
    };
    let limits = &tracker.what.limits;
    let joined = tracked.joined(limits.max_ranges, granule)?;
    fits(limits, &joined).map_err(|misfit| match misfit {
        Misfit::TooLarge => ENOSPC,
        Misfit::TooSmall => EINVAL,
    })?;
    list.try_reserve_for(joined.as_slice().len())?;
    for range in joined.as_slice() {
        // The whole address space has no length in a `u64`.
        let length = range
            .last()
            .wrapping_sub(range.first())
            .checked_add(1)
            .ok_or(ENOSPC)?;
        list.try_push(DirtyRange {
            iova: range.first(),
            length,
        })?;
    }
    Ok(list)
}

impl Member {
    /// What it would be given for `page_size`, and whether it could start so.
    fn negotiate(&self, tracked: &RangeSet, page_size: u64, exact: bool) -> StartResult {
        let mut result = StartResult {
            tracker_id: self.id,
            ..Default::default()
        };
        let tried = self.try_negotiate(tracked, page_size, exact, &mut result);
        result.error = tried.map_or_else(|e| e.to_errno(), |()| 0);
        result
    }

    fn try_negotiate(
        &self,
        tracked: &RangeSet,
        page_size: u64,
        exact: bool,
        result: &mut StartResult,
    ) -> Result {
        let Some(tracker) = self.tracker() else {
            return Ok(());
        };
        let granule = choose(tracker.what.limits.pgsizes, page_size).ok_or(EINVAL)?;
        self.plan(tracked, granule, page_size, exact, result)
            .map(|_| ())
    }

    /// Fills in what it would be given with `granule`. Returns the ranges.
    fn plan(
        &self,
        tracked: &RangeSet,
        granule: u64,
        page_size: u64,
        exact: bool,
        result: &mut StartResult,
    ) -> Result<Vec<DirtyRange>> {
        result.granule = granule;
        if exact && granule > page_size {
            return Err(ERANGE);
        }
        let ranges = ranges_for(self, tracked, granule)?;
        result.nr_ranges = u32::try_from(ranges.len()).map_err(|_| ENOSPC)?;
        if let Some(tracker) = self.tracker() {
            result.memory = tracker.provider.query(granule, &ranges)?;
        }
        Ok(ranges)
    }

    /// Starts the tracker as negotiated, or coarser if it can only do that. With no ranges there is
    /// nothing to track: it is started when some are added.
    fn start(
        &mut self,
        tracked: &RangeSet,
        page_size: u64,
        exact: bool,
        plan: &mut StartResult,
        context: u32,
    ) -> Result {
        let Some(tracker) = self.tracker().cloned() else {
            return Ok(());
        };
        let mut ranges = ranges_for(self, tracked, plan.granule)?;
        // Ends: each time the granule is coarser.
        while !ranges.is_empty() {
            // Before: it may be lost as soon as it is started.
            tracker.set_started();
            let result = tracker.provider.start(plan.granule, &ranges);
            let traced = result.map(|_| ());
            trace::start(context, self.id, plan.granule, plan.nr_ranges, traced);
            match result {
                Ok(None) => {
                    self.running = true;
                    break;
                }
                Ok(Some(coarser)) => {
                    tracker.set_stopped();
                    ranges = self.plan(tracked, coarser, page_size, exact, plan)?;
                }
                Err(e) => {
                    tracker.set_stopped();
                    return Err(e);
                }
            }
        }
        self.granule = plan.granule;
        self.nr_ranges = plan.nr_ranges;
        self.memory = plan.memory;
        Ok(())
    }
}

impl State {
    /// `ioctl(IOMMUFD_DIRTY_START)`
    pub(crate) fn start(&mut self, cmd: &mut uapi::Start) -> Result {
        let known = IOMMUFD_DIRTY_START_DRY_RUN | IOMMUFD_DIRTY_START_EXACT;
        if cmd.flags & !known != 0 || cmd.__reserved != 0 {
            return Err(EOPNOTSUPP);
        }
        if !valid_page_size(cmd.page_size) {
            return Err(EINVAL);
        }
        if self.started {
            return Err(EBUSY);
        }
        let dry_run = cmd.flags & IOMMUFD_DIRTY_START_DRY_RUN != 0;
        let exact = cmd.flags & IOMMUFD_DIRTY_START_EXACT != 0;

        let mut results = KVec::with_capacity(self.members.len(), GFP_KERNEL)?;
        for m in self.members.iter() {
            results.push(m.negotiate(&self.tracked, cmd.page_size, exact), GFP_KERNEL)?;
        }
        cmd.out_granule = session(cmd.page_size, results.iter().map(|r| r.granule));
        let mut started = first_error(&self.members, &results);
        if started.is_ok() && !dry_run {
            started = self.start_all(cmd.page_size, exact, &mut results);
            cmd.out_granule = session(cmd.page_size, results.iter().map(|r| r.granule));
        }
        let written = write_results(cmd, &results);
        started.and(written).inspect_err(|_| {
            if !dry_run {
                let _ = self.stop();
            }
        })
    }

    fn start_all(&mut self, page_size: u64, exact: bool, results: &mut [StartResult]) -> Result {
        self.started = true;
        self.residual = crate::new_residual();
        let context = self.waker.context();
        for (m, result) in self.members.iter_mut().zip(results.iter_mut()) {
            if result.error == 0 {
                if let Err(e) = m.start(&self.tracked, page_size, exact, result, context) {
                    result.error = e.to_errno();
                }
            }
            if result.error != 0 {
                m.failed = Some(Error::from_errno(result.error));
            }
            if result.error != 0 && m.policy == Policy::Fail {
                break;
            }
        }
        first_error(&self.members, results)
    }
}

/// The first error of a tracker whose policy is FAIL.
fn first_error(members: &[Member], results: &[StartResult]) -> Result {
    members
        .iter()
        .zip(results)
        .find(|(m, r)| m.policy == Policy::Fail && r.error != 0)
        .map_or(Ok(()), |(_, r)| Err(Error::from_errno(r.error)))
}

fn write_results(cmd: &mut uapi::Start, results: &[StartResult]) -> Result {
    let room = cmd.nr_results;
    cmd.nr_results = u32::try_from(results.len()).map_err(|_| EINVAL)?;
    for (at, result) in (0..room).zip(results) {
        put(cmd.results_uptr, at, result)?;
    }
    Ok(())
}
