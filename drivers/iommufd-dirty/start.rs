// SPDX-License-Identifier: GPL-2.0

//! START: negotiation, and all or nothing.

use crate::{
    abi::{
        bindings::*,
        trace,
        uapi::{
            self,
            Array,
            DirtyRange,
            StartResult, //
        }, //
    },
    logic::{
        granule::{
            choose,
            fits,
            session,
            valid_page_size, //
        },
        range::ALL,
        range_set::RangeSet, //
    },
    mem::{
        TryVec,
        Vec, //
    },
    member::Member,
    policy::Policy,
    state::{
        Session,
        State, //
    }, //
};
use kernel::prelude::*;

impl Member {
    /// What the tracker gets for `tracked`: grown to `granule` and joined to what it can take.
    ///
    /// Errors: `EDOM` if that covers more or less than it can ever track, `ENOMEM`.
    pub(crate) fn ranges_for(&self, tracked: &RangeSet, granule: u64) -> Result<RangeSet> {
        let Some(tracker) = self.tracker() else {
            return Ok(RangeSet::new());
        };
        let limits = &tracker.properties.limits;
        let joined = tracked.joined(limits.max_ranges, granule)?;
        fits(limits, &joined).map_err(|_| EDOM)?;
        // Its length would not be a number.
        if joined.as_slice().first() == Some(&ALL) {
            return Err(EDOM);
        }
        Ok(joined)
    }

    /// What it would be given for `page_size`, and whether it could start so.
    fn negotiate(&self, tracked: &RangeSet, page_size: u64, exact: bool) -> StartResult {
        let mut result = StartResult {
            tracker_id: self.id(),
            cookie: self.who.cookie,
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
        let granule = choose(tracker.properties.limits.pgsizes, page_size).ok_or(EINVAL)?;
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
    ) -> Result<RangeSet> {
        result.granule = granule;
        if exact && granule > page_size {
            return Err(ERANGE);
        }
        let ranges = self.ranges_for(tracked, granule)?;
        result.nr_ranges = u32::try_from(ranges.as_slice().len()).map_err(|_| EDOM)?;
        if let Some(tracker) = self.tracker() {
            result.memory = tracker.source.query(granule, &for_provider(&ranges)?)?;
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
    ) -> Result {
        let Some(tracker) = self.tracker().cloned() else {
            return Ok(());
        };
        let mut ranges = self.ranges_for(tracked, plan.granule)?;
        // Ends: each time the granule is coarser.
        while !ranges.as_slice().is_empty() {
            let list = for_provider(&ranges)?;
            // Before: it may be lost as soon as it is started.
            tracker.set_started();
            let result = tracker.source.start(plan.granule, &list);
            let traced = result.map(|_| ());
            trace::start(self.who, plan.granule, plan.nr_ranges, traced);
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
        self.ranges = ranges;
        self.memory = plan.memory;
        Ok(())
    }

    /// Negotiates and starts in a session that is under way.
    pub(crate) fn join(&mut self, tracked: &RangeSet, session: Session) -> Result {
        let Session { page_size, exact } = session;
        let mut plan = self.negotiate(tracked, page_size, exact);
        if plan.error != 0 {
            return Err(Error::from_errno(plan.error));
        }
        self.start(tracked, page_size, exact, &mut plan)
    }
}

/// The ranges as a provider is given them. None of them is the whole address space, which has no
/// length.
pub(crate) fn for_provider(ranges: &RangeSet) -> Result<Vec<DirtyRange>> {
    let mut list = Vec::new();
    list.try_reserve_for(ranges.as_slice().len())?;
    for range in ranges.as_slice() {
        list.try_push(DirtyRange {
            iova: range.first(),
            length: range.length(),
        })?;
    }
    Ok(list)
}

impl State {
    /// `ioctl(IOMMUFD_DIRTY_START)`
    pub(crate) fn start(&mut self, cmd: &mut uapi::Start) -> Result {
        let known = IOMMUFD_DIRTY_START_DRY_RUN | IOMMUFD_DIRTY_START_EXACT;
        if cmd.flags & !known != 0 {
            return Err(EOPNOTSUPP);
        }
        if !valid_page_size(cmd.page_size) {
            return Err(EINVAL);
        }
        let out: Array<StartResult> = Array::new(cmd.results_uptr, cmd.nr_results, cmd.result_len)?;
        if self.session.is_some() {
            return Err(EBUSY);
        }
        let dry_run = cmd.flags & IOMMUFD_DIRTY_START_DRY_RUN != 0;
        let session = Session {
            page_size: cmd.page_size,
            exact: cmd.flags & IOMMUFD_DIRTY_START_EXACT != 0,
        };

        let mut results = KVec::with_capacity(self.members.len(), GFP_KERNEL)?;
        for m in self.members.iter() {
            let result = m.negotiate(&self.tracked, session.page_size, session.exact);
            results.push(result, GFP_KERNEL)?;
        }
        cmd.out_granule = coarsest(session, &results);
        let mut started = first_error(&self.members, &results);
        if started.is_ok() && !dry_run {
            started = self.start_all(session, &mut results);
            cmd.out_granule = coarsest(session, &results);
        }
        cmd.nr_results = u32::try_from(results.len()).map_err(|_| EINVAL)?;
        let written = out.write_all(results.iter().copied());
        started.and(written).inspect_err(|_| {
            if !dry_run {
                let _ = self.stop();
            }
        })
    }

    /// Those first that must not fail: no other one may take a slot that they need.
    fn start_all(&mut self, session: Session, results: &mut [StartResult]) -> Result {
        self.session = Some(session);
        self.kept = crate::new_residual();
        for must in [true, false] {
            for (m, result) in self.members.iter_mut().zip(results.iter_mut()) {
                if (m.policy == Policy::Fail) != must {
                    continue;
                }
                if crate::abi::killed() {
                    return Err(EINTR);
                }
                // The results say what is the matter with it now.
                m.acknowledge();
                if result.error == 0 {
                    let Session { page_size, exact } = session;
                    if let Err(e) = m.start(&self.tracked, page_size, exact, result) {
                        result.error = e.to_errno();
                    }
                }
                if result.error != 0 {
                    m.failed = Some(Error::from_errno(result.error));
                    if must {
                        return Err(Error::from_errno(result.error));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The granule of the session.
fn coarsest(wanted: Session, results: &[StartResult]) -> u64 {
    session(wanted.page_size, results.iter().map(|r| r.granule))
}

/// The first error of a tracker whose policy is FAIL.
fn first_error(members: &[Member], results: &[StartResult]) -> Result {
    members
        .iter()
        .zip(results)
        .find(|(m, r)| m.policy == Policy::Fail && r.error != 0)
        .map_or(Ok(()), |(_, r)| Err(Error::from_errno(r.error)))
}
