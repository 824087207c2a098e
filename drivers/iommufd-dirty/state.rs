// SPDX-License-Identifier: GPL-2.0

//! The state of a context: its members, and what they track.

use crate::{
    abi::{
        memcg::Memcg,
        pinned_pages::PinnedPages,
        worker::Worker, //
    },
    logic::{
        batch::Batch,
        extents::Extents,
        range::Range,
        range_set::RangeSet, //
    },
    member::Member,
    outcome::Outcome,
    patience::Allowance,
    policy::Policy,
    scan::{
        Place,
        Resume,
        Scanned,
        Which, //
    },
    sink::Target,
    stats::Stats,
    waker::Waker, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::Arc, //
};

/// Trackers that a context may hold.
pub(crate) const MAX_MEMBERS: usize = 64;

/// Disjoint ranges that a context may track.
pub(crate) const MAX_RANGES: usize = 65536;

/// With what START began to track.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    pub(crate) page_size: u64,
    /// No tracker may be coarser.
    pub(crate) exact: bool,
}

pub(crate) struct State {
    pub(crate) waker: Arc<Waker>,
    pub(crate) memcg: Arc<Memcg>,
    /// In the order in which they were bound.
    pub(crate) members: KVec<Member>,
    /// The worker of each member that waits for hardware. As long as `members`.
    pub(crate) workers: KVec<Option<Pin<KBox<Worker>>>>,
    /// What came of the last scan for each member. As long as `members`.
    pub(crate) outcomes: KVec<Outcome>,
    /// What came of the ioctl for each member so far. As long as `members`.
    pub(crate) results: KVec<Outcome>,
    pub(crate) last_id: u32,
    pub(crate) tracked: RangeSet,
    /// `None` while not tracking.
    pub(crate) session: Option<Session>,
    /// What trackers left that are not members any more: delivered whatever is tracked.
    pub(crate) kept: Extents,
    /// Kept between reads: a read allocates nothing.
    pub(crate) pages: Option<(PinnedPages, Batch)>,
    /// Where a signal ended the last scan, in the midst of a piece.
    pub(crate) cut: Option<(Which, Place)>,
    /// How long a signal leaves a tracker that waits for hardware alone.
    pub(crate) allowance: Allowance,
    /// The hull of what this call wrote as extents and took out of the residuals.
    pub(crate) written: Option<Range>,
    /// Of READ calls.
    pub(crate) stats: Stats,
}

impl State {
    pub(crate) fn new(waker: Arc<Waker>, memcg: Arc<Memcg>) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                waker,
                memcg,
                members: KVec::new(),
                workers: KVec::new(),
                outcomes: KVec::new(),
                results: KVec::new(),
                last_id: 0,
                tracked: RangeSet::new(),
                session: None,
                kept: crate::new_residual(),
                pages: None,
                cut: None,
                allowance: Allowance::new(),
                written: None,
                stats: Stats::default(),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// Member `id`. `ENOENT`.
    pub(crate) fn member(&mut self, id: u32) -> Result<&mut Member> {
        self.members.iter_mut().find(|m| m.id() == id).ok_or(ENOENT)
    }

    /// Is there a tracker `only`, or is that all of them?
    pub(crate) fn check_only(&self, only: u32) -> Result {
        if only == 0 || self.members.iter().any(|m| m.id() == only) {
            Ok(())
        } else {
            Err(ENOENT)
        }
    }

    /// Takes what is dirty in the tracked parts of `range` out of the trackers of `which`, and out
    /// of their residuals, to what is delivered whatever is tracked later. If it cannot be known
    /// what is dirty in a tracker all is, whatever its policy: after the unmap it is too late to
    /// ask.
    pub(crate) fn harvest(&mut self, range: Range, which: Which, resume: Resume) -> Scanned {
        let scanned = self.scan(Target::Harvest(range), which, resume, false, 0);
        for (m, outcome) in self.members.iter_mut().zip(self.outcomes.iter()) {
            if !which.has(m) {
                continue;
            }
            if outcome.error.is_some() && m.policy != Policy::AllDirty && m.tracker().is_some() {
                for part in self.tracked.within(range) {
                    m.harvested.insert_unsure(part);
                }
            }
            let harvested = &mut m.harvested;
            if m.residual.is_unsure_in(range) {
                m.residual
                    .take(range, |dirty| harvested.insert_unsure(dirty));
            } else {
                m.residual.take(range, |dirty| harvested.insert(dirty));
            }
        }
        scanned
    }

    /// Bytes of address space of which it is not known whether they were written.
    pub(crate) fn overreported(&self, which: Which) -> u64 {
        let own = match which {
            Which::All => self.kept.overreported(),
            _ => 0,
        };
        self.members
            .iter()
            .filter(|m| which.has(m))
            .fold(own, |sum, m| sum.saturating_add(m.overreported()))
    }

    /// Stops all. Returns the first error.
    pub(crate) fn stop(&mut self) -> Result {
        let mut result = Ok(());
        for member in self.members.iter_mut() {
            let stopped = member.stop();
            result = result.and(stopped);
        }
        self.session = None;
        self.kept = crate::new_residual();
        result
    }
}
