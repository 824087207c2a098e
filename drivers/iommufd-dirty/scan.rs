// SPDX-License-Identifier: GPL-2.0

//! One scan of the trackers of a context.
//!
//! A tracker that waits for hardware is called once, for all that lies between the first and the
//! last byte that is asked for and tracked; those are done side by side. The others are called
//! meanwhile, for each tracked part of what is asked for. A signal ends this between two calls.
//! What is dirty and was found so far is delivered then, or in a residual.

use crate::{
    abi::{
        bindings::*,
        memcg::Memcg,
        worker::{
            side_by_side,
            Rest, //
        }, //
    },
    logic::{
        range::Range,
        range_set::RangeSet, //
    },
    member::Member,
    member_read::{
        deliver,
        errno_of,
        MAX_PIECE, //
    },
    outcome::Outcome,
    patience::Patience,
    policy::Policy,
    sink::Target,
    state::State, //
};
use kernel::prelude::*;

/// Which trackers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    One(u32),
    /// Those whose dirty bits go with an unmap.
    Unmapped,
}

impl Which {
    /// What userspace names as `tracker_id`: 0 is all.
    pub(crate) fn merged(id: u32) -> Self {
        match id {
            0 => Self::All,
            id => Self::One(id),
        }
    }

    pub(crate) fn has(self, member: &Member) -> bool {
        match self {
            Self::All => true,
            Self::One(id) => member.id() == id,
            Self::Unmapped => member.has_cap(IOMMUFD_DIRTY_CAP_UNMAP_DROPS),
        }
    }
}

/// How a scan is to be done. The same for all trackers, which may be read side by side.
pub(crate) struct Scan<'a> {
    pub(crate) into: Target<'a>,
    pub(crate) which: Which,
    /// Where an earlier call was ended by a signal.
    pub(crate) resume: Resume,
    /// What is found stays dirty.
    pub(crate) keep: bool,
    /// `IOMMUFD_DIRTY_OP_*`
    pub(crate) flags: u32,
    pub(crate) tracked: &'a RangeSet,
    pub(crate) memcg: &'a Memcg,
    pub(crate) patience: Patience<'a>,
}

/// Where to begin, in the first part of what is asked for. Trackers that wait are called for all of
/// it in any case.
#[derive(Clone, Copy, Default)]
pub(crate) struct Resume {
    /// What lies below is done.
    pub(crate) address: u64,
    /// Trackers with a lower id are done up to `last`.
    pub(crate) tracker: u32,
    last: u64,
}

/// Where a signal ended a scan.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Index of the part of what is asked for.
    pub(crate) part: usize,
    /// The first address in it that is not done.
    pub(crate) address: u64,
    /// The first tracker that is not done there.
    pub(crate) tracker: u32,
    /// The last address up to which those before it are done.
    last: u64,
}

impl Resume {
    /// From `address` on, where trackers below `tracker` are said to be done.
    pub(crate) fn at(address: u64, tracker: u32) -> Self {
        Self {
            address,
            tracker,
            last: 0,
        }
    }
}

/// What came of a scan.
#[derive(Default)]
pub(crate) struct Scanned {
    /// `IOMMUFD_DIRTY_STATUS_*`
    pub(crate) status: u32,
    /// Bits set that were not set before.
    pub(crate) fresh: u64,
    /// The first error of a tracker whose policy is FAIL, or `ENXIO` because of STRICT.
    pub(crate) error: Option<Error>,
    /// A signal came.
    pub(crate) interrupted: Option<Place>,
}

impl Place {
    fn is(&self, resume: Resume) -> bool {
        self.address == resume.address && self.tracker == resume.tracker
    }
}

pub(crate) fn interrupted() -> bool {
    kernel::current!().signal_pending()
}

impl Scan<'_> {
    /// Calls `f` for each part of `range` that is tracked, in pieces that are not too long, until
    /// it returns `Some`.
    fn pieces<R>(&self, range: Range, mut f: impl FnMut(Range) -> Option<R>) -> Option<R> {
        let mut left = Some(range);
        while let Some(range) = left {
            let part = self.tracked.within(range).next()?;
            let mut last = part.first().saturating_add(MAX_PIECE - 1).min(part.last());
            if self.resume.tracker != 0 && part.first() <= self.resume.last {
                last = last.min(self.resume.last);
            }
            let piece = Range::inclusive(part.first(), last)?;
            if let Some(result) = f(piece) {
                return Some(result);
            }
            left = range.minus(piece).1;
        }
        None
    }

    /// The members that wait for nothing, part by part.
    fn part_by_part(&self, members: &mut Rest<'_, Member, Outcome>) -> Option<Place> {
        let mut resume = self.resume;
        let mut called = false;
        let mut part = 0;
        while let Some(range) = self.into.part(part) {
            let left = Range::inclusive(range.first().max(resume.address), range.last());
            let ended = left.and_then(|left| {
                self.pieces(left, |piece| {
                    let mut begins = true;
                    for at in 0..members.count() {
                        let Some((m, outcome)) = members.get(at) else {
                            continue;
                        };
                        let done = m.id() < resume.tracker && piece.last() <= resume.last;
                        if !self.which.has(m) || done || outcome.error.is_some() {
                            continue;
                        }
                        let here = Place {
                            part,
                            address: piece.first(),
                            // What was peeked at is gone with the call.
                            tracker: match self.into {
                                Target::Scratch(_) => 0,
                                _ if begins => 0,
                                _ => m.id(),
                            },
                            last: piece.last(),
                        };
                        // Each call gets on by one tracker at least.
                        if called && self.must_stop(begins) {
                            return Some(here);
                        }
                        let read = m.read(piece, self, self.flags);
                        outcome.add(&read);
                        (called, begins) = (true, false);
                        if read.interrupted {
                            return Some(here);
                        }
                    }
                    resume.tracker = 0;
                    None
                })
            });
            if ended.is_some() {
                return ended;
            }
            resume = Resume::default();
            part = part.saturating_add(1);
        }
        None
    }

    /// Must it end here, where a piece `begins` or in the midst of one? What was peeked at is gone
    /// with the call, which therefore ends for good only there.
    fn must_stop(&self, begins: bool) -> bool {
        match self.into {
            Target::Scratch(_) if !begins => crate::abi::killed(),
            _ => interrupted(),
        }
    }
}

impl State {
    /// Reads the trackers of `which`. What came of it for each member is in `outcomes` until the
    /// next scan, and added to `results`.
    pub(crate) fn scan(
        &mut self,
        into: Target<'_>,
        which: Which,
        resume: Resume,
        keep: bool,
        flags: u32,
    ) -> Scanned {
        self.outcomes.fill(Outcome::default());
        // Who is done with what is believed only if it was just so.
        let resume = match self.cut.take() {
            Some((cut, at)) if cut == which && at.is(resume) => Resume {
                last: at.last,
                ..resume
            },
            _ => Resume {
                tracker: 0,
                ..resume
            },
        };
        let caller = kernel::current!();
        let scan = Scan {
            into,
            which,
            resume,
            keep,
            flags,
            tracked: &self.tracked,
            memcg: &self.memcg,
            patience: Patience::new(caller, self.allowance),
        };
        let mut scanned = Scanned::default();
        let alone = !self.members.iter().any(|m| which.has(m) && !m.waits());
        scanned.interrupted = side_by_side(
            &mut self.members,
            &mut self.outcomes,
            &mut self.workers,
            &scan,
            |m, scan| scan.which.has(m),
            |m, scan| m.read_hull(scan),
            alone,
            |rest| match alone {
                true => None,
                false => scan.part_by_part(rest),
            },
        );
        let mut was_short = false;
        let members = self.members.iter_mut().zip(self.outcomes.iter_mut());
        for ((m, outcome), result) in members.zip(self.results.iter_mut()) {
            if !which.has(m) {
                continue;
            }
            // Not all that was asked for was read of one that waits: all of it is to be done again.
            if outcome.interrupted && m.waits() {
                was_short = true;
                scanned.interrupted = Some(Place {
                    part: 0,
                    address: resume.address,
                    tracker: resume.tracker,
                    last: resume.last,
                });
            }
            // It may have been lost while another one was read.
            if outcome.error.is_none() && m.running {
                outcome.error = m.lost().map(errno_of);
            }
            match (outcome.error, m.policy) {
                (None, _) => (),
                (Some(e), Policy::Fail) => {
                    scanned.error.get_or_insert(e);
                }
                (Some(_), Policy::Ignore) => outcome.status |= IOMMUFD_DIRTY_STATUS_IGNORED,
                (Some(_), Policy::AllDirty) => {
                    outcome.status |= IOMMUFD_DIRTY_STATUS_ALL_DIRTY;
                    outcome.add(&m.mark(&scan));
                }
            }
            if outcome.refused {
                scanned.error.get_or_insert(ENXIO);
            }
            outcome.add(&m.deliver(&scan));
            scanned.status |= outcome.status;
            scanned.fresh = scanned.fresh.saturating_add(outcome.fresh);
            result.add(outcome);
        }
        self.allowance.learn(was_short);
        if which == Which::All {
            let delivered = deliver(&mut self.kept, &scan);
            scanned.fresh = scanned.fresh.saturating_add(delivered.fresh);
            scanned.status |= delivered.status;
        }
        let cut = scanned.interrupted.filter(|at| at.tracker != 0);
        self.cut = cut.map(|at| (which, at));
        scanned
    }
}
