// SPDX-License-Identifier: GPL-2.0

//! One go through the trackers of a context.
//!
//! A tracker that waits for hardware is called once, for all that lies between the first and the last
//! byte that is asked for and tracked; those are done side by side. The others are called meanwhile,
//! for each tracked part of what is asked for. A signal ends this between two calls. What is dirty
//! and was found so far is delivered then, or in a residual.

use crate::{
    abi::{
        bindings::*,
        lane::{
            side_by_side,
            Rest, //
        },
        memcg::Memcg,
        trace, //
    },
    logic::{
        extents::Extents,
        range::Range,
        range_set::RangeSet, //
    },
    member::{
        Member,
        Policy,
        Told, //
    },
    patience::Patience,
    sink::{
        Sink,
        Target, //
    },
    state::State, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// The longest piece that a tracker is asked for at once, so that a length in bytes is a `u64` also
/// when it is grown to granules.
const MAX_PIECE: u64 = 1 << 62;

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

/// How a pass is to be done. The same for all trackers, which may be read side by side.
pub(crate) struct Pass<'a> {
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

/// Where a signal ended a pass.
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

/// What a pass found.
#[derive(Default)]
pub(crate) struct Found {
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

impl Pass<'_> {
    /// Calls `f` for each part of `range` that is tracked, in pieces that are not too long, until it
    /// returns `Some`.
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
    fn part_by_part(&self, members: &mut Rest<'_, Member>) -> Option<Place> {
        let mut resume = self.resume;
        let mut called = false;
        let mut part = 0;
        while let Some(range) = self.into.part(part) {
            let left = Range::inclusive(range.first().max(resume.address), range.last());
            let ended = left.and_then(|left| {
                self.pieces(left, |piece| {
                    let mut begins = true;
                    for at in 0..members.count() {
                        let Some(m) = members.get(at) else { continue };
                        let done = m.id() < resume.tracker && piece.last() <= resume.last;
                        if !self.which.has(m) || done || m.told.now.is_some() {
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
                        m.read(piece, self, self.flags);
                        (called, begins) = (true, false);
                        if m.told.interrupted {
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

impl Member {
    /// All that is asked for, at once.
    fn read_hull(&mut self, pass: &Pass<'_>) {
        let Some(hull) = pass.into.hull() else { return };
        let mut left = pass.tracked.hull_within(hull);
        while let Some(range) = left {
            let last = range.first().saturating_add(MAX_PIECE - 1);
            let piece = Range::inclusive(range.first(), last.min(range.last()));
            let Some(piece) = piece else { break };
            // What lies between two ranges is no hole of the request.
            self.read(piece, pass, pass.flags & !IOMMUFD_DIRTY_OP_STRICT);
            if self.told.interrupted || self.told.now.is_some() {
                break;
            }
            left = range.minus(piece).1;
        }
    }

    /// Reads `piece`. What it found is where the pass wants it or, after an error, in the tracker,
    /// there, or in the residual. What came of it is in `told`.
    fn read(&mut self, piece: Range, pass: &Pass<'_>, flags: u32) {
        let result = match self.trouble() {
            Some(error) => Err(error),
            // A loss that was reported while it was read is one of this read: there may be no next.
            None => self
                .read_tracker(piece, pass, flags)
                .and_then(|hole| self.lost().map_or(Ok(hole), Err)),
        };
        match result {
            Ok(false) => (),
            // What lies between two ranges is no hole of the request.
            Ok(true) if self.waits() && !pass.tracked.covers(&piece) => (),
            Ok(true) => self.told.status |= IOMMUFD_DIRTY_STATUS_HOLE,
            Err(EINTR) => self.told.interrupted = true,
            Err(ENXIO) if flags & IOMMUFD_DIRTY_OP_STRICT != 0 && self.trouble().is_none() => {
                self.told.status |= IOMMUFD_DIRTY_STATUS_HOLE;
                self.told.refused = true;
            }
            Err(e) => {
                self.told.now = Some(errno_of(e));
                self.told.error = self.told.error.or(self.told.now);
            }
        }
    }

    fn read_tracker(&mut self, piece: Range, pass: &Pass<'_>, flags: u32) -> Result<bool> {
        if !self.running {
            // Nothing to track.
            return Ok(false);
        }
        let Some(tracker) = self.tracker().cloned() else {
            return Err(EIO);
        };
        let peek = pass.keep && self.peeks();
        // A tracker that cannot be peeked at is read into the residual, which can.
        let into = if pass.keep && !peek {
            Target::Residual(piece)
        } else {
            pass.into
        };
        let _charge = pass.memcg.charge();
        let begin = Instant::<Monotonic>::now();
        let mut sink = Sink::new(
            into,
            &pass.patience,
            pass.tracked,
            (!peek).then_some(&mut self.residual),
            &mut self.harvested,
            &mut self.scratch,
        );
        let range = piece.aligned_out(self.granule);
        let result = tracker.source.read(range, flags, peek, &mut sink);
        sink.flush();
        let counts = sink.counts;
        self.told.fresh = self.told.fresh.saturating_add(counts.fresh);
        // Of what goes elsewhere it is counted how much is delivered.
        if matches!(into, Target::Bitmap(..)) {
            self.told.bytes = self.told.bytes.saturating_add(counts.bytes);
        }
        if counts.unsure != 0 {
            self.unsure = self.unsure.saturating_add(counts.unsure);
            self.told.status |= IOMMUFD_DIRTY_STATUS_OVERREPORTED;
        }
        let ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0);
        let outcome = result.map(|_| ());
        self.stats.count(ns, counts.extents, outcome);
        trace::read(self.who, piece, counts.extents, ns, outcome);
        result
    }

    /// Its policy is ALL_DIRTY, and it cannot track: all that is asked for is dirty.
    fn mark(&mut self, pass: &Pass<'_>) {
        let mut at = 0;
        while let Some(part) = pass.into.part(at) {
            for dirty in pass.tracked.within(part) {
                match pass.into {
                    Target::Bitmap(pages, batch) => {
                        self.told.bytes = self.told.bytes.saturating_add(dirty.length());
                        let bits = batch.slots().get(at).and_then(|slot| slot.bits(dirty));
                        let fresh = bits.map_or(0, |bits| pages.set(bits));
                        self.told.fresh = self.told.fresh.saturating_add(fresh);
                    }
                    Target::Residual(_) => self.residual.insert(dirty),
                    Target::Harvest(_) => self.harvested.insert(dirty),
                    Target::Scratch(_) => self.scratch.insert(dirty),
                }
            }
            at = at.saturating_add(1);
        }
    }

    /// What it holds undelivered goes where the pass wants it.
    fn deliver(&mut self, pass: &Pass<'_>) {
        for held in [&mut self.residual, &mut self.harvested] {
            let delivered = deliver(held, pass);
            self.told.bytes = self.told.bytes.saturating_add(delivered.bytes);
            self.told.fresh = self.told.fresh.saturating_add(delivered.fresh);
            self.told.status |= delivered.status;
        }
    }
}

/// What came out of a residual.
#[derive(Default)]
struct Delivered {
    bytes: u64,
    fresh: u64,
    status: u32,
}

/// What `held` has of what is asked for goes where the pass wants it.
fn deliver(held: &mut Extents, pass: &Pass<'_>) -> Delivered {
    let mut delivered = Delivered::default();
    let mut at = 0;
    while let Some(part) = pass.into.part(at).filter(|_| !held.is_empty()) {
        if held.is_unsure_in(part) {
            delivered.status |= IOMMUFD_DIRTY_STATUS_OVERREPORTED;
        }
        if let Target::Bitmap(pages, batch) = pass.into {
            let slot = batch.slots().get(at);
            let set = |dirty: Range| {
                delivered.bytes = delivered.bytes.saturating_add(dirty.length());
                if let Some(bits) = slot.and_then(|slot| slot.bits(dirty)) {
                    delivered.fresh = delivered.fresh.saturating_add(pages.set(bits));
                }
            };
            if pass.keep {
                held.for_each_in(part, set);
            } else {
                held.take(part, set);
            }
        }
        // Whoever had it put into a residual takes it from there.
        at = at.saturating_add(1);
    }
    delivered
}

impl State {
    /// Goes through the trackers of `which`, and adds to what is reported of each.
    pub(crate) fn pass(
        &mut self,
        into: Target<'_>,
        which: Which,
        resume: Resume,
        keep: bool,
        flags: u32,
    ) -> Found {
        for m in self.members.iter_mut() {
            m.told.now = None;
            m.told.refused = false;
        }
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
        let pass = Pass {
            into,
            which,
            resume,
            keep,
            flags,
            tracked: &self.tracked,
            memcg: &self.memcg,
            patience: Patience::new(caller, self.allowance),
        };
        let mut found = Found::default();
        let before = self.told_fresh();
        let alone = !self.members.iter().any(|m| which.has(m) && !m.waits());
        found.interrupted = side_by_side(
            &mut self.members,
            &mut self.lanes,
            &pass,
            |m, pass| pass.which.has(m),
            |m, pass| m.read_hull(pass),
            alone,
            |rest| match alone {
                true => None,
                false => pass.part_by_part(rest),
            },
        );
        let mut was_short = false;
        for m in self.members.iter_mut().filter(|m| which.has(m)) {
            // Not all that was asked for was read of one that waits: all of it is to be done again.
            if core::mem::take(&mut m.told.interrupted) && m.waits() {
                was_short = true;
                found.interrupted = Some(Place {
                    part: 0,
                    address: resume.address,
                    tracker: resume.tracker,
                    last: resume.last,
                });
            }
            // It may have been lost while another one was read.
            if m.told.now.is_none() && m.running {
                m.told.now = m.lost().map(errno_of);
                m.told.error = m.told.error.or(m.told.now);
            }
            match (m.told.now, m.policy) {
                (None, _) => (),
                (Some(e), Policy::Fail) => {
                    found.error.get_or_insert(e);
                }
                (Some(_), Policy::Ignore) => m.told.status |= IOMMUFD_DIRTY_STATUS_IGNORED,
                (Some(_), Policy::AllDirty) => {
                    m.told.status |= IOMMUFD_DIRTY_STATUS_ALL_DIRTY;
                    m.mark(&pass);
                }
            }
            if m.told.refused {
                found.error.get_or_insert(ENXIO);
            }
            m.deliver(&pass);
            found.status |= m.told.status;
        }
        self.allowance.learn(was_short);
        if which == Which::All {
            let delivered = deliver(&mut self.kept, &pass);
            found.fresh = found.fresh.saturating_add(delivered.fresh);
            found.status |= delivered.status;
        }
        let fresh = self.told_fresh().saturating_sub(before);
        found.fresh = found.fresh.saturating_add(fresh);
        let cut = found.interrupted.filter(|at| at.tracker != 0);
        self.cut = cut.map(|at| (which, at));
        found
    }

    /// An ioctl begins: nothing is reported of the members yet.
    pub(crate) fn tell_nothing(&mut self) {
        for m in self.members.iter_mut() {
            m.told = Told::default();
        }
    }

    fn told_fresh(&self) -> u64 {
        self.members
            .iter()
            .fold(0, |sum, m| sum.saturating_add(m.told.fresh))
    }
}

/// What userspace gets for an error of a tracker: what means something to it, else `EIO`.
fn errno_of(error: Error) -> Error {
    if [ESHUTDOWN, EXDEV, ENOMEM].contains(&error) {
        error
    } else {
        EIO
    }
}
