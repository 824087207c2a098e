// SPDX-License-Identifier: GPL-2.0

//! A tracker as a member of a context: its policy, its state, what it holds undelivered.

use crate::{
    abi::{
        bindings,
        memcg::Memcg,
        trace,
        tracker::Owner, //
    },
    context::Waker,
    logic::{
        extents::Extents,
        range::Range,
        range_set::RangeSet, //
    },
    sink::{
        Sink,
        Target, //
    },
    tracker::{
        Binding,
        Tracker, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// What userspace wants done about a tracker that cannot track.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Policy {
    Fail = bindings::IOMMUFD_DIRTY_POLICY_FAIL,
    Ignore = bindings::IOMMUFD_DIRTY_POLICY_IGNORE,
    AllDirty = bindings::IOMMUFD_DIRTY_POLICY_ALL_DIRTY,
}

impl Policy {
    /// `EOPNOTSUPP` if there is no such policy.
    pub(crate) fn from_uapi(policy: u32) -> Result<Self> {
        [Self::Fail, Self::Ignore, Self::AllDirty]
            .into_iter()
            .find(|p| *p as u32 == policy)
            .ok_or(EOPNOTSUPP)
    }
}

/// What STATS tells of a tracker.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) reads: u64,
    pub(crate) errors: u64,
    pub(crate) extents: u64,
    pub(crate) last_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) last_error: i32,
}

impl Stats {
    /// A read took `ns` nanoseconds, and recorded `extents` extents.
    pub(crate) fn count(&mut self, ns: u64, extents: u64, result: Result) {
        self.reads = self.reads.saturating_add(1);
        self.extents = self.extents.saturating_add(extents);
        self.last_ns = ns;
        self.max_ns = self.max_ns.max(ns);
        if let Err(e) = result {
            self.errors = self.errors.saturating_add(1);
            self.last_error = e.to_errno();
        }
    }
}

/// What a member is.
enum Source {
    /// A tracker of somebody else, whose module is held.
    Tracker {
        tracker: Arc<Tracker>,
        _owner: Owner,
    },
    /// An HWPT: the registration goes with the member.
    #[cfg(iommufd_dirty_hwpt)]
    Hwpt {
        tracker: Arc<Tracker>,
        _hwpt: crate::hwpt::Registered,
    },
    Untracked,
}

impl Source {
    fn tracker(&self) -> Option<&Arc<Tracker>> {
        match self {
            Self::Tracker { tracker, .. } => Some(tracker),
            #[cfg(iommufd_dirty_hwpt)]
            Self::Hwpt { tracker, .. } => Some(tracker),
            Self::Untracked => None,
        }
    }
}

pub(crate) struct Member {
    pub(crate) id: u32,
    source: Source,
    /// The I/O address space that it was in when it was bound; 0 cannot be told.
    pub(crate) space: usize,
    pub(crate) policy: Policy,
    /// START was asked for, and this one could not.
    pub(crate) failed: Option<Error>,
    /// The provider's `start` succeeded, and its `stop` was not called since.
    pub(crate) running: bool,
    /// Bytes per bit in force; 0 while not tracking.
    pub(crate) granule: u64,
    /// Ranges in force after joining.
    pub(crate) nr_ranges: u32,
    /// Bytes of memory that its owner said tracking takes.
    pub(crate) memory: u64,
    /// Taken out of the tracker and not yet delivered.
    pub(crate) residual: Extents,
    /// Peeked at; valid within one system call.
    pub(crate) scratch: Extents,
    pub(crate) stats: Stats,
    /// Of the last pass: `true` if a part was not mapped.
    pub(crate) outcome: Result<bool>,
    /// Of the last pass: bits set that were not set before.
    pub(crate) fresh: u64,
}

/// One go through the trackers of a context, over a part of the address space that the context
/// tracks. The same for all trackers, which may be read side by side.
pub(crate) struct Pass<'a> {
    pub(crate) part: Range,
    pub(crate) into: Target<'a>,
    pub(crate) tracked: &'a RangeSet,
    /// `IOMMUFD_DIRTY_OP_*`
    pub(crate) flags: u32,
    /// What is found stays dirty.
    pub(crate) keep: bool,
    /// The tracker to read; 0 is all.
    pub(crate) only: u32,
    pub(crate) context: u32,
    pub(crate) memcg: &'a Memcg,
}

impl Member {
    /// A member for `tracker`. `EBUSY` if that is in a context; `ESHUTDOWN` if it is gone.
    pub(crate) fn of_tracker(
        id: u32,
        waker: &Arc<Waker>,
        tracker: Arc<Tracker>,
        policy: Policy,
    ) -> Result<Self> {
        let owner = tracker.provider.hold_owner()?;
        tracker.bind(Binding {
            waker: waker.clone(),
            id,
        })?;
        Ok(Self::new(
            id,
            Source::Tracker {
                tracker,
                _owner: owner,
            },
            policy,
        ))
    }

    /// A member for an HWPT that was just registered.
    #[cfg(iommufd_dirty_hwpt)]
    pub(crate) fn of_hwpt(
        id: u32,
        waker: &Arc<Waker>,
        hwpt: crate::hwpt::Registered,
        policy: Policy,
    ) -> Result<Self> {
        let tracker = crate::abi::tracker_of(&hwpt);
        tracker.bind(Binding {
            waker: waker.clone(),
            id,
        })?;
        Ok(Self::new(
            id,
            Source::Hwpt {
                tracker,
                _hwpt: hwpt,
            },
            policy,
        ))
    }

    /// A member that cannot track.
    pub(crate) fn untracked(id: u32, policy: Policy) -> Self {
        Self::new(id, Source::Untracked, policy)
    }

    fn new(id: u32, source: Source, policy: Policy) -> Self {
        Self {
            id,
            space: source.tracker().map_or(0, |t| t.provider.space()),
            source,
            policy,
            failed: None,
            running: false,
            granule: 0,
            nr_ranges: 0,
            memory: 0,
            residual: crate::new_residual(),
            scratch: crate::new_residual(),
            stats: Stats::default(),
            outcome: Ok(false),
            fresh: 0,
        }
    }

    /// The tracker; `None` for an untracked member.
    pub(crate) fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.source.tracker()
    }

    pub(crate) fn has_cap(&self, cap: u32) -> bool {
        self.tracker().is_some_and(|t| t.what.caps & cap != 0)
    }

    /// Why it cannot be read, although tracking is started.
    pub(crate) fn trouble(&self) -> Option<Error> {
        let Some(tracker) = self.tracker() else {
            return Some(EIO);
        };
        if tracker.provider.is_closed() {
            return Some(ESHUTDOWN);
        }
        self.failed.or_else(|| tracker.lost())
    }

    /// `enum iommufd_dirty_state`.
    pub(crate) fn state(&self, started: bool) -> u32 {
        use bindings::*;
        match self.tracker() {
            Some(t) if t.provider.is_closed() => IOMMUFD_DIRTY_STATE_GONE,
            _ if !started => IOMMUFD_DIRTY_STATE_STOPPED,
            Some(t) if self.failed.is_none() && t.lost().is_some() => IOMMUFD_DIRTY_STATE_LOST,
            Some(_) if self.failed.is_none() => IOMMUFD_DIRTY_STATE_TRACKING,
            _ => IOMMUFD_DIRTY_STATE_FAILED,
        }
    }

    pub(crate) fn bitmap_bytes(&self) -> u64 {
        self.tracker().map_or(0, |t| t.provider.bitmap_bytes())
    }

    /// Bytes of kernel memory held for it.
    pub(crate) fn memory(&self) -> u64 {
        let ours = self.residual.bytes().saturating_add(self.scratch.bytes());
        self.memory
            .saturating_add(self.bitmap_bytes())
            .saturating_add(ours as u64)
    }

    /// Stops the tracker, if it runs. What it and the residual hold is forgotten.
    pub(crate) fn stop(&mut self, context: u32) -> Result {
        let mut result = Ok(());
        if let Some(tracker) = self.tracker() {
            if self.running {
                result = tracker.provider.stop();
                trace::stop(context, self.id, result);
            }
            tracker.set_stopped();
        }
        self.running = false;
        self.failed = None;
        self.granule = 0;
        self.nr_ranges = 0;
        self.memory = 0;
        self.residual = crate::new_residual();
        self.scratch = crate::new_residual();
        result
    }

    /// Is it part of the pass?
    pub(crate) fn wanted(&self, pass: &Pass<'_>) -> bool {
        pass.only == 0 || pass.only == self.id
    }

    /// Does its part of the pass. What it found is where the pass wants it or, after an error, in
    /// the tracker, there, or in the residual.
    pub(crate) fn pass(&mut self, pass: &Pass<'_>) {
        self.fresh = 0;
        self.outcome = match self.trouble() {
            Some(error) => Err(error),
            None => self.read(pass),
        };
        let fresh = deliver(&mut self.residual, pass);
        self.fresh = self.fresh.saturating_add(fresh);
    }

    fn read(&mut self, pass: &Pass<'_>) -> Result<bool> {
        if !self.running {
            // Nothing to track.
            return Ok(false);
        }
        let Some(tracker) = self.tracker().cloned() else {
            return Err(EIO);
        };
        let peek = pass.keep && self.has_cap(bindings::IOMMUFD_DIRTY_CAP_PEEK);
        // A tracker that cannot be peeked at is read into the residual, which can.
        let into = if pass.keep && !peek {
            Target::Residual
        } else {
            pass.into
        };
        let _charge = pass.memcg.charge();
        let begin = Instant::<Monotonic>::now();
        let mut sink = Sink {
            part: pass.part,
            into,
            tracked: pass.tracked,
            residual: (!peek).then_some(&mut self.residual),
            scratch: &mut self.scratch,
            word: 0,
            mask: 0,
            extents: 0,
            fresh: 0,
        };
        let range = pass.part.aligned_out(self.granule);
        let result = tracker.provider.read(range, pass.flags, peek, &mut sink);
        sink.flush();
        let (extents, fresh) = (sink.extents, sink.fresh);
        self.fresh = fresh;
        let ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0);
        self.stats.count(ns, extents, result.map(|_| ()));
        trace::read(
            pass.context,
            self.id,
            pass.part,
            extents,
            ns,
            result.map(|_| ()),
        );
        result
    }

    /// Its policy is ALL_DIRTY, and it cannot track: the part is dirty. Returns the bits set that
    /// were not set before.
    pub(crate) fn mark(&mut self, pass: &Pass<'_>) -> u64 {
        match pass.into {
            Target::Bitmap(pages, window) => {
                window.bits(pass.part).map_or(0, |bits| pages.set(bits))
            }
            Target::Residual => {
                self.residual.insert(pass.part);
                0
            }
            Target::Scratch => {
                self.scratch.insert(pass.part);
                0
            }
            Target::Nowhere => 0,
        }
    }
}

/// What `residual` holds of the part goes where the pass wants it. Returns the bits set that were
/// not set before.
pub(crate) fn deliver(residual: &mut Extents, pass: &Pass<'_>) -> u64 {
    let mut fresh = 0u64;
    match pass.into {
        Target::Bitmap(pages, window) => {
            let set = |dirty| {
                if let Some(bits) = window.bits(dirty) {
                    fresh = fresh.saturating_add(pages.set(bits));
                }
            };
            if pass.keep {
                residual.for_each_in(pass.part, set);
            } else {
                residual.take(pass.part, set);
            }
        }
        Target::Nowhere => residual.remove(pass.part),
        // Whoever put it there takes it from there.
        Target::Residual | Target::Scratch => (),
    }
    fresh
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(tracker) = self.tracker() {
            let _ = tracker.provider.stop();
            tracker.set_stopped();
            tracker.unbind();
        }
    }
}
