// SPDX-License-Identifier: GPL-2.0

//! The state of a context: its members, what they track, and the passes over them.

use crate::{
    abi::{
        bindings::*,
        lane::{
            side_by_side,
            Lane, //
        },
        memcg::Memcg,
        pages::Pages, //
    },
    context::Waker,
    logic::{
        extents::Extents,
        range::{
            Range,
            ALL, //
        },
        range_set::RangeSet, //
    },
    member::{
        deliver,
        Member,
        Pass,
        Policy,
        Stats, //
    },
    sink::Target, //
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

/// The longest part that a tracker is asked for at once, so that a length in bytes is a `u64` also
/// when it is grown to granules.
const MAX_PART: u64 = 1 << 62;

pub(crate) struct State {
    pub(crate) waker: Arc<Waker>,
    pub(crate) memcg: Arc<Memcg>,
    /// In the order in which they were bound.
    pub(crate) members: KVec<Member>,
    /// The lane of each member that waits for hardware. As long as `members`, or shorter.
    lanes: KVec<Option<Pin<KBox<Lane>>>>,
    last_id: u32,
    pub(crate) tracked: RangeSet,
    pub(crate) started: bool,
    /// What trackers left that are not members any more.
    pub(crate) residual: Extents,
    /// Kept between reads: a read allocates nothing.
    pub(crate) pages: Option<Pages>,
    /// Of READ calls.
    pub(crate) stats: Stats,
}

/// What passes found.
#[derive(Default)]
pub(crate) struct Found {
    /// `IOMMUFD_DIRTY_STATUS_*`
    pub(crate) status: u32,
    /// Bits set that were not set before.
    pub(crate) fresh: u64,
    /// The first error of a tracker whose policy is FAIL.
    pub(crate) error: Option<Error>,
}

/// How a pass is to be done.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) into: Target<'a>,
    /// What is found stays dirty.
    pub(crate) keep: bool,
    /// `IOMMUFD_DIRTY_OP_*`
    pub(crate) flags: u32,
    /// The tracker; 0 is all.
    pub(crate) only: u32,
}

impl State {
    pub(crate) fn new(waker: Arc<Waker>, memcg: Arc<Memcg>) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                waker,
                memcg,
                members: KVec::new(),
                lanes: KVec::new(),
                last_id: 0,
                tracked: RangeSet::new(),
                started: false,
                residual: crate::new_residual(),
                pages: None,
                stats: Stats::default(),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// Adds the member that `f` makes of an id. Returns the id.
    pub(crate) fn bind(
        &mut self,
        f: impl FnOnce(u32, &Arc<Waker>) -> Result<Member>,
    ) -> Result<u32> {
        if self.started {
            return Err(EBUSY);
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(ENOSPC);
        }
        let id = self.last_id.checked_add(1).ok_or(ENOSPC)?;
        self.members.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.lanes.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let member = f(id, &self.waker)?;
        let other = |m: &Member| m.space != 0 && m.space != member.space;
        if member.space != 0 && self.members.iter().any(other) {
            return Err(EXDEV);
        }
        let lane = if member.has_cap(IOMMUFD_DIRTY_CAP_WAITS) {
            Some(Lane::new()?)
        } else {
            None
        };
        // There is room for both.
        let _ = self.lanes.push_within_capacity(lane);
        let _ = self.members.push_within_capacity(member);
        self.last_id = id;
        Ok(id)
    }

    /// Takes member `id` out. With `keep`, what it holds dirty moves to the context's residual.
    pub(crate) fn unbind(&mut self, id: u32, keep: bool) -> Result {
        let at = self.members.iter().position(|m| m.id == id).ok_or(ENOENT)?;
        if keep && self.started {
            self.harvest(ALL, id);
        }
        let mut member = self.members.remove(at).map_err(|_| ENOENT)?;
        let _ = self.lanes.remove(at);
        if keep {
            let residual = &mut self.residual;
            member.residual.for_each_in(ALL, |r| residual.insert(r));
        }
        let _ = member.stop(self.waker.context());
        Ok(())
    }

    /// Member `id`. `ENOENT`.
    pub(crate) fn member(&mut self, id: u32) -> Result<&mut Member> {
        self.members.iter_mut().find(|m| m.id == id).ok_or(ENOENT)
    }

    /// Is there a tracker `only`, or is that all of them?
    pub(crate) fn check_only(&self, only: u32) -> Result {
        if only == 0 || self.members.iter().any(|m| m.id == only) {
            Ok(())
        } else {
            Err(ENOENT)
        }
    }

    /// The first tracked part of `range`, and what follows it.
    fn split(&self, range: Range) -> Option<(Range, Option<Range>)> {
        let part = self.tracked.within(range).next()?;
        let last = part.first().saturating_add(MAX_PART - 1).min(part.last());
        let part = Range::inclusive(part.first(), last)?;
        Some((part, range.minus(part).1))
    }

    /// Calls `f` for each tracked part of `range`, ascending.
    pub(crate) fn for_parts(&mut self, range: Range, mut f: impl FnMut(&mut Self, Range)) {
        let mut left = Some(range);
        while let Some((part, rest)) = left.and_then(|range| self.split(range)) {
            f(self, part);
            left = rest;
        }
    }

    /// Goes through the trackers over `part`, which is tracked.
    pub(crate) fn pass(&mut self, part: Range, how: How<'_>, found: &mut Found) {
        let pass = Pass {
            part,
            into: how.into,
            tracked: &self.tracked,
            flags: how.flags,
            keep: how.keep,
            only: how.only,
            context: self.waker.context(),
            memcg: &self.memcg,
        };
        side_by_side(
            &mut self.members,
            &mut self.lanes,
            &pass,
            |m, pass| m.wanted(pass),
            |m, pass| m.pass(pass),
        );
        for member in self.members.iter_mut().filter(|m| m.wanted(&pass)) {
            found.fresh = found.fresh.saturating_add(member.fresh);
            match (member.outcome, member.policy) {
                (Ok(false), _) => (),
                (Ok(true), _) => found.status |= IOMMUFD_DIRTY_STATUS_HOLE,
                (Err(e), Policy::Fail) => {
                    found.error.get_or_insert(errno_of(e));
                }
                (Err(_), Policy::Ignore) => found.status |= IOMMUFD_DIRTY_STATUS_IGNORED,
                (Err(_), Policy::AllDirty) => {
                    found.status |= IOMMUFD_DIRTY_STATUS_ALL_DIRTY;
                    let fresh = member.mark(&pass);
                    found.fresh = found.fresh.saturating_add(fresh);
                }
            }
        }
        if how.only == 0 {
            let fresh = deliver(&mut self.residual, &pass);
            found.fresh = found.fresh.saturating_add(fresh);
        }
        if self.overreported(how.only) != 0 {
            found.status |= IOMMUFD_DIRTY_STATUS_OVERREPORTED;
        }
    }

    /// Takes what is dirty in the tracked parts of `range` out of the tracker, or all if `only` is 0,
    /// into the residual. What a tracker could not tell is dirty there.
    pub(crate) fn harvest(&mut self, range: Range, only: u32) -> Found {
        let mut found = Found::default();
        let how = How {
            into: Target::Residual,
            keep: false,
            flags: 0,
            only,
        };
        self.for_parts(range, |state, part| {
            state.pass(part, how, &mut found);
            for m in state.members.iter_mut() {
                let wanted = only == 0 || only == m.id;
                if wanted && m.tracker().is_some() && m.outcome.is_err() {
                    m.residual.insert(part);
                }
            }
        });
        found
    }

    /// Bytes of address space that residuals reported dirty for want of memory.
    pub(crate) fn overreported(&self, only: u32) -> u64 {
        let own = if only == 0 {
            self.residual.overreported()
        } else {
            0
        };
        self.members
            .iter()
            .filter(|m| only == 0 || only == m.id)
            .fold(own, |sum, m| sum.saturating_add(m.residual.overreported()))
    }

    /// Stops all. Returns the first error.
    pub(crate) fn stop(&mut self) -> Result {
        let mut result = Ok(());
        for member in self.members.iter_mut() {
            let stopped = member.stop(self.waker.context());
            result = result.and(stopped);
        }
        self.started = false;
        self.residual = crate::new_residual();
        self.waker.reset();
        result
    }
}

/// What userspace gets for an error of a tracker: what means something to it, else `EIO`.
fn errno_of(error: Error) -> Error {
    if [ESHUTDOWN, ENOENT, ENOMEM, EINTR].contains(&error) {
        error
    } else {
        EIO
    }
}
