// SPDX-License-Identifier: GPL-2.0

//! A tracker as a member of a context: its policy, its state, what it holds undelivered.

use crate::{
    abi::{
        bindings::*,
        trace, //
    },
    bound::Bound,
    logic::{
        extents::Extents,
        range_set::RangeSet, //
    },
    policy::Policy,
    stats::Stats,
    tracker::Tracker, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

pub(crate) struct Member {
    pub(crate) who: trace::Who,
    /// `None` for an untracked member.
    tracker: Option<Bound>,
    /// The I/O address space that it was in when it was bound; 0 cannot be told.
    pub(crate) space: u64,
    pub(crate) policy: Policy,
    /// START was asked for, and this one could not.
    pub(crate) failed: Option<Error>,
    /// Its policy ALL_DIRTY stands in for it in this session, and a whole round knew that.
    pub(crate) stands_in: bool,
    /// The provider's `start` succeeded, and its `stop` was not called since.
    pub(crate) running: bool,
    /// Bytes per bit in force; 0 while not tracking.
    pub(crate) granule: u64,
    /// What it was given to track, in whole granules; it may be more than the context tracks.
    pub(crate) ranges: RangeSet,
    /// Bytes of memory that its owner said tracking takes.
    pub(crate) memory: u64,
    /// Taken out of the tracker and not yet delivered.
    pub(crate) residual: Extents,
    /// Taken out before an unmap: delivered whatever is tracked.
    pub(crate) harvested: Extents,
    /// Peeked at; valid within one system call.
    pub(crate) scratch: Extents,
    /// Bytes that the tracker recorded and nobody knows to be written, in this session.
    pub(crate) unsure: u64,
    pub(crate) stats: Stats,
}

impl Member {
    pub(crate) fn new(who: trace::Who, tracker: Option<Bound>, policy: Policy) -> Self {
        Self {
            who,
            space: tracker.as_ref().map_or(0, |t| t.source.space()),
            tracker,
            policy,
            failed: None,
            stands_in: false,
            running: false,
            granule: 0,
            ranges: RangeSet::new(),
            memory: 0,
            residual: crate::new_residual(),
            harvested: crate::new_residual(),
            scratch: crate::new_residual(),
            unsure: 0,
            stats: Stats::default(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.who.tracker
    }

    /// The tracker; `None` for an untracked member.
    pub(crate) fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.tracker.as_deref()
    }

    pub(crate) fn has_cap(&self, cap: u32) -> bool {
        self.tracker().is_some_and(|t| t.properties.caps & cap != 0)
    }

    /// A read of it waits for hardware.
    pub(crate) fn waits(&self) -> bool {
        self.has_cap(IOMMUFD_DIRTY_CAP_WAITS)
    }

    pub(crate) fn peeks(&self) -> bool {
        self.has_cap(IOMMUFD_DIRTY_CAP_PEEK)
    }

    /// The error with which its owner reported a loss.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.tracker().and_then(|tracker| tracker.lost())
    }

    /// Why it cannot be read, although tracking is started.
    pub(crate) fn trouble(&self) -> Option<Error> {
        let Some(tracker) = self.tracker() else {
            return Some(EIO);
        };
        if tracker.source.is_gone() {
            return Some(ESHUTDOWN);
        }
        self.failed.or_else(|| tracker.lost())
    }

    /// Userspace knows of its trouble.
    pub(crate) fn acknowledge(&self) {
        if let Some(tracker) = self.tracker() {
            tracker.acknowledge();
        }
    }

    /// `enum iommufd_dirty_state`.
    pub(crate) fn state(&self, started: bool) -> u32 {
        match self.tracker() {
            Some(t) if t.source.is_gone() => IOMMUFD_DIRTY_STATE_GONE,
            _ if !started => IOMMUFD_DIRTY_STATE_STOPPED,
            // One that runs has failed only to track ranges that were added later.
            Some(t) if t.lost().is_some() && (self.running || self.failed.is_none()) => {
                IOMMUFD_DIRTY_STATE_LOST
            }
            Some(_) if self.failed.is_none() => IOMMUFD_DIRTY_STATE_TRACKING,
            _ => IOMMUFD_DIRTY_STATE_FAILED,
        }
    }

    pub(crate) fn bitmap_bytes(&self) -> u64 {
        self.tracker().map_or(0, |t| t.source.bitmap_bytes())
    }

    /// What it holds undelivered.
    pub(crate) fn undelivered(&self) -> [&Extents; 2] {
        [&self.residual, &self.harvested]
    }

    /// Bytes of address space of which it is not known whether they were written.
    pub(crate) fn overreported(&self) -> u64 {
        self.undelivered()
            .iter()
            .fold(self.unsure, |sum, e| sum.saturating_add(e.overreported()))
    }

    /// Bytes of kernel memory held for it.
    pub(crate) fn memory(&self) -> u64 {
        let ours = self
            .residual
            .bytes()
            .saturating_add(self.harvested.bytes())
            .saturating_add(self.scratch.bytes())
            .saturating_add(self.ranges.bytes());
        self.memory
            .saturating_add(self.bitmap_bytes())
            .saturating_add(ours as u64)
    }

    /// What was written to `tracked` lately is not known: all of it is dirty.
    pub(crate) fn mark_all(&mut self, tracked: &RangeSet) {
        if self.tracker().is_some() {
            for range in tracked.as_slice() {
                self.residual.insert_unsure(*range);
            }
        }
    }

    /// Stops the tracker, if it runs. What it and the residual hold is forgotten.
    pub(crate) fn stop(&mut self) -> Result {
        let mut result = Ok(());
        if let Some(tracker) = self.tracker() {
            if self.running {
                result = tracker.source.stop();
                trace::stop(self.who, result);
            }
            tracker.set_stopped();
            // Only one that is gone is still in trouble.
            if !tracker.source.is_gone() {
                tracker.acknowledge();
            }
        }
        self.running = false;
        self.failed = None;
        self.stands_in = false;
        self.granule = 0;
        self.ranges = RangeSet::new();
        self.memory = 0;
        self.residual = crate::new_residual();
        self.harvested = crate::new_residual();
        self.scratch = crate::new_residual();
        self.unsure = 0;
        result
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(tracker) = self.tracker() {
            let _ = tracker.source.stop();
            tracker.set_stopped();
        }
    }
}
